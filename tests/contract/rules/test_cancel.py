from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.contract.evidence.serialization import pack, unpack
from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Budgets, Expectations
from harness.contract.finding import Verdict
from harness.contract.rules import cancel
from harness.contract.rules.cancel import Cancelled, UsualRun, depends_on_usual, may_have_ended_first
from harness.profiles import library
from harness.profiles.profile import Profile
from tests.cases import all_cases
from tests.contract.exchanges import cancelled, done, error, no_answer, reply, run, token, whole_run
from tests.contract.rules.case import FAIL, INCONCLUSIVE, NOT_APPLICABLE, PASS, Case, case, check

ASKED = """
[outcome]
path = "/runs/${run_id}"
field = "body.state"
done = "completed"
cancelled = "cancelled"
"""


def declared(more: str = "") -> Profile:
    api = library.parse(library.default_profile().source + more, "the profile")
    return library.with_cancellation(api, {"path": "/runs/${run_id}/cancel"}, "target.cancel")


API, ASKS = declared(), declared(ASKED)
ACCEPTED = reply(202, b"{}", profile=API, sent_ms=12.0)
STOPPED = run(token(0), token(1), cancelled(2), profile=API)
LATE = run(token(0), cancelled(1), at=(0, 6000), profile=API)
OPEN = run(token(0), token(1), ending=Ending.CUT, detail="cut by the harness", ended_ms=5500, profile=API)
FINISHED = run(token(0), done(1), at=(0, 5), profile=API)
CUT_SHORT = run(token(0), done(1), at=(0, 11.5), profile=API)
"""Ends with success between the request that cancels it and the answer."""
WENT_ON = run(token(0), token(1), done(2), at=(0, 10, 900), profile=API)
REPLAY = (whole_run(profile=API), whole_run(profile=API))
NO_REPLAY = (whole_run(profile=API), reply(404, profile=API))


def of(
    *readers: Exchange,
    answer: Exchange = ACCEPTED,
    later: Exchange | None = None,
    asked: Exchange | None = None,
) -> list[Cancelled]:
    return [(list(readers), answer, later, asked)]


def state(value: str) -> Exchange:
    return reply(200, f'{{"state": "{value}"}}'.encode(), {"Content-Type": "application/json"}, profile=ASKS)


def asking(value: str | None) -> list[Cancelled]:
    reader, answer = (replace(one, profile=ASKS) for one in (STOPPED, ACCEPTED))
    return of(reader, answer=answer, asked=None if value is None else state(value))


REFUSED = reply(404, profile=API, sent_ms=12.0)
BROKEN = reply(500, profile=API, sent_ms=12.0)
LATE_ANSWER = reply(404, profile=API, sent_ms=1200.0)
TIGHT = Expectations(budgets=Budgets(cancel_s=0.001))

