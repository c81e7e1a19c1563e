from __future__ import annotations

from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Expectations
from harness.contract.rules import race
from tests.cases import all_cases
from tests.contract.exchanges import (
    EPOCH_MS,
    another_run,
    cut_run,
    done,
    empty_stream,
    error,
    no_answer,
    reply,
    run,
    tail,
    token,
    whole_run,
)
from tests.contract.rules.case import FAIL, INCONCLUSIVE, PASS, WARN, Case, case, check

REPLAY = Expectations(resume_start="replay")
AS_EVENT = run(error(0, code=409))
APART = [whole_run(), whole_run(sent_ms=101)]


def echo(text: str, run_id: str) -> Exchange:
    return run(token(0, text), done(1, run_id))


def slow(last_ms: float) -> Exchange:
    return run(token(0), done(1), at=[0, last_ms])


def stalled(before: float, *concurrent: float, after: float | None = None) -> race.StalledRound:
    """A round of runs next to stalled readers, by how long each took in milliseconds."""
    return slow(before), [*map(slow, concurrent)], None if after is None else slow(after)


OPEN_END = run(token(0), ending=Ending.TIMED_OUT, detail="silent for 30 s")
CLOSED = cut_run(2)

CASES: list[Case] = [
    case(
        race.same_body,
        [[whole_run(), whole_run(sent_ms=99), whole_run()], [another_run()] * 3],
        is_=PASS,
        says="2 rounds of 3 equal requests: one run each",
    ),
    case(race.same_body, [[whole_run(), tail(2), tail(3)]], is_=PASS, says="1 round of 3"),
    case(
        race.same_body,
        [[whole_run(), tail(2)]],
        is_=FAIL,
        says="two simultaneous equal requests differ: event 1 is id",
        expect=REPLAY,
    ),
    case(
        race.same_body,
        [[whole_run(), whole_run()], [whole_run(), another_run()]],
        is_=FAIL,
        says="2 simultaneous equal requests were executed as 2 runs (round 2 of 2)",
    ),
    case(
        race.same_body,
        [[whole_run(), run(*(token(place) for place in range(3)), ending=Ending.TRUNCATED)]],
        is_=FAIL,
        says="differ: 1 event missing",
    ),
    case(
        race.same_body,
        [[whole_run(), reply(409), empty_stream()]],
        is_=FAIL,
        says="2 of 3 simultaneous equal requests got no run: status 409",
    ),
    case(race.same_body, [[whole_run(), AS_EVENT]], is_=FAIL, says="1 of 2 simultaneous equal requests"),
    case(
        race.same_body,
        [[run(token(0), done(1)), run(token(0, "other"), done(1))]],
        is_=FAIL,
        says="differ: event 1 (id",
    ),
    case(race.same_body, [[run(token(0))] * 2], is_=INCONCLUSIVE, says="did not reach a terminal event"),
    case(race.same_body, [[reply(503)] * 3], is_=INCONCLUSIVE, says="none of the requests was accepted"),
    case(race.same_body, [APART], is_=INCONCLUSIVE, says="could not be sent simultaneously"),
    case(
        race.same_body,
        [[whole_run(), no_answer(Ending.STOPPED, "stopped", sent_ms=None)]],
        is_=INCONCLUSIVE,
        says="could not be sent simultaneously",
    ),
    case(race.same_body, [], is_=INCONCLUSIVE, says="could not be sent simultaneously"),
    case(
        race.different_bodies,
        whole_run(),
        [[reply(409), whole_run(), reply(409)], [AS_EVENT, AS_EVENT, another_run()]],
        is_=PASS,
        says="2 rounds of 3",
    ),
    case(
        race.different_bodies,
        whole_run(),
        [[whole_run(), another_run(), reply(409)]],
        is_=FAIL,
        says="2 winners among 3 different bodies with one key",
    ),
    case(race.different_bodies, whole_run(), [[reply(409)] * 3], is_=FAIL, says="0 winners among 3"),
    case(
        race.different_bodies,
        whole_run(),
        [[whole_run(), reply(409)], [whole_run(), reply(422)]],
        is_=FAIL,
        says="a loser got status 422 with no event, complete, not a 409 (round 2 of 2)",
    ),
    case(
        race.different_bodies,
        whole_run(),
        [[run(token(0)), reply(409)]],
        is_=FAIL,
        says="winner's stream did not end",
    ),
    case(
        race.different_bodies,
        whole_run(),
        [[reply(503)] * 2],
        is_=INCONCLUSIVE,
        says="none of the requests was",
    ),
    case(
        race.different_bodies, whole_run(), [APART], is_=INCONCLUSIVE, says="could not be sent simultaneously"
    ),
    case(
        race.different_bodies,
        run(error(0, code=409, runId="r-1")),
        [[run(error(0, code=409, runId="r-2")), AS_EVENT, AS_EVENT]],
        is_=INCONCLUSIVE,
        says="a rejection or a failed run",
    ),
    case(
        race.different_bodies,
        run(error(0, code=409, runId="r-1")),
        [[run(error(0, code=500, runId="r-2")), reply(409), reply(409)]],
        is_=PASS,
        says="one winner each",
    ),
    case(
        race.no_crosstalk,
        {"only-a": echo("only-a", "1"), "only-b": echo("so only-b", "2")},
        is_=PASS,
        says="2 interleaved runs, each with only its own text",
    ),
    case(
        race.no_crosstalk,
        {"only-a": echo("only-a", "1"), "only-b": echo("only-b only-a", "2")},
        is_=FAIL,
        says="contains another run's text",
    ),
    case(
        race.no_crosstalk,
        {"only-a": echo("only-a", "1"), "only-b": echo("only-", "2")},
        is_=FAIL,
        says="lost its own text",
    ),
    case(
        race.no_crosstalk,
        {"only-a": echo("only-a", "1"), "only-b": run(token(0), at=[5])},
        is_=FAIL,
        says="lost its own text",
    ),
    case(
        race.no_crosstalk,
        {"only-a": run(token(0), ending=Ending.RESET), "only-b": echo("only-b", "2")},
        is_=INCONCLUSIVE,
        says="an interleaved run was not received whole: status 200 with 1 event",
    ),
    case(
        race.no_crosstalk,
        {"only-a": run(token(0), ending=Ending.RESET), "only-b": echo("only-b only-a", "2")},
        is_=FAIL,
        says="contains another run's text",
    ),
    case(
        race.no_crosstalk,
        {"only-a": echo("only-a", "1"), "only-b": echo("only-b", "1")},
        is_=FAIL,
        says="two independent runs have one runId",
    ),
    case(race.no_crosstalk, {"a1": whole_run(), "b1": whole_run()}, is_=INCONCLUSIVE, says="does not echo"),
    case(race.no_crosstalk, {"a1": echo("a1", "1"), "b1": reply(503)}, is_=INCONCLUSIVE, says="not every"),
    case(
        race.close_one,
        CLOSED,
        [whole_run(), whole_run(), another_run()],
        is_=PASS,
        says="3 streams stayed intact when another one was closed",
    ),
    case(race.close_one, CLOSED, [whole_run(), tail(1), tail(2)], is_=PASS, says="3 streams stayed intact"),
    case(
        race.close_one,
        CLOSED,
        [whole_run(), run(token(0), error(1))],
        is_=FAIL,
        says="closing one stream affected another: status 200 with 2 events",
    ),
    case(race.close_one, CLOSED, [OPEN_END], is_=FAIL, says="silent for 30 s"),
    case(race.close_one, CLOSED, [reply(503)], is_=FAIL, says="affected another: status 503"),
    case(
        race.close_one,
        CLOSED,
        [whole_run(), run(token(0), token(2), done(3))],
        is_=FAIL,
        says="affected another: event 2 is id",
    ),
    case(
        race.close_one,
        cut_run(2, sent_ms=500),
        [whole_run(), another_run()],
        is_=INCONCLUSIVE,
        says="no other stream was open when this one was closed",
    ),
    case(
        race.close_one,
        CLOSED,
        [whole_run(sent_ms=500), another_run(sent_ms=500)],
        is_=INCONCLUSIVE,
        says="no other stream was open when this one was closed",
    ),
    case(race.close_one, CLOSED, [], is_=INCONCLUSIVE, says="no open stream to close"),
    case(race.close_one, reply(500), [whole_run()], is_=INCONCLUSIVE, says="no open stream"),
    case(
        race.close_one, whole_run(), [whole_run()], is_=INCONCLUSIVE, says="ended before it could be closed"
    ),
    case(race.slow_reader, [stalled(1000, 1900, 1000)], is_=PASS, says="no longer than alone"),
    case(race.slow_reader, [stalled(40, 1000)], is_=PASS, says="no longer than alone"),
    case(
        race.slow_reader,
        [stalled(1000, 2500, after=1000), stalled(1000, 1000, 2100, after=1000)],
        is_=WARN,
        says="a run took 2100 ms instead of 1000 ms",
    ),
    case(
        race.slow_reader,
        [stalled(1000, 2100, after=1000), stalled(1000, 1000)],
        is_=INCONCLUSIVE,
        says="in 1 of 2 rounds, next to a stalled reader a run took 2100 ms instead of 1000 ms; in the others",
    ),
    case(
        race.slow_reader,
        [stalled(1000, 2100, after=1000), stalled(1000, 1000), stalled(1000, 1000)],
        is_=PASS,
        says="no longer than alone in 2 of 3 rounds",
    ),
    case(
        race.slow_reader,
        [stalled(1000, 2100, after=1000), stalled(1000, 1000), stalled(1000, 2100, after=1000)],
        is_=INCONCLUSIVE,
        says="in 2 of 3 rounds",
    ),
    case(
        race.slow_reader,
        [stalled(1000, 5000, after=4000), stalled(1000, 5000, after=4500)],
        is_=INCONCLUSIVE,
        says="took 5000 ms instead of 1000 ms; after it, alone, a run took 4500 ms instead of 1000 ms, so something",
    ),
    case(
        race.slow_reader,
        [stalled(1000, 5000, after=1000), stalled(1000, 5000, after=4500)],
        is_=INCONCLUSIVE,
        says="something else slows the server",
    ),
    case(
        race.slow_reader, [stalled(1000, 5000, after=4000), stalled(1000, 1000)], is_=PASS, says="than alone"
    ),
    case(
        race.slow_reader,
        [(slow(1000), [OPEN_END], slow(1000))],
        is_=WARN,
        says="a run did not end: status 200",
    ),
    case(
        race.slow_reader,
        [(slow(1000), [OPEN_END], OPEN_END)],
        is_=INCONCLUSIVE,
        says="after it, alone, a run did not end: status 200",
    ),
    case(race.slow_reader, [(OPEN_END, [slow(10)], None)], is_=INCONCLUSIVE, says="the run did not end"),
    case(race.slow_reader, [stalled(1000)], is_=INCONCLUSIVE, says="no run next to"),
    case(race.slow_reader, [], is_=INCONCLUSIVE, says="no run next to"),
]


@all_cases("example", CASES, ids=str)
def test_verdict(example: Case) -> None:
    check(example)


def test_runs_with_equal_ids_differ_by_run_id() -> None:
    twice = [whole_run(run_id="run-1"), whole_run(run_id="run-2")]
    assert race.same_body([twice]).verdict is FAIL
    assert race.same_body([[whole_run(), whole_run(base_ms=EPOCH_MS + 5)]]).verdict is FAIL


def test_where_equal_requests_part_is_pointed_at_in_both() -> None:
    frames = [*(token(place) for place in range(5)), done(5)]
    whole, short = run(*frames), run(*frames[:3], *frames[4:])
    finding = race.same_body([[whole, short]], expect=Expectations(resume_start="replay"))
    assert [place.frame.index for place in finding.places if place.frame is not None] == [3, 3]
