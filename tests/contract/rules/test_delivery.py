"""Streams that something holds back, and sound ones that look similar: from the ids' times and the arrivals."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contract.decoding.response import Response
from harness.contract.exchange import Exchange
from harness.contract.finding import Verdict
from harness.contract.rules import arrivals, headers
from harness.contract.rules.arrivals import event_times, holding_of, ids_show_holding, is_held_back
from tests.contract.exchanges import EPOCH_MS, frame, read_late, run
from tests.contract.rules.test_recorded_conflicts import recorded

FAIL, PASS, INCONCLUSIVE, WARN = Verdict.FAIL, Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.WARN
COUNT = 40
MADE_MS = [40.0 * place for place in range(COUNT)]
Hold = Callable[[Sequence[float]], list[float]]


def stream(
    made_ms: Sequence[float], arrived_ms: Sequence[float], *, ids: Sequence[str] | None = None
) -> Exchange:
    """A run whose events were made and arrived at these times since the request."""
    ids = ids or [f"{EPOCH_MS + int(ms)}-{place}" for place, ms in enumerate(made_ms)]
    tokens = [frame({"type": "token", "content": f"w{place}"}, own) for place, own in enumerate(ids)]
    return run(*tokens, at=list(arrived_ms))


def for_s(hold_s: float) -> Hold:
    """Held for a time after the first byte."""

    def hold(made_ms: Sequence[float]) -> list[float]:
        arrived: list[float] = []
        until = -1.0
        for ms in made_ms:
            if ms > until:
                until = ms + hold_s * 1000
            arrived.append(min(until, made_ms[-1] + 1))
        return arrived

    return hold


def every_s(period_s: float) -> Hold:
    """Sent at the ticks of a clock."""
    return lambda made_ms: [(ms // (period_s * 1000) + 1) * period_s * 1000 for ms in made_ms]


def at_a_time(count: int) -> Hold:
    """Sent when a buffer for so many events is full."""
    return lambda made_ms: [
        made_ms[min(place // count * count + count - 1, len(made_ms) - 1)] + 1
        for place in range(len(made_ms))
    ]


HELD: dict[str, Hold] = {
    "for 0.3 s": for_s(0.3),
    "for 1 s": for_s(1.0),
    "every 0.3 s": every_s(0.3),
    "every 0.5 s": every_s(0.5),
    "2 KB": at_a_time(30),
    "1 KB": at_a_time(15),
    "half of the stream": at_a_time(COUNT // 2),
    "all": at_a_time(COUNT),
}


@pytest.mark.parametrize("how", HELD)
def test_a_stream_that_is_held_back_fails(how: str) -> None:
    held = stream(MADE_MS, HELD[how](MADE_MS))
    assert headers.incremental(held).verdict is FAIL
    assert headers.flushed(held).verdict is INCONCLUSIVE
    drifting = stream([ms * 1.0001 + 70_000 for ms in MADE_MS], HELD[how](MADE_MS))
    assert headers.incremental(drifting).verdict is FAIL, "an id clock that is 70 s ahead and drifts"


@pytest.mark.parametrize("how", [8, 25, 50])
@pytest.mark.parametrize("lag_ms", [0.2, None])
def test_a_recorded_stream_that_is_held_back_fails(how: int, lag_ms: float | None) -> None:
    held = read_late(recorded(f"held-back-{how}-at-a-time"), lag_ms)
    finding = headers.incremental(held)
    assert finding.verdict is FAIL, finding.detail


@pytest.mark.parametrize("gap_ms", [12, 25, 60, 100, 120])
def test_a_hold_of_a_third_of_a_second_is_found_at_any_rate(gap_ms: int) -> None:
    made_ms = [float(gap_ms * place) for place in range(max(12, 2000 // gap_ms))]
    assert headers.incremental(stream(made_ms, for_s(0.3)(made_ms))).verdict is FAIL


def made_in_bursts(size: int, every_ms: float) -> list[float]:
    return [place // size * every_ms + place % size * 0.5 for place in range(COUNT)]


SOUND: dict[str, Exchange] = {
    "live": stream(MADE_MS, MADE_MS),
    "bursts of the model": stream(made_in_bursts(8, 300), made_in_bursts(8, 300)),
    "jitter of the network": stream(
        MADE_MS, sorted(ms + random.Random(place).uniform(0, 80) for place, ms in enumerate(MADE_MS))
    ),
    "batches of 100 ms": stream(MADE_MS, every_s(0.1)(MADE_MS)),
    "one lost segment": stream(MADE_MS, [max(ms, 700.0) if 480 <= ms <= 700 else ms for ms in MADE_MS]),
    "ids made when a batch is stored": stream(
        every_s(0.4)(MADE_MS), [ms + 1 for ms in every_s(0.4)(MADE_MS)]
    ),
    "ids made ahead": stream([ms // 320 * 320 for ms in MADE_MS], MADE_MS),
    "ids that count": stream(MADE_MS, MADE_MS, ids=[f"{place + 1}-0" for place in range(COUNT)]),
    "ids that count in thousands": stream(
        MADE_MS, MADE_MS, ids=[f"{place * 1000}-0" for place in range(COUNT)]
    ),
    "ids of the run's start": stream(MADE_MS, MADE_MS, ids=[f"{EPOCH_MS}-{place}" for place in range(COUNT)]),
    "counting ids, small bursts of the model": stream(
        MADE_MS, made_in_bursts(4, 160), ids=[f"{place + 1}-0" for place in range(COUNT)]
    ),
    "counting ids, irregular bursts": stream(
        MADE_MS,
        sorted(random.Random(place // 7 * 31 % 11).uniform(0, 1600) for place in range(COUNT)),
        ids=[f"{place + 1}-0" for place in range(COUNT)],
    ),
    "a clock that steps forward": stream([ms + (400 if ms > 700 else 0) for ms in MADE_MS], MADE_MS),
    "a clock that steps back": stream([ms if ms < 700 else max(700, ms - 300) for ms in MADE_MS], MADE_MS),
    "seconds only": stream([ms // 1000 * 1000 for ms in MADE_MS], MADE_MS),
}


@pytest.mark.parametrize("what", SOUND)
def test_a_sound_stream_is_not_blamed(what: str) -> None:
    for lag_ms in (0.2, 30, None):
        sound = read_late(SOUND[what], lag_ms)
        for rule in (headers.incremental, headers.flushed):
            finding = rule(sound)
            assert finding.verdict in {PASS, INCONCLUSIVE}, finding.detail
        assert not is_held_back(sound)
    assert headers.incremental(SOUND[what]).verdict is PASS


def test_a_replay_is_no_evidence() -> None:
    replay = stream(MADE_MS, [5.0] * COUNT)
    assert headers.incremental(replay).verdict is INCONCLUSIVE
    assert not is_held_back(replay)


def test_a_load_decodes_no_stream_whose_ids_cannot_tell_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would cost more than reading it, for each stream of a fast server."""

    def decode(_: Response) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(Response, "identities", decode)
    monkeypatch.setattr(Response, "decode_in_full", decode)

    def of(gap_ms: int) -> Exchange:
        data = [*({"type": "token", "content": "w"} for _ in MADE_MS), {"type": "done", "runId": "run-1"}]
        frames = [frame(of, f"{EPOCH_MS + gap_ms * place}-{place}") for place, of in enumerate(data)]
        return run(*frames, at=[gap_ms * COUNT + 1] * (COUNT + 1))

    assert not is_held_back(of(gap_ms=0))
    assert not is_held_back(of(gap_ms=2))
    with pytest.raises(AssertionError, match="decoded"):
        is_held_back(of(gap_ms=40))