CASES: list[Case] = [
    case(cancel.accepted, of(STOPPED), is_=PASS, says="1 request to cancel a run in flight accepted"),
    case(cancel.accepted, of(WENT_ON, answer=REFUSED), is_=FAIL, says="in flight got status 404"),
    case(
        cancel.accepted,
        of(WENT_ON, answer=no_answer(Ending.TIMED_OUT, "no response", profile=API)),
        is_=FAIL,
        says="got no response",
    ),
    case(cancel.accepted, of(FINISHED), is_=INCONCLUSIVE, says="ended before it could"),
    case(cancel.accepted, of(FINISHED, answer=LATE_ANSWER), is_=INCONCLUSIVE, says="ended before it could"),
    case(
        cancel.accepted,
        [*of(FINISHED, answer=LATE_ANSWER), *of(STOPPED)],
        is_=PASS,
        says="accepted",
    ),
    case(cancel.accepted, of(whole_run()), is_=NOT_APPLICABLE, says="configure [target.cancel]"),
    case(cancel.ends, of(STOPPED, STOPPED), is_=PASS, says="every stream ended within 5 s"),
    case(cancel.ends, of(STOPPED, OPEN), is_=FAIL, says="still open 5.49 s after the run was cancelled"),
    case(
        cancel.ends, of(LATE), is_=FAIL, says="ended 5.99 s after the run was cancelled (allowed: 5 s)", at=1
    ),
    case(cancel.ends, of(STOPPED), is_=FAIL, says="allowed: 0.001 s", expect=TIGHT),
    case(cancel.ends, of(OPEN, answer=REFUSED), is_=INCONCLUSIVE, says="see cancel.accepted"),
    case(cancel.ends, of(FINISHED), is_=INCONCLUSIVE, says="ended before it could"),
    case(cancel.one_outcome, of(STOPPED, STOPPED), is_=PASS, says="one cancelled event on each connection"),
    case(cancel.one_outcome, of(WENT_ON), is_=FAIL, says="the cancelled run ended with done", at=2),
    case(
        cancel.one_outcome,
        of(STOPPED, run(token(0), cancelled(1), done(2), at=(0, 20, 20), profile=API)),
        is_=FAIL,
        says="ended with cancelled, done",
        at=2,
    ),
    case(
        cancel.one_outcome, of(run(token(0), error(1), at=(0, 20), profile=API)), is_=FAIL, says="with error"
    ),
    case(cancel.one_outcome, of(run(token(0), at=(20,), profile=API)), is_=FAIL, says="without an outcome"),
    case(cancel.one_outcome, of(OPEN), is_=INCONCLUSIVE, says="see cancel.ends"),
    case(cancel.one_outcome, of(FINISHED), is_=INCONCLUSIVE, says="ended before it could"),
    case(cancel.one_outcome, of(CUT_SHORT), UsualRun(10, 10**9), is_=FAIL, says="ended with done", at=1),
    case(
        cancel.one_outcome, of(CUT_SHORT), UsualRun(2, 10**9), is_=INCONCLUSIVE, says="ended before it could"
    ),
    case(
        cancel.one_outcome, of(CUT_SHORT), UsualRun(10, 10**7), is_=INCONCLUSIVE, says="ended before it could"
    ),
    case(
        cancel.one_outcome, of(FINISHED), UsualRun(10, 10**9), is_=INCONCLUSIVE, says="ended before it could"
    ),
    case(cancel.last, of(STOPPED), is_=PASS, says="nothing followed"),
    case(cancel.last, of(run(token(0), cancelled(1), token(2), profile=API)), is_=FAIL, says="event 3", at=2),
    case(cancel.last, of(OPEN), is_=INCONCLUSIVE, says="no terminal event"),
    case(cancel.replayed, of(STOPPED, later=STOPPED), REPLAY, is_=PASS, says="1 cancelled run returned"),
    case(cancel.replayed, of(STOPPED, later=WENT_ON), REPLAY, is_=FAIL, says="read again differs"),
    case(cancel.replayed, of(STOPPED, later=REFUSED), is_=FAIL, says="status 404"),
    case(cancel.replayed, of(STOPPED, later=REFUSED), NO_REPLAY, is_=INCONCLUSIVE, says="see resume.replay"),
    case(cancel.replayed, of(STOPPED), is_=INCONCLUSIVE, says="did not end with cancelled"),
    case(cancel.outcome, asking("cancelled"), is_=PASS, says="1 run reported as cancelled"),
    case(cancel.outcome, asking("completed"), is_=FAIL, says="has the outcome 'completed'"),
    case(cancel.outcome, asking("running"), is_=FAIL, says="has the outcome 'running'"),
    case(cancel.outcome, asking(None), is_=INCONCLUSIVE, says="got nothing"),
    case(cancel.outcome, of(STOPPED), is_=NOT_APPLICABLE, says="promises no request for a run's outcome"),
    case(
        cancel.harmless,
        [(FINISHED, ACCEPTED, FINISHED), (None, REFUSED, None)],
        REPLAY,
        is_=PASS,
        says="status 404",
    ),
    case(cancel.harmless, [(None, BROKEN, None)], NO_REPLAY, is_=FAIL, says="status 500"),
    case(cancel.harmless, [(FINISHED, ACCEPTED, STOPPED)], REPLAY, is_=FAIL, says="changed the run"),
    case(
        cancel.harmless,
        [(FINISHED, ACCEPTED, REFUSED)],
        NO_REPLAY,
        is_=INCONCLUSIVE,
        says="see resume.replay",
    ),
    case(cancel.other_organization, WENT_ON, REFUSED, of(STOPPED), is_=PASS, says="the run ended with done"),
    case(cancel.other_organization, STOPPED, ACCEPTED, of(STOPPED), is_=FAIL, says="cancelled the run"),
    case(cancel.other_organization, WENT_ON, BROKEN, of(STOPPED), is_=FAIL, says="status 500"),
    case(
        cancel.other_organization,
        WENT_ON,
        REFUSED,
        of(WENT_ON),
        is_=INCONCLUSIVE,
        says="see cancel.one-outcome",
    ),
    case(cancel.other_organization, FINISHED, REFUSED, of(STOPPED), is_=INCONCLUSIVE, says="ended before"),
]


NOTICED_LATE = reply(202, b"{}", profile=API, sent_ms=12.0, ended_ms=8.0)
"""Its head arrives 12 ms after the run's request was sent; the harness notices its end at 20 ms."""
LEFT = library.parse(library.default_profile().source + "[cancel]\ndisconnect = true\n", "the profile")
CUT_AT_30 = run(token(0), ending=Ending.CUT, detail="cut by the harness", ended_ms=30, profile=LEFT)


