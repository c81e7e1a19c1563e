"""How much is read at a time, so that decoding it does not keep an event loop from everything else."""

from __future__ import annotations

_TURN_NS = 5_000_000


def next_size(size_bytes: int, took_ns: int, *, least: int, most: int) -> int:
    """How much to read next, if decoding at most `size_bytes` took so long; between `least` and `most`."""
    if took_ns > _TURN_NS:
        return max(least, size_bytes * _TURN_NS // took_ns)
    return min(most, 2 * size_bytes) if 4 * took_ns < _TURN_NS else size_bytes
