"""The must-not-flag corpus: a correct server must not fail, however unusual its responses look.

The exact verdicts of each style are asserted: everything passes except what is listed with a reason. So it is certain
that each style was really tested.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from functools import partial

import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies

from harness.config.settings import Settings
from harness.contract.decoding.read_log import Read
from harness.contract.decoding.response import Response
from harness.contract.finding import Verdict
from harness.contract.requirements import CATALOGUE, Level
from harness.contract.verdicts import Verdicts
from harness.profiles.library import default_profile
from tests.conformance.corpus import (
    CORPUS,
    COUNTER,
    NOT_AN_EVENT,
    RESET_WITHOUT_LENGTH,
    Entry,
    allowed,
    is_regular,
    shared_runs,
)
from tests.conformance.raw_server import (
    PATH,
    PRINCIPALS,
    TOKEN,
    RawServer,
    Style,
    serving_apart,
    settings_values,
)
from tests.conformance.suite import NOT_OFFERED_ALONE, asked_again, together, verdicts_on

pytestmark = pytest.mark.usefixtures("light")
slow = pytest.mark.slow

#: On a busy machine, a situation may occur too late. Then a check is inconclusive, or one of these warns, and these
#: requirements are checked again, alone. A failed MUST is never retried.
SLOW = {
    ("liveness.first-event", "warn"),
    ("liveness.heartbeat", "warn"),
    ("input.too-large", "warn"),  # tens of megabytes must be sent within the budget
}
TRIES = 3
#: These may be inconclusive at any time, but never fail: requests that must arrive within a tenth of a second or while
#: a run is in flight, pauses and spreads that a slow network evens out, a reset that loses the last bytes.
TIMING = {
    "conflict.in-flight",
    "conflict.original-untouched",  # where a run in flight is needed and had ended
    "resume.joins",
    "resume.first-reader-kept",
    "resume.survives-disconnect",
    "race.close-one",
    "race.slow-reader",
    "race.same-body",
    "race.different-bodies",
    "resume.terminal-race",
    "headers.incremental",
    "headers.flushed",
    "headers.complete",
    "liveness.heartbeat",
    "liveness.heartbeat-inert",
    "liveness.heartbeat-interval",
}
COMBINATIONS = 3  # tests, each of AT_ONCE random styles
AT_ONCE = 2  # suites that run concurrently: with more, runs end before a busy harness meets them in flight
RUNS = shared_runs(CORPUS)


def _verdicts(entry: Entry) -> Verdicts:
    """The verdicts on a style. What differs from the expected ones as on a busy machine is asked again, alone."""
    with serving_apart(entry.style) as base_url:
        target = Settings.model_validate(settings_values(base_url, **entry.target))
        verdicts = verdicts_on(target)
        for again in range(1, TRIES):
            differing = _unusual(verdicts).items() - entry.unusual.items()
            if not differing or any(
                verdict != "inconclusive" and (name, verdict) not in SLOW for name, verdict in differing
            ):
                break
            names = {name for name, _ in differing}
            if again > 1 and names <= TIMING:
                break
            verdicts = asked_again(verdicts, target, names)
    return verdicts


def _unusual(verdicts: Verdicts) -> dict[str, str]:
    """The verdicts other than pass and info, on what the API of workflow actions promises and one server can show."""
    usual = {Verdict.PASS, Verdict.INFO}
    return {
        check.requirement.id: str(check.verdict)
        for check in verdicts.checks
        if check.verdict not in usual
        and check.requirement.not_promised(default_profile()) is None
        and not (check.verdict is Verdict.NOT_APPLICABLE and check.requirement.needs in NOT_OFFERED_ALONE)
    }


def _without_bad_timing(unusual: Mapping[str, str]) -> dict[str, str]:
    return {
        name: verdict for name, verdict in unusual.items() if name not in TIMING or verdict != "inconclusive"
    }


def _wrong(entries: Sequence[Entry]) -> list[tuple[Entry, list[str]]]:
    """The entries with wrong verdicts, and those."""
    found = together([partial(_verdicts, entry) for entry in entries])
    judged = zip(entries, found, strict=True)
    return [(entry, wrong) for entry, verdicts in judged if (wrong := _differences(entry, verdicts))]


def _differences(entry: Entry, verdicts: Verdicts) -> list[str]:
    """The verdicts and details that are not the expected ones."""
    expected = _without_bad_timing(entry.unusual)
    got = _without_bad_timing(_unusual(verdicts))
    details: dict[str, list[str]] = {}
    for check in verdicts.checks:
        if check.verdict not in {Verdict.PASS, Verdict.INFO}:
            details.setdefault(check.requirement.id, []).append(f"{check.verdict}: {check.detail}")
    wrong = [
        f"{name}: {' / '.join(details.get(name, ['pass']))} (expected: {expected.get(name, 'pass')})"
        for name in sorted(expected.keys() | got.keys())
        if expected.get(name) != got.get(name)
    ]
    details = {check.requirement.id: check.detail for check in verdicts.checks}
    return wrong + [
        f"{name}: {details[name]} (expected: {text})"
        for name, text in entry.says.items()
        if details[name] != text
    ]


def _report(entries: Sequence[Entry]) -> str:
    """One line for each entry with a wrong verdict: how its style differs from the default, and what is wrong.

    If entries share a run, those to which it happens alone follow.
    """
    lines: list[str] = []
    for entry, wrong in _wrong(entries):
        lines.append(f"{entry} => {'; '.join(wrong)}")
        alone = _wrong(entry.parts)
        lines += [f"    of these, alone: {part} => {'; '.join(of_part)}" for part, of_part in alone]
        if entry.parts and not alone:
            lines.append("    none of the entries that share this run is wrong alone")
    return "\n".join(lines)


@slow
@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("first", range(0, len(RUNS), AT_ONCE))
def test_each_style_gets_its_exact_verdicts(first: int) -> None:
    wrong = _report(RUNS[first : first + AT_ONCE])
    assert not wrong, f"wrong verdicts:\n{wrong}"


def _random_styles() -> strategies.SearchStrategy[Style]:
    flags = [name for name, one in Style.__dataclass_fields__.items() if one.type == "bool"]
    return strategies.builds(
        Style,
        line_end=strategies.sampled_from(["\n", "\r\n", "\r"]),
        event_names=strategies.sampled_from(["none", "message", "type"]),
        ids=strategies.sampled_from(["clock", "gaps", "same-ms", "nine-ten", "64 bits", "counter"]),
        unicode=strategies.sampled_from(["raw", "escaped"]),
        content_type=strategies.sampled_from(["text/event-stream", 'TEXT/event-stream;charset="utf-8"']),
        header_case=strategies.sampled_from(["Title", "lower", "UPPER"]),
        framing=strategies.sampled_from(["chunked", "tiny chunks", "HTTP/1.0", "HTTP/1.1 until close"]),
        packets=strategies.sampled_from(["event", "byte", "whole"]),
        conflict=strategies.sampled_from(["409 stream", *NOT_AN_EVENT, "200 event"]),
        failure=strategies.sampled_from(["usual", "mentions 409", "tool's 409", "code 409"]),
        run_ids=strategies.sampled_from(["uuid", "number"]),
        keys=strategies.sampled_from(["printable", "any"]),
        resume_start=strategies.sampled_from(["replay", "tail"]),
        body_comparison=strategies.sampled_from(["bytes", "canonical"]),
        store=strategies.sampled_from(["bytes", "bytes", "values", "numbers"]),
        **{name: strategies.booleans() for name in flags},
    )


@slow
@pytest.mark.parametrize("_number", range(COMBINATIONS))
@settings(
    max_examples=1,
    deadline=None,
    database=None,
    print_blob=True,
    phases=[Phase.generate],  # each example runs the whole suite many times: shrinking would take an hour
    suppress_health_check=list(HealthCheck),
)
@given(styles=strategies.lists(_random_styles(), min_size=AT_ONCE, max_size=AT_ONCE, unique=True))
def test_combinations_get_no_unexpected_verdict(_number: int, styles: list[Style]) -> None:
    wrong = _report([Entry(_options(style), allowed(style)) for style in styles])
    assert not wrong, f"wrong verdicts:\n{wrong}"


def _options(style: Style) -> dict[str, object]:
    return {name: getattr(style, name) for name in Style.__dataclass_fields__}


def test_the_corpus_holds_every_option_of_a_style() -> None:
    usual = Style()
    for name in Style.__dataclass_fields__:
        assert any(getattr(entry.style, name) != getattr(usual, name) for entry in CORPUS), name


def test_entries_that_share_a_run_keep_their_options() -> None:
    for run in RUNS:
        of_run = run.choices()
        for entry in run.parts:
            assert entry.choices().items() <= of_run.items(), str(entry)
            assert entry.target.items() <= run.target.items(), str(entry)
            assert entry.unusual.items() <= run.unusual.items(), str(entry)
            assert is_regular(entry.style) == is_regular(run.style), str(entry)
    shared = [entry for run in RUNS for entry in (run.parts or (run,))]
    assert sorted(map(str, shared)) == sorted(map(str, CORPUS))


def test_the_fast_decoder_reads_what_is_called_regular() -> None:
    for run in RUNS:
        if is_regular(run.style):
            received = Read(0, None, _response(run.style))
            assert Response.from_reads([received], connection_ended=True).is_regular, str(run)


def _response(style: Style) -> bytes:
    action = {"toolId": "say"}
    body = json.dumps({"organizationId": PRINCIPALS[TOKEN], "sessionId": "session", "workflowAction": action})
    request = (
        f"POST {PATH} HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    )
    received = b""
    with RawServer(style) as server, socket.create_connection(server.address) as connection:
        connection.sendall(request.encode())
        while data := _received(connection):
            received += data
    return received


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65_536)
    except ConnectionResetError:  # reset_at_end
        return b""


def test_a_must_is_excused_only_where_it_cannot_be_seen() -> None:
    excused = {name: verdict for one in (COUNTER, RESET_WITHOUT_LENGTH) for name, verdict in one.items()}
    musts = {name: verdict for name, verdict in excused.items() if CATALOGUE[name].level is Level.MUST}
    assert set(musts.values()) == {"inconclusive"}