@pytest.mark.parametrize(
    ("done_ms", "answer", "verdict"),
    [
        (11, NOTICED_LATE, INCONCLUSIVE),
        (13, NOTICED_LATE, FAIL),
        (13, CUT_AT_30, INCONCLUSIVE),  # a reader that disconnects, whose stream began long before
        (31, CUT_AT_30, FAIL),
    ],
)
def test_a_run_is_over_too_early_only_before_the_answer_arrives(
    done_ms: float, answer: Exchange, verdict: Verdict
) -> None:
    """What the harness notices late hides no wrong end."""
    ended = run(token(0), done(1), at=(0, done_ms), profile=answer.profile)
    check(case(cancel.one_outcome, of(ended, answer=answer), is_=verdict, says="ended"))
    own = of(STOPPED)
    if answer is NOTICED_LATE:
        refused = replace(answer, label="the request of another organization to cancel it")
        expected = INCONCLUSIVE if verdict is INCONCLUSIVE else PASS
        check(case(cancel.other_organization, ended, refused, own, is_=expected, says="ended"))


def test_a_run_whose_end_was_read_late_may_have_been_over_before_the_answer() -> None:
    """The kernel stamps only the last of the segments that one read returns."""
    ended = run(token(0), done(1), at=(0, 13), profile=API)
    late = replace(ended, reads=[read._replace(error_ns=2_000_000) for read in ended.reads])
    check(case(cancel.one_outcome, of(ended), is_=FAIL, says="ended with done"))
    check(case(cancel.one_outcome, of(late), is_=INCONCLUSIVE, says="ended before it could"))
    check(case(cancel.accepted, of(late, answer=REFUSED), is_=INCONCLUSIVE, says="ended before it could"))


USUAL = UsualRun(10, 1_000_000_000)


def ended_after(*at_ms: float, late_ms: float = 0.0) -> Exchange:
    """A run whose answer arrives after 12 ms."""
    return run(
        *map(token, range(len(at_ms) - 1)), done(len(at_ms) - 1), at=at_ms, late_ms=late_ms, profile=API
    )


@pytest.mark.parametrize(
    ("readers", "usual", "may_have"),
    [
        ([ended_after(0, 13)], None, True),
        ([ended_after(0, 11.5)], None, True),
        ([ended_after(0, 13)], USUAL, False),
        ([ended_after(*range(10), 13)], USUAL, True),
        ([ended_after(0, 13)], UsualRun(10, 20_000_000), True),
        ([ended_after(0, 13), ended_after(0, 14)], None, True),
        ([STOPPED], None, False),
        ([ended_after(0, 13), STOPPED], None, False),
        ([ended_after(0, 13), OPEN], None, True),
        ([OPEN], None, False),
        ([ended_after(0, 60, 120, 180, 240)], None, True),
        ([ended_after(0, 60, 120, 180, 240, 300)], None, False),
        ([ended_after(0, 60, 120, 180, 240, 300, late_ms=100)], None, True),
        ([ended_after(0, 300)], None, True),
        ([ended_after(0, 600)], None, False),
        ([ended_after(0, 600, late_ms=200)], None, True),
        ([ended_after(0, 13), ended_after(0, 600)], None, False),
    ],
    ids=[
        "at once after the answer",
        "before the answer",
        "cut short",
        "as long as usual",
        "few events, in the usual time",
        "for two readers",
        "cancelled",
        "cancelled for one reader only",
        "one reader has no end",
        "no end",
        "three moments, soon",
        "several moments after the answer",
        "several moments, but the harness was late",
        "in one moment",
        "long after the answer",
        "long after the answer, but the harness was late",
        "long after the answer for one reader",
    ],
)
def test_a_run_may_have_ended_before_its_answer_is_written(
    readers: list[Exchange], usual: UsualRun | None, may_have: bool
) -> None:
    assert may_have_ended_first((readers, ACCEPTED, None, None), usual) is may_have


@pytest.mark.parametrize(
    ("end", "at_ms", "depends"),
    [
        (error, 11.5, True),
        (done, 11.5, True),
        (done, 13, True),
        (error, 13, False),
        (cancelled, 11.5, False),
        (error, 5, False),
        (done, 600, False),
    ],
    ids=[
        "failed before the answer",
        "done before the answer",
        "done at once after the answer",
        "failed after the answer",
        "cancelled",
        "failed before the request",
        "done long after the answer",
    ],
)
def test_which_runs_a_run_that_nobody_cancels_decides(
    end: Callable[[int], Any], at_ms: float, depends: bool
) -> None:
    ended = run(token(0), end(1), at=(0, at_ms), profile=API)
    assert depends_on_usual(([ended], ACCEPTED, None, None)) is depends


def test_stored_evidence_is_judged_alike() -> None:
    """It has no named tuples."""
    stored: dict[str, Exchange] = {}

    def refer(exchange: Exchange) -> str:
        name = str(len(stored))
        stored[name] = exchange
        return name

    arguments = (of(CUT_SHORT), UsualRun(10, 10**9))
    again = unpack(pack(arguments, refer), stored.__getitem__)
    assert type(again[1]) is tuple
    assert cancel.one_outcome(*again, expect=Expectations()).verdict is FAIL
    assert cancel.one_outcome(*again, expect=Expectations()) == cancel.one_outcome(
        *arguments, expect=Expectations()
    )


@all_cases("example", CASES, ids=str)
def test_cases(example: Case) -> None:
    check(example)
