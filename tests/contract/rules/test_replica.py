from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.expectations import Expectations
from harness.contract.rules import replica
from harness.contract.rules.cuts import CutRun
from harness.contract.rules.replica import ReplayedRun
from tests.cases import all_cases
from tests.contract.exchanges import another_run, cut_run, error, no_answer, reply, run, tail, whole_run
from tests.contract.rules.case import FAIL, INCONCLUSIVE, PASS, WARN, Case, case, check
from tests.contract.rules.test_cancel import FINISHED, LATE_ANSWER, OPEN, REFUSED, STOPPED, WENT_ON, of

REPLAY = Expectations(resume_start="replay")
WHOLE = whole_run()
RETRY = whole_run(sent_ms=100)
ELSEWHERE_AGAIN = another_run(sent_ms=100)
CONTROL = (WHOLE, reply(409, sent_ms=100))
JOINED = whole_run(sent_ms=15)


def replayed(*elsewhere: Exchange, again: Exchange = RETRY) -> list[ReplayedRun]:
    return [(WHOLE, RETRY, [RETRY]), (WHOLE, again, list(elsewhere))]


CASES: list[Case] = [
    case(
        replica.same_run, replayed(RETRY, RETRY), is_=PASS, says="2 runs, each retried at the other replicas"
    ),
    case(replica.same_run, replayed(RETRY, ELSEWHERE_AGAIN), is_=FAIL, says="belongs to a different run"),
    case(
        replica.same_run,
        replayed(ELSEWHERE_AGAIN, again=ELSEWHERE_AGAIN),
        is_=INCONCLUSIVE,
        says="a plain retry does not resume its run",
    ),
    case(replica.same_run, replayed(reply(404)), is_=INCONCLUSIVE, says="returned no run: status 404"),
    case(replica.same_run, [], is_=INCONCLUSIVE, says="nothing was tested"),
    case(replica.replay, replayed(RETRY), is_=PASS, says="2 runs, each replayed by the other replicas"),
    case(replica.replay, replayed(tail(1)), is_=FAIL, says="1 event lost before it"),
    case(replica.replay, replayed(reply(404)), is_=FAIL, says="status 404"),
    case(replica.replay, replayed(RETRY, again=reply(503)), is_=INCONCLUSIVE, says="a plain retry does not"),
    case(replica.joins, [[WHOLE, JOINED], [WHOLE, JOINED, JOINED]], is_=PASS, says="3 retries joined a run"),
    case(replica.joins, [[WHOLE, JOINED], [WHOLE, reply(404, sent_ms=15)]], is_=FAIL, says="got status 404"),
    case(
        replica.joins,
        [[WHOLE, tail(2, sent_ms=15)]],
        is_=FAIL,
        says="2 events lost before it",
        expect=REPLAY,
    ),
    case(replica.joins, [[WHOLE, RETRY], [WHOLE, JOINED]], is_=PASS, says="joined a run of another replica"),
    case(replica.joins, [[WHOLE, RETRY]], is_=INCONCLUSIVE, says="ended before it could be joined"),
    case(replica.terminal_race, [(WHOLE, whole_run(sent_ms=25))], is_=PASS, says="1 of them shortly before"),
    case(
        replica.terminal_race,
        [(WHOLE, cut_run(3, sent_ms=25))],
        is_=FAIL,
        says="1 event missing",
    ),
    case(
        replica.terminal_race, [(WHOLE, RETRY)], is_=INCONCLUSIVE, says="no retry was answered shortly before"
    ),
    case(replica.every_cut, [CutRun(cut_run(2), JOINED, RETRY)], is_=PASS, says="1 cut, each resumed"),
    case(
        replica.every_cut,
        [CutRun(cut_run(1), tail(2, sent_ms=15), RETRY)],
        is_=FAIL,
        says="1 event lost",
        expect=REPLAY,
    ),
    case(replica.every_cut, [], is_=INCONCLUSIVE, says="no run could be cut"),
    case(
        replica.conflicts,
        [CONTROL, CONTROL],
        CONTROL,
        is_=PASS,
        says="2 different bodies rejected at another",
    ),
    case(
        replica.conflicts,
        [CONTROL, (WHOLE, RETRY)],
        CONTROL,
        is_=FAIL,
        says="a different body at another replica returned the first body's run",
    ),
    case(
        replica.conflicts,
        [(WHOLE, RETRY)],
        (WHOLE, RETRY),
        is_=INCONCLUSIVE,
        says="the replica of the run does not reject a different body either",
    ),
    case(replica.conflict_form, [CONTROL, CONTROL], is_=PASS, says="all replicas reject with status 409"),
    case(
        replica.conflict_form,
        [CONTROL, (WHOLE, run(error(0, code=409)))],
        is_=WARN,
        says="in different forms: an error event with the code 409 and status 409 with a JSON body",
    ),
    case(replica.conflict_form, [(WHOLE, WHOLE)], is_=INCONCLUSIVE, says="was not rejected"),
    case(
        replica.cancels,
        of(STOPPED, STOPPED),
        of(STOPPED),
        is_=PASS,
        says="1 run cancelled at another replica",
    ),
    case(
        replica.cancels,
        of(WENT_ON, STOPPED),
        of(STOPPED),
        is_=FAIL,
        says="the cancelled run ended with done",
    ),
    case(
        replica.cancels, of(WENT_ON, answer=REFUSED), of(STOPPED), is_=FAIL, says="in flight got status 404"
    ),
    case(
        replica.cancels,
        of(STOPPED, later=WENT_ON),
        of(STOPPED),
        is_=FAIL,
        says="a cancelled run read again differs",
    ),
    case(replica.cancels, of(OPEN), of(STOPPED), is_=FAIL, says="the stream was still open"),
    case(
        replica.cancels,
        of(WENT_ON),
        of(WENT_ON),
        is_=INCONCLUSIVE,
        says="cancelled at its own replica does not end so either",
    ),
    case(
        replica.cancels,
        of(FINISHED, answer=LATE_ANSWER),
        of(STOPPED),
        is_=INCONCLUSIVE,
        says="ended before it could be cancelled",
    ),
    case(replica.one_run, [[WHOLE, JOINED]], is_=PASS, says="1 round of 2 equal requests"),
    case(replica.one_run, [[WHOLE, another_run()]], is_=FAIL, says="executed as 2 runs"),
    case(replica.one_run, [[WHOLE, no_answer(sent_ms=None)]], is_=INCONCLUSIVE, says="could not be sent"),
    case(replica.one_winner, another_run(), [[WHOLE, reply(409)]], is_=PASS, says="one winner each"),
    case(replica.one_winner, RETRY, [[WHOLE, another_run(), reply(409)]], is_=FAIL, says="2 winners among 3"),
    case(replica.one_winner, RETRY, [[reply(503)] * 2], is_=INCONCLUSIVE, says="none of the requests was"),
]


@all_cases("example", CASES, ids=str)
def test_the_rules_about_replicas(example: Case) -> None:
    check(example)
