"""The must-not-flag corpus: a correct server must not fail, however unusual its responses look.

The exact verdicts of each style are asserted: everything passes except what is listed with a reason. So it is certain
that each style was really tested.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies

from harness.config.settings import Settings
from harness.contract.finding import Verdict
from harness.contract.requirements import CATALOGUE, Level
from harness.contract.verdicts import Verdicts
from tests.conformance.raw_server import Style, serving_apart, settings_values
from tests.conformance.suite import together, verdicts_on

pytestmark = pytest.mark.slow

#: On a busy machine, a situation may occur too late. Then a check is inconclusive, or one of these warns, and the style
#: is tested again, alone. A failed MUST is never retried.
SLOW = {
    ("liveness.first-event", "warn"),
    ("liveness.heartbeat", "warn"),
    ("race.slow-reader", "warn"),
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
    "race.same-body",
    "race.different-bodies",
    "resume.terminal-race",
    "headers.incremental",
    "headers.flushed",
    "headers.complete",
    "liveness.heartbeat",
}
COMBINATIONS = 5

CODED = {"headers.content-coding": "warn"}  # a SHOULD: the request accepts identity only
ODD_JSON = {"events.strict-json": "warn"}  # a SHOULD: some clients cannot read it
UNKNOWN_FIELDS = {"framing.fields": "warn"}  # a SHOULD: clients ignore them
COUNTER = {
    "ids.clock": "warn",  # a SHOULD: 1-0 is not a time of day
    # Two runs with the client's runId differ only in their ids, and here not even in those.
    "run-id.key-wins": "inconclusive",
}
RESET_WITHOUT_LENGTH = {"headers.complete": "inconclusive"}  # the end may have been lost in the reset
NOT_JSON = ("409 text", "409 html", "409 empty")
NOT_AN_EVENT = ("409 json", *NOT_JSON)
JSON_CONFLICT = {"conflict.error-event": "warn"}  # a SHOULD: it is not an event
OTHER_SHAPE = {"input.error-shape": "warn"}  # a SHOULD: the other rejections are problem documents
ID_IGNORED = {"resume.last-event-id": "warn"}  # a SHOULD, unless the target declares it


@dataclass(frozen=True)
class Entry:
    """One style of the corpus. target: the behaviour that the target declares."""

    style: Style
    unusual: Mapping[str, str] = field(default_factory=dict)
    target: Mapping[str, Any] = field(default_factory=dict)


def _entry(
    unusual: Mapping[str, str] | None = None, target: Mapping[str, Any] | None = None, **style: Any
) -> Entry:
    return Entry(Style(**style), unusual or {}, target or {})


CORPUS: dict[str, list[Entry]] = {
    "lines": [
        _entry(line_end="\r\n"),
        _entry(line_end="\r"),
        _entry(bom=True),
        _entry(bom=True, line_end="\r", packets="byte"),
        _entry(space_after_colon=False),
    ],
    "blocks": [
        _entry(data_before_id=True),
        _entry(multi_line_data=True),
        _entry(comments=True),
        _entry(retry=True),
        _entry(UNKNOWN_FIELDS, unknown_fields=True),
    ],
    "more blocks": [
        _entry(id_only_blocks=True),
        _entry(event_names="message"),
        _entry(event_names="type"),
        _entry(event_names="type", extra_types=True, id_only_blocks=True),
        _entry(extra_types=True),
    ],
    "ids": [
        _entry(ids="gaps"),
        _entry(ids="same-ms"),
        _entry(ids="nine-ten"),
        _entry(COUNTER, ids="counter"),
        _entry(ids="nine-ten", packets="whole"),
    ],
    "content": [
        _entry(unicode="escaped"),
        _entry(json_space=True),
        _entry(json_space=True, space_after_colon=False),
        _entry(no_tokens=True),
        _entry(extra_fields=True),
    ],
    "message": [
        _entry(content_type="text/event-stream; charset=utf-8"),
        _entry(content_type='Text/Event-Stream ;Charset="UTF-8"; boundary=x'),
        _entry(header_case="lower"),
        _entry(header_case="UPPER"),
        _entry(framing="tiny chunks"),
    ],
    "packets": [
        _entry(packets="byte"),
        _entry(packets="byte", framing="tiny chunks", unicode="raw", line_end="\r\n"),
        _entry(packets="whole"),
        _entry(packets="whole", framing="HTTP/1.0"),
    ],
    "endings": [
        _entry(framing="HTTP/1.0"),
        _entry(framing="HTTP/1.1 until close"),
        _entry(reset_at_end=True),
        _entry(reset_at_end=True, packets="whole"),
        _entry(RESET_WITHOUT_LENGTH, reset_at_end=True, framing="HTTP/1.0"),
    ],
    "conflicts": [
        _entry(JSON_CONFLICT, conflict="409 json"),
        _entry(conflict="200 event"),
        _entry(conflict="409 stream", target={"conflict": "http-409"}),
        _entry(conflict="409 json", target={"conflict": "http-409"}),
        _entry(conflict="200 event", target={"conflict": "event"}),
    ],
    "more conflicts": [
        _entry(JSON_CONFLICT | OTHER_SHAPE, conflict="409 text"),
        _entry(JSON_CONFLICT | OTHER_SHAPE, conflict="409 html"),
        _entry(JSON_CONFLICT | OTHER_SHAPE, conflict="409 empty"),
        _entry(OTHER_SHAPE, conflict="409 empty", target={"conflict": "http-409"}),
        _entry(JSON_CONFLICT, conflict="409 json", run_ids="number"),
    ],
    "failures": [
        _entry(failure="mentions 409", conflict="200 event"),
        _entry(failure="tool's 409"),
        _entry(failure="code 409", conflict="200 event"),
        _entry(failure="code 409 without runId", conflict="200 event"),
        _entry(failure="code 409 without runId", target={"conflict": "http-409"}),
    ],
    "keys": [_entry(keys="any"), _entry(keys="any", body_comparison="bytes")],
    "resumption": [
        _entry(resume_start="tail"),
        _entry(ID_IGNORED, last_event_id=False),
        _entry(ID_IGNORED, resume_start="tail", last_event_id=False),
        _entry(resume_start="tail", ids="same-ms"),
        _entry(paced_replay=True),
    ],
    "ids beyond the run": [
        _entry(after_terminal="204", unknown_ids="400"),
        _entry(after_terminal="terminal", unknown_ids="ordered"),
        _entry(after_terminal="replay", unknown_ids="terminal"),
        _entry(after_terminal="410", unknown_ids="ordered", resume_start="tail", ids="nine-ten"),
        _entry(
            after_terminal="204",
            unknown_ids="ordered",
            ids="gaps",
            target={"resume_start": "replay", "last_event_id": True},
        ),
        _entry(unknown_ids="terminal", resume_start="tail", target={"resume_start": "tail"}),
    ],
    "codings": [
        _entry(transfer_encoding="chunked\t"),
        _entry(transfer_encoding=", Chunked ,"),
        _entry(CODED, gzip=True),
        _entry(CODED, gzip=True, framing="HTTP/1.1 until close", comments=True),
    ],
    "what the grammar allows": [
        _entry(ids="64 bits"),
        _entry(heartbeat_lines=True),
        _entry(ODD_JSON, odd_json=True),
    ],
    "stores of values": [
        _entry(store="values"),
        _entry(store="values", unicode="escaped", json_space=True, extra_fields=True),
        _entry(store="numbers", extra_types=True, extra_fields=True),
        _entry(store="numbers", multi_line_data=True, resume_start="tail"),
    ],
    "declared resumption": [
        _entry(target={"resume_start": "replay", "last_event_id": True}),
        _entry(resume_start="tail", target={"resume_start": "tail", "last_event_id": True}),
        _entry(ID_IGNORED, last_event_id=False, target={"resume_start": "replay", "last_event_id": False}),
        _entry(
            ID_IGNORED,
            resume_start="tail",
            last_event_id=False,
            ids="same-ms",
            target={"resume_start": "tail", "last_event_id": False},
        ),
    ],
    "comparison": [_entry(), _entry(body_comparison="bytes")],
}


def _verdicts(style: Style, target: Mapping[str, Any]) -> Verdicts:
    with serving_apart(style) as base_url:
        return verdicts_on(Settings.model_validate(settings_values(base_url, **target)))


def _all_verdicts(entries: Sequence[Entry]) -> list[Verdicts]:
    found = together([partial(_verdicts, entry.style, entry.target) for entry in entries])
    return [_asked_again(entry, verdicts) for entry, verdicts in zip(entries, found, strict=True)]


def _asked_again(entry: Entry, verdicts: Verdicts) -> Verdicts:
    """The verdicts, or new ones if they differ from the expected ones in a way that a busy machine explains."""
    for _ in range(TRIES - 1):
        differing = _unusual(verdicts).items() - entry.unusual.items()
        if not differing or any(
            said != "inconclusive" and (name, said) not in SLOW for name, said in differing
        ):
            break
        verdicts = _verdicts(entry.style, entry.target)
    return verdicts


def _unusual(verdicts: Verdicts) -> dict[str, str]:
    """The verdicts other than pass and info."""
    usual = {Verdict.PASS, Verdict.INFO}
    return {
        check.requirement.id: str(check.verdict) for check in verdicts.checks if check.verdict not in usual
    }


def _without_bad_timing(unusual: Mapping[str, str]) -> dict[str, str]:
    return {name: said for name, said in unusual.items() if name not in TIMING or said != "inconclusive"}


def _wrong(entries: Sequence[Entry]) -> dict[str, str]:
    """The unexpected verdicts, by style."""
    return {
        repr(entry): _details(verdicts)
        for entry, verdicts in zip(entries, _all_verdicts(entries), strict=True)
        if _without_bad_timing(_unusual(verdicts)) != _without_bad_timing(entry.unusual)
    }


def _details(verdicts: Verdicts) -> str:
    return "\n".join(
        f"{check.requirement.id}: {check.verdict}: {check.detail}"
        for check in verdicts.checks
        if check.verdict not in {Verdict.PASS, Verdict.INFO}
    )


@pytest.mark.parametrize("kind", CORPUS)
def test_each_style_gets_its_exact_verdicts(kind: str) -> None:
    assert _wrong(CORPUS[kind]) == {}


@pytest.mark.parametrize(
    ("style", "policies"),
    [
        (
            Style(resume_start="tail", body_comparison="bytes", extra_types=True),
            {
                "resume.start": "a resume without Last-Event-ID starts with: tail",
                "key.body-canonical": "a different key order makes a different body; "
                "different whitespace makes a different body",
                "events.unknown-types": "types beyond the documented four: 'step', 'usage.reported'",
            },
        ),
        (
            Style(),
            {
                "resume.start": "a resume without Last-Event-ID starts with: replay",
                "key.body-canonical": "a different key order makes the same body; "
                "different whitespace makes the same body",
                "events.unknown-types": "none",
                "key.other-route": "a key used on the other route is the same key",
                "resume.replay-bytes": "a retry returns the same bytes",
            },
        ),
        (
            Style(store="values"),
            {
                "resume.replay-bytes": "a retry returns the same values in different bytes (key order, white space, "
                "escapes or forms of numbers)",
            },
        ),
    ],
    ids=str,
)
def test_what_the_documentation_leaves_open_is_found_out(style: Style, policies: dict[str, str]) -> None:
    details = {check.requirement.id: check.detail for check in _verdicts(style, {}).checks}
    assert {name: details[name] for name in policies} == policies


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


def _allowed(style: Style) -> dict[str, str]:
    """The unusual verdicts that a combination may have: those of its parts."""
    allowed: dict[str, str] = {}
    if style.unknown_fields:
        allowed |= UNKNOWN_FIELDS
    if style.odd_json:
        allowed |= ODD_JSON
    if style.gzip:
        allowed |= CODED
    if style.ids == "counter":
        allowed |= COUNTER
    if style.reset_at_end and style.framing.startswith("HTTP"):
        allowed |= RESET_WITHOUT_LENGTH
    if style.conflict in NOT_AN_EVENT:
        allowed |= JSON_CONFLICT
    if style.conflict in NOT_JSON:
        allowed |= OTHER_SHAPE
    if not style.last_event_id:
        allowed |= ID_IGNORED
    return allowed


@settings(
    max_examples=1,
    deadline=None,
    database=None,
    print_blob=True,
    phases=[Phase.generate],  # each example runs the whole suite many times: shrinking would take an hour
    suppress_health_check=list(HealthCheck),
)
@given(strategies.lists(_random_styles(), min_size=COMBINATIONS, max_size=COMBINATIONS, unique=True))
def test_combinations_get_no_unexpected_verdict(styles: list[Style]) -> None:
    assert _wrong([Entry(style, _allowed(style)) for style in styles]) == {}


def test_the_corpus_holds_every_option_of_a_style() -> None:
    styles = [entry.style for entries in CORPUS.values() for entry in entries]
    usual = Style()
    for name in Style.__dataclass_fields__:
        assert any(getattr(style, name) != getattr(usual, name) for style in styles), name


def test_a_must_is_excused_only_where_it_cannot_be_seen() -> None:
    excused = {name: said for one in (COUNTER, RESET_WITHOUT_LENGTH) for name, said in one.items()}
    musts = {name: said for name, said in excused.items() if CATALOGUE[name].level is Level.MUST}
    assert set(musts.values()) == {"inconclusive"}
