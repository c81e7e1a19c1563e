"""Whether something holds a stream's events back: compares when they arrived with when they were made.

An id ``<ms>-<seq>`` tells when its event was made, if its clock advances as time does. Events that were made at
different times but arrive together waited for each other: the first of them at least as long as they were made apart.
This holds whatever the offset between the two clocks. Events that were made together may arrive together.

The kernel stamps only the newest segment of a read, so a harness that reads late sees events together that came one by
one. Then the newest of them came, on average, half a gap before the read. A block of events counts as evidence only if
its read came much sooner than that after its stamp, and if the harness had looked for data not long before: what it did
not look at for as long as the events were held may have waited for the harness (Read.error_ns).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import gcd
from statistics import median
from typing import Any

import numpy as np

from harness.contract.decoding.read_log import ReadLog
from harness.contract.exchange import Exchange
from harness.profiles.capability import Capability
from harness.profiles.workflow_actions.event_id import read_leniently
from harness.protocol.http1 import HttpSyntaxError, ResponseParser

_TOGETHER_MS = 5.0  # a proxy that lets go of a block needs less, and no model makes tokens that fast for long
_LATE_MS = 150.0  # batches of up to 100 ms are a common way to save packets
_CLOCK_FROM_MS, _CLOCK_TO_MS = 10**12, 10**13  # the years 2001 to 2286
_SHORT_MS = 100.0
_COARSE_MS = 250
_NEAR_MS = 200.0
_WHOLE_MS = 500.0
_NOT_BY_CHANCE = 4  # blocks: of fewer, two equal distances may be chance
_FEWEST_LATE = 3  # blocks that say in a load that a run is held back, unless one holds all of it
_PROMPT, _PROMPT_MS = 0.1, 0.5  # of the gap between a block's events, and at least


@dataclass(frozen=True, slots=True)
class EventTimes:
    """When a run's events arrived and were made, each a list in the order of the events.

    arrived_ms: since the request was sent; never falling. made_ms: the ids' first part; None if an event has no id of
    that form. lags_ms: how much later the harness read each; None without a kernel timestamp. errors_ms: by how much
    earlier than its timestamp each may have arrived.
    """

    arrived_ms: list[float]
    made_ms: list[int] | None
    lags_ms: list[float | None]
    errors_ms: list[float]

    @property
    def spread_ms(self) -> float:
        """From the first arrival to the last."""
        return self.arrived_ms[-1] - self.arrived_ms[0]

    @property
    def made_over_ms(self) -> float:
        """From the first event's making to the last's, by their ids; 0 without ids."""
        return float(self.made_ms[-1] - self.made_ms[0]) if self.made_ms else 0.0

    @property
    def tell_time(self) -> bool:
        """Whether the ids tell when the events were made, after the request.

        Their clock counts milliseconds since 1970 and advances as time does: not less than half as much as between the
        arrivals, and not more than since the request. Nor does it stand still for long and then jump.
        """
        made_ms = self.made_ms
        if made_ms is None or not _CLOCK_FROM_MS <= made_ms[0] < _CLOCK_TO_MS:
            return False
        if not max(_SHORT_MS, self.spread_ms / 2) <= self.made_over_ms <= self.arrived_ms[-1] * 1.1 + 50:
            return False
        steps = [after - before for before, after in pairwise(made_ms)]
        return not (gcd(*steps) >= _COARSE_MS and 0 in steps)


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive events that arrived together: number `first` (from 0) and the next ones, `count` in all.

    held_ms: how long the first waited at least; 0 if the ids don't tell. apart_ms: between two of its events, when they
    were made. lag_ms: how long after its arrival the block was read; None without a kernel timestamp.
    """

    first: int
    count: int
    arrived_ms: float
    held_ms: float
    apart_ms: float
    lag_ms: float | None
    error_ms: float

    @property
    def is_late(self) -> bool:
        """Whether its events were made at clearly different times."""
        return self.count > 1 and self.held_ms >= _LATE_MS

    def was_read_promptly(self, apart_ms: float) -> bool:
        """Whether events that had come `apart_ms` apart would have been read one by one; False if unknown."""
        return self.lag_ms is not None and self.lag_ms <= max(_PROMPT_MS, _PROMPT * apart_ms)

    def may_have_waited(self, time_ms: float) -> bool:
        """Whether it may have waited for the harness, which did not look for data in more than half of that time."""
        return self.error_ms > time_ms / 2


