"""The limits of the harness itself. The contract has none: a response that reaches one is not faulty.

An Exchange that reached a limit ends as Ending.LIMIT, and what it would have shown after that is inconclusive. What all
responses of a process may take together is in `decoding.memory`.
"""

from __future__ import annotations

MIB = 2**20
MAX_RESPONSE_BYTES = 32 * MIB  # of one response, as received, and again at each stage of decompression
MAX_FRAME_BYTES = 8 * MIB  # of one event
MAX_FRAME_LINES = 50_000  # of one event
MAX_DECODED_BYTES = 96 * MIB  # of one response's frames as Python objects (memory_cost.frame_cost)
MAX_READS = 250_000
MAX_EVENTS = 50_000  # the full decoder takes about 2 KB for each
MAX_LINES = 1_000_000  # a line costs about a microsecond, blank ones too
MAX_COMMENTS = 20_000  # whose arrivals the full decoder keeps
MAX_COMMENT_FRAMES = 4000  # without an event, that the full decoder keeps; it only counts later ones
MAX_COMMENT_BYTES = 2 * MIB  # of these frames together
CHECKED_EVERY_BYTES = 65_536  # how often a response is compared with its limits
PACKED_EVERY_BYTES = 2048  # of a slow response
DECODED_AT_ONCE_BYTES = 4096  # between two comparisons with MAX_EVENTS and MAX_DECODED_BYTES


LINES_OF_EVENT = 8  # that belong to the cost of an event
LINES_PER_EVENT = 5  # of the others, that take as long as an event


def cost_in_events(events: int, extra_lines: int) -> int:
    """The events, and those that would have taken as long as the lines beyond what events need."""
    return events + extra_lines // LINES_PER_EVENT


def too_many_lines(limit: int) -> str:
    """MAX_LINES in a sentence."""
    return f"the response has more than {limit:,} lines"


def in_mib(size_bytes: int) -> str:
    """A limit in a sentence."""
    return f"{size_bytes // MIB} MiB"
