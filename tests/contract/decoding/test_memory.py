"""What responses may hold together, and values that are dropped and computed again."""

from __future__ import annotations

import gc

import pytest

from harness.contract.decoding.full_decoder import FullDecoder
from harness.contract.decoding.limits import MIB
from harness.contract.decoding.memory import (
    LEAST_BYTES,
    LEAST_EVENTS,
    MemoryBudget,
    MemoryShare,
    _Recent,
)
from harness.contract.decoding.read_log import Read
from harness.contract.decoding.response import Response
from harness.protocol.memory_cost import frame_cost
from tests.contract.exchanges import STREAM, chunk, head, token

HEAD = head(200, {**STREAM, "Transfer-Encoding": "chunked"})


def noise_until_the_limit(budget: MemoryBudget) -> Response:
    response = Response(memory=budget)
    response.feed(1, None, HEAD)
    number = 0
    while response.limit is None and number < 2000:
        response.feed(2, None, chunk(b": " + b"x" * 20_000 + b"\n\n"))
        number += 1
    response.close()
    return response


def test_a_response_may_take_half_of_what_is_left_and_at_least_256_kib() -> None:
    budget = MemoryBudget(4 * MIB)
    first, second = noise_until_the_limit(budget), noise_until_the_limit(budget)
    assert (
        first.limit
        == second.limit
        == "the responses in memory are larger than 4 MiB together (limits.memory)"
    )
    assert 2 * MIB < first.log.size_bytes < 2.2 * MIB
    for _ in range(3):
        assert noise_until_the_limit(budget).log.size_bytes > LEAST_BYTES


def test_every_response_may_hold_a_little_however_little_is_left() -> None:
    budget = MemoryBudget(1)
    assert LEAST_BYTES < noise_until_the_limit(budget).log.size_bytes < LEAST_BYTES + 200_000


def test_what_a_dropped_response_held_is_free_again() -> None:
    budget = MemoryBudget(4 * MIB, total_events=100)
    response = noise_until_the_limit(budget)
    response.feed(1, None, HEAD)
    of_comments = budget.used_events
    assert of_comments > 0
    other = Response(memory=budget)
    other.feed(1, None, HEAD + chunk(token(0)))
    other.close()
    assert budget.used_bytes > 0
    assert budget.used_events == of_comments + 1
    del response, other
    gc.collect()
    assert (budget.used_bytes, budget.used_events) == (0, 0)


def test_finished_responses_become_small_once_a_quarter_is_taken() -> None:
    budget = MemoryBudget(4 * MIB)
    response = noise_until_the_limit(budget)
    assert response.log.memory_bytes < response.log.size_bytes / 10
    assert budget.used_bytes == response.log.memory_bytes


def test_finished_responses_forget_their_frames_too_once_a_quarter_is_taken() -> None:
    for left, are_kept in ((MIB, True), (0, False)):
        budget = MemoryBudget(MIB + left)
        others = MemoryShare(budget)
        response = Response(memory=budget)
        response.feed(1, None, HEAD + chunk(b"data: x\n\n") + b"0\r\n\r\n")
        others.hold(MIB // 3 if left else MIB)
        response.close()
        assert (response.decode_in_full() is response.decode_in_full()) == are_kept


def test_events_are_shared_too_and_2000_are_always_allowed() -> None:
    budget = MemoryBudget(total_events=8 * LEAST_EVENTS)
    shares = [MemoryShare(budget) for _ in range(3)]
    shares[0].hold_events(LEAST_EVENTS + 1, 0, in_full=True)
    assert budget.limit_of(shares[0]) is not None
    shares[0].hold_events(LEAST_EVENTS + 1, 0, in_full=False)
    assert budget.limit_of(shares[0]) is None
    shares[1].hold_events(LEAST_EVENTS, 0, in_full=True)
    assert budget.limit_of(shares[1]) is None
    assert MemoryBudget().limit_of(shares[0]) is None


def test_lines_of_a_regular_stream_weigh_as_much_as_those_of_any() -> None:
    """A rule that looks at any of its events has them read by the full decoder, again and again."""
    budget = MemoryBudget(total_events=8 * LEAST_EVENTS)
    share = MemoryShare(budget)
    share.hold_events(10, 50, in_full=False)
    assert (share.events, share.weighted_events) == (20, 10 + 4 * 10)
    share.hold_events(10, 50, in_full=True)
    assert budget.used_events == 4 * 20


def test_a_value_is_dropped_for_others_and_computed_again() -> None:
    class Owner:
        pass

    recent, first, second = _Recent(100), Owner(), Owner()
    for owner in (first, second):
        vars(owner)["value"] = 1
        recent.add(owner, "value", 60)
    assert "value" not in vars(first)
    assert "value" in vars(second)
    assert recent.held_bytes == 60
    del owner, second
    gc.collect()
    assert recent.held_bytes == 0


@pytest.mark.parametrize("gap_ms", [0, 50])
@pytest.mark.usefixtures("each_token_reader")
def test_the_log_of_a_slow_stream_is_packed(gap_ms: int) -> None:
    """Thousands of streams may be open at once, and their events are alike."""
    reads = [Read(0, 0, HEAD)]
    reads += [Read(number * gap_ms * 10**6, 0, chunk(token(number))) for number in range(1, 200)]
    response = Response()
    for read in reads:
        response.feed(*read)
    log = response.log
    assert (log.memory_bytes < log.size_bytes) == bool(gap_ms)
    assert tuple(log) == tuple(reads)
    assert response.events == 199
    assert response.summary.token_arrivals_ns.tolist() == [read.arrival_ns for read in reads[1:]]
    assert (
        response.identities()
        == Response.from_reads(reads, connection_ended=False, decoder=FullDecoder()).identities()
    )


def test_frames_that_were_not_kept_are_decoded_again() -> None:
    response = Response(FullDecoder(), MemoryBudget(1))
    response.feed(1, None, HEAD)
    for number in range(20):
        response.feed(2, None, chunk(token(number)))
    response.close()
    decoder = response.decode_in_full()
    assert response.events == len(decoder.event_frames) == len(response.identities()) == 20


def test_the_cost_of_a_frame_counts_its_lines_and_members() -> None:
    plain = frame_cost(b"data: " + b"x" * 1000, has_data=True)
    assert frame_cost(b"data: [" + b"1," * 497 + b"1]", has_data=True) > plain + 30_000
    assert frame_cost(b":\n" * 500, has_data=False) > 80_000