def event_times(run: Exchange) -> EventTimes:
    """The times of a run with at least one event."""
    summary = run.summary
    stamps_ns, lags_ns = run.stamps_ns()
    lag_of: dict[int, int] = {}
    for at_ns, lag_ns in zip(stamps_ns, lags_ns, strict=True):
        lag_of[at_ns] = max(lag_ns, lag_of.get(at_ns, lag_ns))
    made_ms: list[int] | None
    tokens_ns = summary.token_arrivals_ns
    has_clock = Capability.CLOCK_IDS in run.profile.capabilities
    if (
        has_clock
        and run.is_regular
        and summary.terminal_ns is not None
        and len(tokens_ns) + 1 == summary.events
    ):
        arrivals_ns = [*tokens_ns, summary.terminal_ns]  # no frames are needed
        made_ms = _ids_ms(run)
    else:
        arrivals_ns = [event.arrival_ns for event in run.events]
        ids = [event.stream_id for event in run.events]
        made_ms = [event_id.ms for event_id in ids if event_id is not None]
        if len(made_ms) != len(arrivals_ns):
            made_ms = None
    arrived_ms = list(accumulate(map(run.offset_ms, arrivals_ns), max))
    lags_ms = [None if lag_of.get(at_ns, -1) < 0 else lag_of[at_ns] / 1e6 for at_ns in arrivals_ns]
    errors_ns = run.errors_ns()
    return EventTimes(arrived_ms, made_ms, lags_ms, [errors_ns.get(at_ns, 0) / 1e6 for at_ns in arrivals_ns])


def blocks_of(times: EventTimes) -> list[Block]:
    """The events as blocks of those that arrived together."""
    arrived = times.arrived_ms
    starts = [0, *(n for n in range(1, len(arrived)) if arrived[n] - arrived[n - 1] > _TOGETHER_MS)]
    blocks = []
    for first, end in pairwise([*starts, len(arrived)]):
        made_over_ms = float(times.made_ms[end - 1] - times.made_ms[first]) if times.made_ms else 0.0
        held_ms = made_over_ms - (arrived[end - 1] - arrived[first])
        lags = [lag_ms for lag_ms in times.lags_ms[first:end] if lag_ms is not None]
        blocks.append(
            Block(
                first,
                end - first,
                arrived[end - 1],
                held_ms,
                made_over_ms / max(1, end - first - 1),
                max(lags) if lags else None,
                max(times.errors_ms[first:end]),
            )
        )
    return blocks


@dataclass(frozen=True, slots=True)
class Holding:
    """What the ids say about a run's late blocks.

    share: of the run's time that these blocks were held. repeated: whether most events came in several late blocks.
    proven: whether they did not come together only because the harness read late. regular: whether the blocks have
    equal sizes or distances, as a buffer makes them, and a machine without CPU time does not.
    """

    late: tuple[Block, ...]
    share: float
    repeated: bool
    proven: bool
    regular: bool

    @property
    def once(self) -> bool:
        """Whether a good part of the run came in one late block, which a pause on the way explains too."""
        return not self.repeated and self.share >= 0.3


def holding_of(times: EventTimes) -> Holding:
    """The late blocks of a run whose ids tell the time."""
    late = [block for block in blocks_of(times) if block.is_late]
    held_ms = sum(block.held_ms for block in late)
    share = held_ms / max(1.0, times.made_over_ms)
    in_blocks = sum(block.count for block in late) / len(times.arrived_ms)
    repeated = in_blocks >= 0.5 and ((len(late) >= 2 and share >= 0.4) or (len(late) >= 3 and share >= 0.3))
    if late and all(block.lag_ms is None for block in late):
        counts = [block.count for block in late]
        proven = repeated and is_regular(
            counts[:-1] if len(counts) > 2 else counts
        )  # the last holds what was left
    else:
        prompt = [
            block
            for block in late
            if block.was_read_promptly(block.apart_ms) and not block.may_have_waited(block.held_ms)
        ]
        enough = len(prompt) >= min(2, len(late))
        proven = enough and sum(block.held_ms for block in prompt) >= held_ms / 2
    return Holding(tuple(late), share, repeated, proven, len(late) >= _NOT_BY_CHANCE and _are_regular(late))


