"""The limits of the harness itself. The contract has none: a response that reaches one is not faulty.

An Exchange that reached a limit ends as Ending.LIMIT, and what it would have shown after that is inconclusive.
"""

from __future__ import annotations

MIB = 2**20
MAX_RESPONSE_BYTES = 128 * MIB  # of one response, as received, and again after decompression
MAX_FRAME_BYTES = 64 * MIB  # of one event
MAX_READS = 2_000_000
MAX_EVENTS = 1_000_000  # the full decoder takes about 2 KB for each
MAX_COMMENTS = 1_000_000  # kept by the full decoder; later ones are only counted as received bytes
CHECKED_EVERY_BYTES = 8 * MIB  # how often the number of reads and of events is compared with its limit


def in_mib(size_bytes: int) -> str:
    """A limit in a sentence."""
    return f"{size_bytes // MIB} MiB"
