"""Recorded answers in unusual encodings, and what hides an answer from the harness."""

from __future__ import annotations

import gzip

from harness.contract.exchange import Exchange
from harness.contract.expectations import Budgets, Expectations
from harness.contract.finding import Verdict
from harness.contract.rules import auth, framing, liveness, resume, terminal
from harness.contract.rules.cuts import CutRun
from harness.contract.rules.stream import check_stream
from tests.cases import all_cases
from tests.contract.exchanges import (
    LIMITED,
    STREAM,
    chunk,
    cut_run,
    done,
    head,
    reply,
    run,
    scripted,
    token,
    whole_run,
)
from tests.contract.rules.test_recorded_conflicts import recorded

UNKNOWN = scripted((0, head(200, {**STREAM, "Content-Encoding": "exi"}) + bytes(range(256))))


def verdicts(run: Exchange) -> dict[str, Verdict]:
    """The verdicts other than pass."""
    found = {finding.requirement: finding.verdict for finding in check_stream(run, Expectations())}
    return {name: said for name, said in found.items() if said is not Verdict.PASS}


@all_cases(
    ("name", "outcome", "tokens", "unusual"),
    [
        ("error-lone-surrogate", "error", 4, {"events.strict-json": "warn"}),
        ("tokens-split-surrogate-pair", "done", 3, {"events.strict-json": "warn"}),
        ("done-nested-300", "done", 4, {"events.strict-json": "warn"}),
        ("done-number-of-5000-digits", "done", 4, {"events.strict-json": "warn"}),
        ("id-20-digit-sequence", "done", 0, {}),
        ("gzip-unasked", "done", 4, {"headers.content-coding": "warn"}),
        ("transfer-encoding-chunked-tab", "done", 4, {}),
        ("transfer-encoding-chunked-twice", "done", 4, {"headers.transfer-coding": "fail"}),
        (
            "transfer-encoding-gzip-chunked",
            "done",
            4,
            {"headers.transfer-coding": "fail", "headers.decodable": "fail"},
        ),
        ("heartbeat-one-line", "done", 2, {}),
    ],
)
def test_a_recorded_answer(name: str, outcome: str, tokens: int, unusual: dict[str, str]) -> None:
    run = recorded(name)
    assert (run.outcome, len(run.summary.token_arrivals_ns)) == (outcome, tokens)
    assert verdicts(run) == unusual
    assert run.sequence == tuple(event.identity for event in run.events)


def test_a_limit_of_the_harness_fails_no_requirement() -> None:
    found = verdicts(LIMITED)
    assert set(found.values()) == {Verdict.INCONCLUSIVE}
    assert {
        "headers.complete",
        "framing.blank-line",
        "terminal.always",
        "terminal.exactly-one",
        "terminal.closes",
    } <= set(found)
    for rule, evidence in (
        (terminal.no_tokens, [scripted((0, head(200, STREAM)), ending=LIMITED.ending, detail="a limit")]),
        (terminal.failure, [LIMITED]),
        (liveness.heartbeat, [LIMITED]),
        (resume.every_cut, [[CutRun(cut_run(1), LIMITED, whole_run())]]),
        (resume.replay, [whole_run(), LIMITED]),
        (resume.joins, [whole_run(), LIMITED]),
    ):
        finding = rule(*evidence)
        assert finding.verdict is Verdict.INCONCLUSIVE, finding.detail


def test_what_came_before_a_limit_still_fails() -> None:
    twice = scripted(
        (0, head(200, {**STREAM, "Transfer-Encoding": "chunked"}) + chunk(done(0)) + chunk(done(0))),
        ending=LIMITED.ending,
        detail=LIMITED.ending_detail,
    )
    found = verdicts(twice)
    assert {"ids.unique", "ids.increasing", "terminal.exactly-one", "terminal.last"} == {
        name for name, said in found.items() if said is Verdict.FAIL
    }


def test_a_coding_that_hides_every_event_is_one_fault() -> None:
    found = verdicts(UNKNOWN)
    assert {name for name, said in found.items() if said is not Verdict.INCONCLUSIVE} == {"headers.decodable"}
    assert "Content-Encoding: exi" in terminal.always(UNKNOWN).detail
    assert "Content-Encoding: exi" in framing.utf8(UNKNOWN).detail
    assert "Content-Encoding: exi" in resume.replay(whole_run(), UNKNOWN).detail
    assert resume.replay(whole_run(), UNKNOWN).verdict is Verdict.INCONCLUSIVE


def test_a_coding_hides_no_status() -> None:
    assert auth.missing(whole_run(), UNKNOWN, reply(401)).verdict is Verdict.FAIL


def test_the_body_of_a_rejection_is_decoded() -> None:
    compressed = reply(400, gzip.compress(b'{"title":"secret"}'), {"Content-Encoding": "gzip"})
    assert compressed.body == b'{"title":"secret"}'
    assert compressed.holds(b"secret")
    assert compressed.coding_fault is None
    mislabelled = reply(400, b'{"title":"secret"}', {"Content-Encoding": "gzip"})
    assert mislabelled.body == b'{"title":"secret"}'
    assert mislabelled.coding_fault is not None


def test_events_under_a_wrong_name_are_judged() -> None:
    plain = scripted((0, head(200, {**STREAM, "Content-Encoding": "gzip"}) + token(0) + done(1)))
    assert verdicts(plain) == {"headers.decodable": "fail", "headers.content-coding": "warn"}


def test_a_heartbeat_of_one_line_counts_when_it_arrives() -> None:
    beats = recorded("heartbeat-one-line")
    two_s = Expectations(budgets=Budgets(heartbeat_s=2.0))
    assert liveness.heartbeat_interval(beats).detail == "a comment about every 1.0 s"
    assert liveness.heartbeat_inert(beats, expect=two_s).verdict is Verdict.PASS
    assert liveness.heartbeat(beats, expect=two_s).detail == "4 comments; the longest silence was 1.0 s"


def test_a_comment_next_to_an_event_is_no_heartbeat() -> None:
    beside = run(b": a\n" + token(0), b": b\n" + token(1), done(2), at=[0, 900, 2000])
    assert liveness.heartbeat_interval(beside).verdict is Verdict.INCONCLUSIVE