def is_held_back(run: Exchange) -> bool:
    """Whether a run that its request started certainly came in late blocks of a regular size. Cheap, for load.

    Overload makes blocks too, but of irregular sizes.
    """
    if run.summary.events < 6 or not _may_tell_time(run) or not _may_come_in_late_blocks(run):
        return False
    return ids_show_holding(run)


def ids_show_holding(run: Exchange) -> bool:
    """The same for a run of some events whose ids are read."""
    times = event_times(run)
    if not times.tell_time:
        return False
    holding = holding_of(times)
    late = holding.late
    if len(late) == 1 and late[0].count == run.summary.events and late[0].held_ms >= _WHOLE_MS:
        return holding.proven
    return holding.repeated and holding.proven and len(late) >= _FEWEST_LATE and _are_regular(late)


def _may_tell_time(run: Exchange) -> bool:
    """False if the first and the last id show that the ids don't tell the time (EventTimes). Decodes no event."""
    first, terminal = run.summary.first_id, run.summary.terminal
    if first is None or Capability.CLOCK_IDS not in run.profile.capabilities:
        return False
    if terminal is None or not terminal.is_end or not run.is_regular:  # it need not be the last event
        return True
    last = read_leniently(terminal.id or "")
    return last is None or last.ms - first.ms >= _SHORT_MS


