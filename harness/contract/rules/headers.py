"""headers: the HTTP message around the stream."""

from __future__ import annotations

import re
from functools import lru_cache

from harness.contract.exchange import Ending, Exchange
from harness.contract.finding import Location, RuleResult, failed, inconclusive, passed
from harness.contract.rules.ids import clock_offset_ms
from harness.contract.rules.rule import Level, Need, needs_events, quoted, rule, was_accepted
from harness.protocol.http1 import ResponseHead

_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^";\s]*)"?', re.IGNORECASE)
#: The long action is promised to stream for a second or more.
_LONG_MS = 1000.0
#: Events that come within this share of the time in which they were made came all at once; from _SPREAD on
#: they came as they were made. Between, a busy machine of ours cannot be told from a server that holds back.
_BUNCHED, _SPREAD = 0.2, 0.5


def _media_type_fault(head: ResponseHead) -> str | None:
    sent = head.value("content-type")
    if (sent or "").partition(";")[0].strip().lower() == "text/event-stream":
        return None
    said = "no Content-Type" if sent is None else f"Content-Type {quoted(sent)}"
    return f"a stream with {said}, not text/event-stream"


def _charset_fault(head: ResponseHead) -> str | None:
    found = _CHARSET.search(head.value("content-type") or "")
    if found is None or found[1].lower() in {"utf-8", "utf8"}:
        return None
    return f"charset {quoted(found[1])}; an event stream is always UTF-8"


def _cache_fault(head: ResponseHead) -> str | None:
    sent = head.value("cache-control") or ""
    directives = {part.partition("=")[0].strip().lower() for part in sent.split(",")}
    if directives & {"no-store", "no-cache"}:
        return None
    said = quoted(sent) if sent else "absent"
    return f"Cache-Control is {said}; a cache may keep or hold back the stream"


@lru_cache(maxsize=1024)
def is_proper(head: ResponseHead) -> bool:
    """Whether the judges of a stream's head (HEAD_RULES) find nothing wrong with this one."""
    return not any(fault(head) for fault in (_media_type_fault, _charset_fault, _cache_fault))


@rule(
    "headers.event-stream",
    Level.MUST,
    "Success is 200 with `text/event-stream`",
    why="A client's event-stream reader gives up on any other status or type.",
    source="api, W",
    any_stream=True,
)
def event_stream(run: Exchange) -> RuleResult:
    if run.head is None:
        return failed(f"a valid request got {run.describe()}", Location(run))
    if run.status != 200:
        return failed(f"a valid request got status {run.status}, not 200", Location(run))
    fault = _media_type_fault(run.head)
    if fault is not None:
        return failed(fault, Location(run))
    if not was_accepted(run):
        return inconclusive(f"there is no run to check: {run.describe()}", Location(run))
    return passed("200 with text/event-stream")


@rule(
    "headers.charset",
    Level.MUST,
    "charset is absent or utf-8",
    why="An event stream is always UTF-8; another label makes proxies and clients decode it wrongly.",
    source="W",
    any_stream=True,
)
@needs_events
def charset(run: Exchange) -> RuleResult:
    fault = _charset_fault(run.head) if run.head else None
    return failed(fault, Location(run)) if fault else passed("charset is UTF-8, or absent")


@rule(
    "headers.complete",
    Level.MUST,
    "The HTTP message ends properly: last chunk, or true Content-Length, or close-delimited",
    why="A message cut short cannot be told from a lost connection: clients retry what was done.",
    source="RFC 9112",
    any_stream=True,
    format_only=True,
)
@needs_events
def complete(run: Exchange) -> RuleResult:
    delimiter = run.head.delimiter if run.head else ""
    if run.ending is Ending.COMPLETE:
        return passed(f"the message ended properly ({delimiter})")
    if run.ending is Ending.MALFORMED:
        return failed(f"the answer cannot be read: {run.ending_detail}", Location(run))
    if run.ending is Ending.TRUNCATED:
        return failed(f"the connection closed before the message's end ({delimiter})", Location(run))
    if run.ending is Ending.RESET and not run.terminals:
        return failed(f"{run.ending_detail} in mid-message", Location(run))
    if run.ending is Ending.RESET:
        return inconclusive(
            "the connection was reset after the terminal event, and may have taken the end with it"
        )
    return inconclusive(f"the message's end was not waited for: {run.ending_detail}")


@rule(
    "headers.no-cache",
    Level.SHOULD,
    "Cache-Control holds no-store or no-cache",
    why="A cache that keeps the stream replays one user's run to the next, or holds tokens back.",
    source="RFC 9111",
    any_stream=True,
)
@needs_events
def no_cache(run: Exchange) -> RuleResult:
    fault = _cache_fault(run.head) if run.head else None
    if fault is not None:
        return failed(fault, Location(run))
    return passed(f"Cache-Control: {run.head.value('cache-control') if run.head else ''}")


@rule(
    "headers.incremental",
    Level.MUST,
    "Events arrive as they are made, not all at the end",
    why="A stream that comes all at once is a slow answer with extra steps; users stare at nothing.",
    source="api",
    needs=Need.LONG_ACTION,
)
@needs_events
def incremental(run: Exchange) -> RuleResult:
    """Compare when events came with when they were made.

    An event's id tells when it was made. Where the ids' clock stands still, the long action's promise to
    stream for a second or more takes its place.
    """
    if len(run.events) < 3:
        return inconclusive(
            f"only {len(run.events)} events; configure a longer [target.actions.long]", Location(run)
        )
    arrivals = [one.arrival_ns / 1e6 for one in run.events]
    spread_ms = arrivals[-1] - arrivals[0]
    made = [one.stream_id.ms for one in run.events if one.stream_id]
    made_ms = float(made[-1] - made[0]) if len(made) == len(arrivals) else 0.0
    if made_ms < _LONG_MS / 10 and run.offset_ms(run.events[-1].arrival_ns) < _LONG_MS:
        return inconclusive(
            f"the long action was over within {run.offset_ms(run.events[-1].arrival_ns):.0f} ms; configure one "
            "that streams for a second or more",
            Location(run),
        )
    expected_ms = made_ms if made_ms >= _LONG_MS / 10 and clock_offset_ms(run) is not None else _LONG_MS
    if _BUNCHED < spread_ms / expected_ms < _SPREAD:
        return inconclusive(
            f"{len(run.events)} events made over {expected_ms:.0f} ms came within {spread_ms:.0f} ms: the server, the "
            "way, or this machine held some of them back",
            Location(run, run.events[0]),
        )
    if spread_ms / expected_ms <= _BUNCHED:
        return failed(
            f"{len(run.events)} events made over {expected_ms:.0f} ms came within {spread_ms:.0f} ms: something "
            "holds them back",
            Location(run, run.events[0]),
        )
    return passed(f"{len(run.events)} events came over {spread_ms:.0f} ms")


@rule(
    "headers.method",
    Level.SHOULD,
    "Another method gets 405 with Allow",
    why="A 405 with Allow tells a mistaken client what to do; anything else sends it searching.",
    source="RFC 9110",
)
def method(get: Exchange) -> RuleResult:
    if get.status == 405 and get.head and get.head.value("allow"):
        return passed(f"GET got 405 with Allow: {get.head.value('allow')}")
    if get.status == 405:
        return failed("GET got 405 without an Allow header field", Location(get))
    return failed(f"GET got {get.describe()}, not 405", Location(get))


HEAD_RULES = (event_stream, charset, no_cache)
"""The rules that look at the response head alone."""