def complete(made_ms: Sequence[float], arrived_ms: Sequence[float], *, epoch_ms: int = EPOCH_MS) -> Exchange:
    """A regular run of tokens and a terminal event, made and arrived at these times since the request."""
    data = [*({"type": "token", "content": "w"} for _ in made_ms[1:]), {"type": "done", "runId": "run-1"}]
    frames = [
        frame(of, f"{epoch_ms + int(ms)}-{place}")
        for place, (of, ms) in enumerate(zip(data, made_ms, strict=True))
    ]
    return run(*frames, at=list(arrived_ms))


@pytest.mark.parametrize("pairs", [5, 9])
def test_a_load_decodes_no_stream_of_which_few_events_came_together(
    pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a server that is late now and then: it would cost the load most when there is most to do."""
    monkeypatch.setattr(Response, "identities", lambda _: pytest.fail("decoded"))
    arrived_ms = [
        MADE_MS[place + 1] if place < 2 * pairs and place % 2 == 0 else ms for place, ms in enumerate(MADE_MS)
    ]
    assert not is_held_back(complete(MADE_MS, arrived_ms))


@pytest.mark.parametrize("period_ms", [90, 120])
def test_a_load_reads_no_times_of_short_blocks(period_ms: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All events come in blocks, as from a busy server; none is late."""
    monkeypatch.setattr(arrivals, "event_times", lambda _: pytest.fail("read times"))
    assert not is_held_back(complete(MADE_MS, every_s(period_ms / 1000)(MADE_MS)))


@pytest.mark.parametrize("epoch_ms", [1, 10**17, 10**30, 10**400])
def test_ids_that_are_no_clock_show_nothing_to_a_load(epoch_ms: int) -> None:
    assert not is_held_back(complete(MADE_MS, HELD["every 0.5 s"](MADE_MS), epoch_ms=epoch_ms))


@given(
    gaps_ms=st.lists(st.sampled_from([0, 1, 5, 20, 60, 200, 400]), min_size=6, max_size=60),
    holds_ms=st.lists(st.sampled_from([0, 0, 3, 100, 160, 300, 700]), min_size=60, max_size=60),
    period_ms=st.sampled_from([1, 4, 100, 300, 500, 1500]),
)
def test_what_the_arrivals_rule_out_the_ids_do_not_show(
    gaps_ms: list[int], holds_ms: list[int], period_ms: int
) -> None:
    made_ms = list(accumulate(gaps_ms))
    arrived_ms = list(
        accumulate(
            (
                (ms + hold_ms) // period_ms * period_ms + period_ms
                for ms, hold_ms in zip(made_ms, holds_ms, strict=False)
            ),
            max,
        )
    )
    sent = read_late(complete(made_ms, arrived_ms), 0.2)
    assert is_held_back(sent) is ids_show_holding(sent)


@pytest.mark.parametrize("how", ["for 0.3 s", "every 0.3 s", "every 0.5 s", "all"])
def test_a_load_finds_complete_streams_that_are_held_back(how: str) -> None:
    assert is_held_back(complete(MADE_MS, HELD[how](MADE_MS)))


def read_by_a_busy_harness(pauses_ms: Sequence[float]) -> Exchange:
    """A live run; the harness reads only at these times, and each read has the newest event's time."""
    reads, arrived, lags = [*pauses_ms], [], []
    for ms in MADE_MS:
        read = next((at for at in reads if at >= ms), reads[-1])
        newest = max(other for other in MADE_MS if other <= read)
        arrived.append(newest)
        lags.append(read - newest)
    held = stream(MADE_MS, arrived)
    return read_late(held, max(lags))


def test_a_busy_harness_blames_nobody() -> None:
    rng = random.Random(11)
    for _ in range(200):
        at_ms, reads = 0.0, []
        while at_ms < MADE_MS[-1]:
            at_ms += rng.uniform(200, 900)
            reads.append(at_ms)
        busy = read_by_a_busy_harness(reads)
        finding = headers.incremental(busy)
        assert finding.verdict is not FAIL or max(read.lag_ns or 0 for read in busy.reads) < 8e6, (
            finding.detail
        )


@pytest.mark.parametrize(("error_share", "blamed"), [(0.0, True), (0.1, True), (0.9, False)])
def test_what_waited_for_the_harness_blames_nobody(error_share: float, blamed: bool) -> None:
    """Read right after its last segment, but the harness had not looked for nearly as long as the run took."""
    held = read_late(stream(MADE_MS, [MADE_MS[-1]] * COUNT), 0.2)
    error_ns = int(error_share * (MADE_MS[-1] - MADE_MS[0]) * 1e6)
    held = replace(held, reads=tuple(read._replace(error_ns=error_ns) for read in held.reads))
    assert headers.incremental(held).verdict is (FAIL if blamed else INCONCLUSIVE)
    assert is_held_back(held) is blamed


def test_a_pause_fails_only_at_the_same_place_of_several_runs() -> None:
    def paused(first: int) -> Exchange:
        until = MADE_MS[first + 19]
        return stream(
            MADE_MS, [until if first <= place < first + 20 else ms for place, ms in enumerate(MADE_MS)]
        )

    live = stream(MADE_MS, MADE_MS)
    assert headers.incremental(paused(0)).verdict is INCONCLUSIVE
    assert headers.incremental(paused(0), [paused(0), paused(0)]).verdict is FAIL
    assert headers.incremental(paused(0), [paused(0), live]).verdict is FAIL
    assert headers.incremental(paused(0), [paused(9), paused(18)]).verdict is INCONCLUSIVE
    assert headers.incremental(paused(0), [live, live]).verdict is PASS


def starved(seed: int) -> Exchange:
    """A server that gets CPU time only now and then: it sends what was made meanwhile, in blocks of any size."""
    rng, at_ms, ticks = random.Random(seed), 0.0, [0.0]
    while at_ms < MADE_MS[-1]:
        at_ms += rng.uniform(160, 420)
        ticks.append(at_ms)
    return stream(MADE_MS, [next((at for at in ticks if at >= ms), ticks[-1]) for ms in MADE_MS])


def late_for(exchange: Exchange, share: float) -> Exchange:
    """The same exchange of a harness that was late for a share of the run."""
    return replace(exchange, timing=replace(exchange.timing, late_ns=int(share * MADE_MS[-1] * 1e6)))


@pytest.mark.parametrize("seed", [0, 1, 2, 5, 6, 7, 8, 9, 10])
def test_a_server_without_cpu_time_is_not_blamed(seed: int) -> None:
    live, busy = stream(MADE_MS, MADE_MS), starved(seed)
    assert not holding_of(event_times(busy)).regular
    assert headers.incremental(busy).verdict is FAIL, "nothing else explains it"
    for runs in ((busy, [live, live]), (live, [busy, live])):
        assert headers.incremental(*runs).verdict in {PASS, INCONCLUSIVE}
    finding = headers.incremental(late_for(busy, 0.4), [late_for(starved(seed + 1), 0.4)])
    assert finding.verdict is INCONCLUSIVE
    assert "a server on the same machine may have had none" in finding.detail
    by_chance = late_for(starved(4), 0.4)  # its blocks look regular
    assert headers.incremental(by_chance, [late_for(busy, 0.4), late_for(busy, 0.4)]).verdict is INCONCLUSIVE


@pytest.mark.parametrize(
    "how", ["for 0.3 s", "every 0.3 s", "every 0.5 s", "1 KB", "half of the stream", "all"]
)
def test_a_buffer_is_found_though_the_machine_is_busy(how: str) -> None:
    held, live = stream(MADE_MS, HELD[how](MADE_MS)), stream(MADE_MS, MADE_MS)
    assert headers.incremental(held, [held, live]).verdict is FAIL
    busy = late_for(held, 0.4)
    verdict = headers.incremental(busy, [busy, busy]).verdict
    assert verdict is (INCONCLUSIVE if how in ("every 0.5 s", "1 KB", "half of the stream") else FAIL)


def test_who_is_sent_to_the_comparison_of_times_finds_no_pass() -> None:
    live, busy = stream(MADE_MS, MADE_MS), read_late(stream(MADE_MS, HELD["all"](MADE_MS)), 600)
    for again in ([live, live], [busy, live], [live, busy]):
        assert headers.incremental(busy, again).verdict is PASS
        assert headers.flushed(busy, again).verdict is PASS
    assert headers.incremental(busy, [busy, busy]).verdict is INCONCLUSIVE
    finding = headers.flushed(busy, [busy, busy])
    assert finding.verdict is INCONCLUSIVE
    assert "see headers.incremental" in finding.detail
    held = stream(MADE_MS, HELD["all"](MADE_MS))
    assert headers.flushed(live, [held, live]).verdict is INCONCLUSIVE
    assert headers.incremental(live, [held, live]).verdict is FAIL


def test_a_buffered_stream_is_found_on_a_busy_machine_too() -> None:
    buffered = stream(MADE_MS, HELD["all"](MADE_MS))
    assert headers.incremental(read_late(buffered, 30)).verdict is FAIL
    busy, late = read_late(buffered, 150), read_late(buffered, 600)
    assert headers.incremental(busy).verdict is INCONCLUSIVE
    assert headers.incremental(busy, [busy, late]).verdict is FAIL, "a harness is not busy for two whole runs"
    assert headers.incremental(late, [late, late]).verdict is INCONCLUSIVE
    assert headers.incremental(read_late(buffered, None)).verdict is INCONCLUSIVE


def test_without_times_a_buffer_holds_every_run() -> None:
    counting = [f"{place + 1}-0" for place in range(COUNT)]
    held = stream(MADE_MS, HELD["all"](MADE_MS), ids=counting)
    live = stream(MADE_MS, MADE_MS, ids=counting)
    assert headers.incremental(held).verdict is FAIL
    assert headers.incremental(held, [held, held]).verdict is FAIL
    for runs in ((held, [live, held]), (live, [held, live])):
        finding = headers.incremental(*runs)
        assert finding.verdict is INCONCLUSIVE
        assert "since in another run of the same action 40 events arrived over 1560 ms" in finding.detail


def test_without_times_a_buffer_cut_at_bytes_warns() -> None:
    counting = [f"{place + 1}-0" for place in range(COUNT)]
    for hold in (at_a_time(8), for_s(0.3), every_s(0.4)):
        blocks = stream(MADE_MS, hold(MADE_MS), ids=counting)
        assert headers.incremental(blocks).verdict is PASS
        assert headers.flushed(blocks).verdict is WARN
        assert headers.flushed(read_late(blocks, 150)).verdict is INCONCLUSIVE


@pytest.mark.parametrize("how", ["for 0.3 s", "every 0.5 s", "all"])
def test_load_finds_it_too(how: str) -> None:
    assert is_held_back(stream(MADE_MS, HELD[how](MADE_MS)))
