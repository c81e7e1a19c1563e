from __future__ import annotations

from harness.contract.exchange import Ending, Exchange
from harness.contract.rules import restart
from tests.cases import all_cases
from tests.contract.exchanges import (
    EPOCH_MS,
    STREAM,
    another_run,
    cancelled,
    error,
    head,
    no_answer,
    reply,
    run,
    scripted,
    tail,
    token,
    whole_run,
)
from tests.contract.rules.case import FAIL, INCONCLUSIVE, PASS, Case, case, check

WHOLE = whole_run()
RETRY = whole_run(sent_ms=100)
LATER = whole_run(sent_ms=900)
NEW = another_run(sent_ms=800)
SERVES = [[NEW]]
REFUSED_FIRST = [[no_answer(), NEW]]
DOWN = [[NEW], [no_answer(), no_answer()]]


def reader(events: int = 2) -> Exchange:
    """A reader of a run in flight, whose connection the restart has cut."""
    return run(*(token(place) for place in range(events)), ending=Ending.TRUNCATED)


ENDED = run(token(0), token(1), error(2, code="interrupted"), sent_ms=900)
AGAIN = run(token(0, base_ms=EPOCH_MS + 900), error(1, base_ms=EPOCH_MS + 900), sent_ms=900)
CUT = [([reader()], [ENDED, ENDED])]
UNHARMED = [([WHOLE], [LATER])]
#: Nothing marks the end of its body, so that a process that was killed looks like one that completed it.
UNMARKED = scripted((0, head(headers=STREAM) + token(0) + token(1)))
CONFLICT = reply(409, sent_ms=900)


def ended(*later: Exchange, control: Exchange = RETRY) -> list[restart.EndedRun]:
    return [(WHOLE, control, list(later))]


CASES: list[Case] = [
    case(restart.serves_again, SERVES, is_=PASS, says="new runs were accepted"),
    case(restart.serves_again, DOWN, is_=FAIL, says="after the restart a new run got"),
    case(restart.serves_again, [], is_=INCONCLUSIVE, says="nothing was sent"),
    case(restart.no_new_run, ended(LATER), CUT, SERVES, is_=PASS, says="3 retries after the restart"),
    case(restart.no_new_run, ended(another_run()), CUT, SERVES, is_=FAIL, says="a different run: runId"),
    case(restart.no_new_run, ended(LATER), [([reader()], [AGAIN])], SERVES, is_=FAIL, says="executed again"),
    case(
        restart.no_new_run,
        ended(LATER),
        UNHARMED,
        SERVES,
        is_=INCONCLUSIVE,
        says="nothing shows that the target",
    ),
    case(restart.no_new_run, ended(LATER), UNHARMED, REFUSED_FIRST, is_=PASS, says="2 retries after"),
    case(restart.no_new_run, ended(LATER), CUT, DOWN, is_=INCONCLUSIVE, says="see restart.serves-again"),
    case(restart.replay, ended(LATER, LATER), CUT, SERVES, is_=PASS, says="1 run replayed"),
    case(restart.replay, ended(tail(3)), CUT, SERVES, is_=FAIL, says="3 events lost before it"),
    case(restart.replay, ended(reply(404)), CUT, SERVES, is_=FAIL, says="status 404"),
    case(
        restart.replay,
        ended(another_run(), control=another_run()),
        CUT,
        SERVES,
        is_=INCONCLUSIVE,
        says="a plain retry does not resume its run",
    ),
    case(restart.ends, CUT, SERVES, is_=PASS, says="each with one terminal event"),
    case(restart.ends, [([reader()], [LATER])], SERVES, is_=PASS, says="each with one terminal event"),
    case(restart.ends, [([reader()], [reply(404)])], SERVES, is_=FAIL, says="got status 404"),
    case(
        restart.ends,
        [([reader()], [run(token(0), token(1), ending=Ending.TIMED_OUT, detail="no event within 20 s")])],
        SERVES,
        is_=FAIL,
        says="did not end",
    ),
    case(
        restart.ends,
        [([reader()], [run(token(0), cancelled(1), error(2))])],
        SERVES,
        is_=FAIL,
        says="has 2 terminal events",
    ),
    case(
        restart.ends,
        [([run(token(0), token(1), label="its first reader")], [ENDED])],
        SERVES,
        is_=FAIL,
        says="its first reader: at the restart the stream was completed without a terminal event",
    ),
    case(
        restart.ends,
        [([UNMARKED], [ENDED])],
        SERVES,
        is_=PASS,
        says="each with one terminal event",
    ),
    case(restart.ends, UNHARMED, SERVES, is_=INCONCLUSIVE, says="check target.restart_command"),
    case(restart.same_events, CUT, SERVES, is_=PASS, says="1 run in flight"),
    case(
        restart.same_events,
        [([reader(), tail(1)], [LATER])],
        SERVES,
        is_=PASS,
        says="the same events on every",
    ),
    case(
        restart.same_events,
        [([reader()], [run(token(0), error(2, code="interrupted"))])],
        SERVES,
        is_=FAIL,
        says="event 2 is id",
    ),
    case(
        restart.same_events,
        [([reader()], [run(token(0), token(1), error(3)), ENDED])],
        SERVES,
        is_=FAIL,
        says="event 3 is id",
    ),
    case(restart.same_events, [([reader()], [tail(1)])], SERVES, is_=FAIL, says="lacks id"),
    case(restart.same_events, UNHARMED, SERVES, is_=INCONCLUSIVE, says="nothing shows"),
    case(
        restart.conflicts,
        [(WHOLE, CONFLICT, CONFLICT)],
        CUT,
        SERVES,
        is_=PASS,
        says="1 different body rejected",
    ),
    case(
        restart.conflicts,
        [(WHOLE, CONFLICT, LATER)],
        CUT,
        SERVES,
        is_=FAIL,
        says="returned the first body's run",
    ),
    case(
        restart.conflicts,
        [(WHOLE, LATER, LATER)],
        CUT,
        SERVES,
        is_=INCONCLUSIVE,
        says="before the restart either",
    ),
]


@all_cases("example", CASES, ids=str)
def test_the_rules_about_restarts(example: Case) -> None:
    check(example)