def _may_come_in_late_blocks(run: Exchange) -> bool:
    """False if fewer than half of the events came in late blocks: by the arrivals alone, or else by the ids too.

    The events of different blocks were made one after the other, and those of a late block over _LATE_MS at least. So
    no run has more late blocks than that fits into the time over which it was made, whatever its other ids are.
    """
    arrivals_ns, _ = run.stamps_ns()
    at_ns = np.asarray(arrivals_ns, dtype=np.int64)
    moments = int(np.count_nonzero(at_ns[1:] - at_ns[:-1] > _TOGETHER_MS * 1e6))
    summary = run.summary
    if moments > 0.75 * summary.events:
        return False
    tokens_ns, terminal, first = summary.token_arrivals_ns, summary.terminal, summary.first_id
    if not run.is_regular or terminal is None or first is None or len(tokens_ns) + 1 != summary.events:
        return True
    last = read_leniently(terminal.id or "")
    if (
        last is None
        or summary.terminal_ns is None
        or not _CLOCK_FROM_MS <= first.ms <= last.ms < 2 * _CLOCK_TO_MS
    ):
        return True
    at_ns = np.append(np.asarray(tokens_ns, dtype=np.int64), summary.terminal_ns)
    arrived_ms = np.maximum.accumulate((at_ns - run.timing.origin_ns) / 1e6)
    firsts = np.concatenate(([0], np.flatnonzero(np.diff(arrived_ms) > _TOGETHER_MS) + 1))
    if len(firsts) == 1:
        return True
    counts = np.diff(firsts, append=len(at_ns))
    most_late = int((last.ms - first.ms) // _LATE_MS)
    if not _are_most(np.sort(counts[counts > 1])[::-1][:most_late], summary.events):
        return False
    made_ms = np.array(_ids_ms(run), dtype=np.float64)
    lasts = firsts + counts - 1
    held_ms = made_ms[lasts] - made_ms[firsts] - (arrived_ms[lasts] - arrived_ms[firsts])
    return _are_most(counts[(counts > 1) & (held_ms >= _LATE_MS)], summary.events)


def _are_most(counts: np.ndarray[Any, np.dtype[np.int64]], events: int) -> bool:
    """Whether late blocks of these sizes are enough, and hold at least half of the run's events."""
    return len(counts) >= _FEWEST_LATE and 2 * int(counts.sum()) >= events


def _ids_ms(run: Exchange) -> list[int]:
    """The first part of each id of a regular run."""
    return [int((identity.id or "0").partition("-")[0]) for identity in run.sequence]


def are_made_on_arrival(run: Exchange, times: EventTimes) -> bool:
    """Whether the ids say, by the wall clock, that the first and the last event were made when they arrived."""
    wall_ns, sent_ns = run.timing.sent_wall_ns, run.timing.sent_ns
    if times.made_ms is None or wall_ns is None or sent_ns is None:
        return False
    return all(
        abs(times.made_ms[place] - (wall_ns / 1e6 + times.arrived_ms[place])) <= _NEAR_MS for place in (0, -1)
    )


def is_regular(sizes: Sequence[float]) -> bool:
    """Whether there are at least two sizes, and they are equal but for a tenth, or for one if they are large."""
    if len(sizes) < 2:
        return False
    return max(sizes) - min(sizes) <= max(0.1 * median(sizes), 1 if median(sizes) >= 5 else 0)


def _are_regular(late: Sequence[Block]) -> bool:
    return is_regular([block.count for block in late[:-1]]) or is_regular(_distances(late))


def _distances(blocks: Sequence[Block]) -> list[float]:
    return [after.arrived_ms - before.arrived_ms for before, after in pairwise(blocks)]


_MANY = 5  # events; a model may well make a few at once
_RARE_MS = 250.0
_SEVERAL_BLOCKS = 8  # full ones: of fewer, one that came late on a busy machine hides that they are regular


def regular_blocks(run: Exchange, times: EventTimes) -> str | None:
    """How the blocks of a run are regular, if its events look collected on the way; None if they don't.

    For runs whose ids don't tell the time. The last block holds what was left.
    """
    blocks = blocks_of(times)
    full = blocks[:-1]
    counts = [block.count for block in full]
    if len(full) < 2 or median(counts) < _MANY:
        return None
    distances = _distances(blocks)
    every_ms = median(distances)
    if every_ms < _RARE_MS:
        return None
    sizes, cut_inside = _block_sizes(run, blocks)
    if all(cut_inside) and is_regular(sizes[1:] if len(sizes) > 2 else sizes):
        return f"{median(sizes):.0f} bytes each, cut inside an event"
    if is_regular(counts) and (len(full) >= 3 or median(counts) >= 4 * _MANY):
        return f"{median(counts):.0f} events each"
    if len(distances) >= 3 and is_regular(distances[:-1]):
        return f"one every {every_ms:.0f} ms"
    return None


def are_few_blocks(times: EventTimes) -> bool:
    """Whether events came in so few blocks of many that nothing can be learned from blocks that are not regular."""
    blocks = blocks_of(times)
    full = blocks[:-1]
    if not 0 < len(full) < _SEVERAL_BLOCKS or median(block.count for block in full) < _MANY:
        return False
    return median(_distances(blocks)) >= _RARE_MS


def _block_sizes(run: Exchange, blocks: Sequence[Block]) -> tuple[list[int], list[bool]]:
    """Of each block but the last: the bytes of the body, and whether it ends inside an event."""
    ends_ms = [block.arrived_ms for block in blocks[:-1]]
    sizes: list[int] = []
    cut_inside: list[bool] = []
    body, done = bytearray(), 0
    parser = ResponseParser()
    reads = list(run.reads if isinstance(run.reads, ReadLog) else ReadLog(run.reads))
    try:
        for read, following in zip(reads, [*reads[1:], None], strict=True):
            body += parser.feed(read.data)
            due = len(sizes) < len(ends_ms) and run.offset_ms(read.arrival_ns) >= ends_ms[len(sizes)]
            last = following is None or following.arrival_ns - read.arrival_ns > _TOGETHER_MS * 1e6
            if due and last:
                sizes.append(len(body) - done)
                cut_inside.append(not body.endswith((b"\n\n", b"\r\r", b"\r\n\r\n")))
                done = len(body)
    except HttpSyntaxError:
        return [], [False]
    return sizes, cut_inside
