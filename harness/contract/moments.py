"""The moments at which a stream's events arrive, and the gap between them."""

from __future__ import annotations

from collections.abc import Sequence

from harness.contract.exchange import Exchange

_SAME_MOMENT_NS = 2_000_000
_LONGEST_GAP_S = 5.0


def event_arrivals_ns(run: Exchange) -> list[int]:
    """Arrival of each read since the first event; monotonic clock."""
    first_ns = run.summary.first_event_ns
    arrivals_ns, _ = run.stamps_ns()
    return [] if first_ns is None else [at_ns for at_ns in arrivals_ns if at_ns >= first_ns]


def gap_of_s(arrivals_ns: Sequence[int]) -> float | None:
    """The mean gap in seconds between the moments at which reads arrived; None with fewer than two moments.

    Reads within 2 ms, as in a burst, are one moment. At most 5 s.
    """
    moments = 0
    first_ns = last_ns = 0
    for at_ns in arrivals_ns:
        if not moments:
            first_ns = last_ns = at_ns
            moments = 1
        elif at_ns - last_ns >= _SAME_MOMENT_NS:
            last_ns = at_ns
            moments += 1
    return None if moments < 2 else min((last_ns - first_ns) / (moments - 1) / 1e9, _LONGEST_GAP_S)
