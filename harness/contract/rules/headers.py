"""headers: the HTTP response that carries the stream."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from harness.contract.exchange import Ending, Exchange
from harness.contract.finding import Location, RuleResult, failed, inconclusive, passed
from harness.contract.rules.delivery import delivered_live, not_in_regular_blocks
from harness.contract.rules.rule import Level, Need, needs_events, quoted, rule, was_accepted
from harness.protocol.content_coding import KNOWN_CODINGS
from harness.protocol.http1 import Delimiter, ResponseHead

_SURPLUS_BYTES = 60
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^";\s]*)"?', re.IGNORECASE)


def _media_type_fault(content_type: str | None) -> str | None:
    if (content_type or "").partition(";")[0].strip().lower() == "text/event-stream":
        return None
    label = "no Content-Type" if content_type is None else f"Content-Type {quoted(content_type)}"
    return f"a stream with {label}, not text/event-stream"


def _charset_fault(content_type: str | None) -> str | None:
    match = _CHARSET.search(content_type or "")
    if match is None or match[1].lower() in {"utf-8", "utf8"}:
        return None
    return f"charset {quoted(match[1])}; an event stream is always UTF-8"


def _cache_fault(cache_control: str | None) -> str | None:
    sent = cache_control or ""
    directives = {part.partition("=")[0].strip().lower() for part in sent.split(",")}
    if directives & {"no-store", "no-cache"}:
        return None
    label = quoted(sent) if sent else "absent"
    return f"Cache-Control is {label}; a cache may store or delay the stream"


def is_proper(head: ResponseHead) -> bool:
    """Whether this response head passes HEAD_RULES."""
    return _are_proper(head.value("content-type"), head.value("cache-control"))


@lru_cache(maxsize=16)  # without the rest of the head: Date makes each second's another one
def _are_proper(content_type: str | None, cache_control: str | None) -> bool:
    faults = (_media_type_fault(content_type), _charset_fault(content_type), _cache_fault(cache_control))
    return not any(faults)


@rule(
    "headers.transfer-coding",
    Level.MUST,
    "Transfer-Encoding, if sent, is `chunked` alone, without Content-Length, in HTTP/1.1",
    why="Clients and proxies read any other framing in different ways, or refuse it: responses are split or lost.",
    fix="Let one layer set Transfer-Encoding: a framework, server or proxy that does so must not get it set already.",
    source="RFC 9112",
    any_stream=True,
    format_only=True,
)
def transfer_coding(run: Exchange) -> RuleResult:
    fault = run.head.framing_fault if run.head else None
    if fault is not None:
        return failed(fault, Location(run))
    if not was_accepted(run):
        return inconclusive(f"no run to check: {run.describe()}", Location(run))
    return passed("the body's framing is unambiguous")


@rule(
    "headers.decodable",
    Level.MUST,
    "The body is in the coding that Content-Encoding and Transfer-Encoding name, and the coding is a known one",
    why="A client cannot read a body that is not what its header fields say: no event reaches it.",
    fix="Remove the Content-Encoding that a framework or proxy sets on the stream, or compress what it labels.",
    source="RFC 9110",
    any_stream=True,
    format_only=True,
)
def decodable(run: Exchange) -> RuleResult:
    fault = run.coding_fault
    if fault is not None and (not run.summary.events or not _is_harmless(run)):
        return failed(fault, Location(run))
    if not was_accepted(run):
        return inconclusive(f"no run to check: {run.describe()}", Location(run))
    if fault is not None:
        return passed(f"the body is readable as it is: {fault}")
    names = ", ".join(name for _, name in run.head.body_codings) if run.head else ""
    return passed(f"the body was decoded ({names})" if names else "the body has no coding")


def _is_harmless(run: Exchange) -> bool:
    """Whether its codings are not names of codings (``none``, ``utf-8``): clients that ignore them read the stream."""
    return run.head is not None and not any(name in KNOWN_CODINGS for _, name in run.head.body_codings)


@rule(
    "headers.content-coding",
    Level.SHOULD,
    "The stream has a Content-Encoding that the request accepts; the harness accepts `identity` only",
    why="Clients that do not decompress see no event, and compressors hold events back until they have enough bytes.",
    fix="Exempt text/event-stream from compression in the framework and in each proxy.",
    source="RFC 9110",
    any_stream=True,
    format_only=True,
)
def content_coding(run: Exchange) -> RuleResult:
    codings = run.head.content_codings if run.head else ()
    accepted = (run.request.header("accept-encoding") or "identity").lower()
    asked = {part.partition(";")[0].strip() for part in accepted.split(",")}
    unasked = [name for name in codings if name not in asked and "*" not in asked]
    if run.coding_fault and not run.summary.events:
        return inconclusive(
            f"the body cannot be decoded (see headers.decodable): {run.coding_fault}", Location(run)
        )
    if unasked:
        return failed(
            f"Content-Encoding: {', '.join(codings)} was sent, but the request accepts {quoted(accepted)}",
            Location(run),
        )
    if not was_accepted(run):
        return inconclusive(f"no run to check: {run.describe()}", Location(run))
    return passed(
        "no content coding" if not codings else f"the request accepts the content coding {', '.join(codings)}"
    )


@rule(
    "headers.event-stream",
    Level.MUST,
    "A successful response is 200 with `text/event-stream`",
    why="An event-stream client rejects any other status or media type.",
    fix="Answer a valid request with status 200 and `Content-Type: text/event-stream`.",
    source="api, W",
    any_stream=True,
)
def event_stream(run: Exchange) -> RuleResult:
    if run.head is None:
        return failed(f"a valid request got {run.describe()}", Location(run))
    if run.status != 200:
        return failed(f"a valid request got status {run.status}, not 200", Location(run))
    fault = _media_type_fault(run.head.value("content-type"))
    if fault is not None:
        return failed(fault, Location(run))
    if not was_accepted(run):
        return inconclusive(f"no run to check: {run.describe()}", Location(run))
    return passed("200 with text/event-stream")


@rule(
    "headers.charset",
    Level.MUST,
    "`charset` is absent or utf-8",
    why="An event stream is always UTF-8; a different charset makes proxies and clients decode it wrongly.",
    fix="Send `Content-Type: text/event-stream; charset=utf-8`, or leave the charset out.",
    source="W",
    any_stream=True,
)
@needs_events
def charset(run: Exchange) -> RuleResult:
    fault = _charset_fault(run.head.value("content-type")) if run.head else None
    return failed(fault, Location(run)) if fault else passed("charset is utf-8 or absent")


@rule(
    "headers.complete",
    Level.MUST,
    "The HTTP message is complete: last chunk, full Content-Length, or close-delimited",
    why="A truncated message looks like a lost connection, so clients retry work that was done.",
    fix=(
        "Let the HTTP library end the response after the terminal event, so that it sends the last chunk; "
        "do not close the socket before that."
    ),
    source="RFC 9112",
    any_stream=True,
    format_only=True,
)
@needs_events
def complete(run: Exchange) -> RuleResult:
    delimiter = run.head.delimiter if run.head else ""
    if run.ending is Ending.COMPLETE:
        return passed(f"the message is complete ({delimiter})")
    if run.ending is Ending.MALFORMED:
        return failed(f"the response cannot be parsed: {run.ending_detail}", Location(run))
    if run.ending is Ending.TRUNCATED and "close_notify" in run.ending_detail:
        return failed(f"{run.ending_detail} ({delimiter})", Location(run))
    if run.ending is Ending.TRUNCATED:
        return failed(f"the connection closed before the end of the message ({delimiter})", Location(run))
    if run.ending is Ending.RESET and not run.terminals:
        return failed(f"{run.ending_detail} mid-message", Location(run))
    if run.ending is Ending.RESET:
        return inconclusive(
            "the connection was reset after the terminal event; the end of the message may have been lost"
        )
    return inconclusive(f"the harness did not read to the end of the message: {run.ending_detail}")


@rule(
    "headers.nothing-after",
    Level.MUST,
    "Nothing follows the end of the HTTP message",
    why="A client that keeps the connection takes what follows for the answer to its next request.",
    fix=(
        "Send one response per request: after the stream has begun, an error handler must not send an error "
        "page, and Content-Length must count all bytes."
    ),
    source="RFC 9112",
    any_stream=True,
    format_only=True,
)
@needs_events
def nothing_after(run: Exchange) -> RuleResult:
    if run.head is not None and run.head.delimiter is Delimiter.CLOSE:
        return passed("the message ends with the connection")
    if run.ending is not Ending.COMPLETE:
        return inconclusive(f"the end of the message was not reached: {run.describe()}", Location(run))
    if run.has_surplus:
        return failed(f"bytes follow the end of the message: {_surplus_text(run)}", Location(run))
    return passed("nothing follows the end of the message")


def _surplus_text(run: Exchange) -> str:
    last = run.reads[-1].data
    return quoted(last[-_SURPLUS_BYTES:].decode("latin-1"))


@rule(
    "headers.no-cache",
    Level.SHOULD,
    "Cache-Control contains no-store or no-cache",
    why="A cache may replay one user's run to the next user, or hold back tokens.",
    fix="Send `Cache-Control: no-store` with every stream.",
    source="RFC 9111",
    any_stream=True,
)
@needs_events
def no_cache(run: Exchange) -> RuleResult:
    fault = _cache_fault(run.head.value("cache-control")) if run.head else None
    if fault is not None:
        return failed(fault, Location(run))
    return passed(f"Cache-Control: {run.head.value('cache-control') if run.head else ''}")


@rule(
    "headers.incremental",
    Level.MUST,
    "Events arrive as they are produced: not all at the end, and not in blocks",
    why="A stream that is held back shows users nothing, then everything at once.",
    fix=(
        "Flush after each event, and turn off compression and proxy buffering (`X-Accel-Buffering: no`, "
        "in nginx `proxy_buffering off`)."
    ),
    source="api",
    needs=Need.LONG_ACTION,
)
@needs_events
def incremental(run: Exchange, again: Sequence[Exchange] = ()) -> RuleResult:
    """Compare when events arrived with when they were produced.

    The ids give the production times. If their clock does not advance, the second that the long action must stream
    for is used instead. again: more runs of the same action, since a single pause may have any cause; a pause at the
    same place in several runs is the server's or a proxy's.
    """
    return delivered_live([run, *(other for other in again if was_accepted(other))])


@rule(
    "headers.flushed",
    Level.SHOULD,
    "Events are not collected into blocks of equal size or at equal distance",
    why="Blocks look like a buffer on the way, which makes a stream stutter; without clock ids nothing proves it.",
    fix="As for headers.incremental: a buffer between the action and the client collects events.",
    source="ours",
    needs=Need.LONG_ACTION,
)
@needs_events
def flushed(run: Exchange, again: Sequence[Exchange] = ()) -> RuleResult:
    """For runs whose ids don't tell when the events were made. If they do, headers.incremental compares the times.

    again: the same runs as for headers.incremental.
    """
    return not_in_regular_blocks([run, *(other for other in again if was_accepted(other))])


@rule(
    "headers.method",
    Level.SHOULD,
    "A wrong method gets 405 with Allow",
    why="405 with Allow tells a mistaken client what to send instead.",
    fix="Answer every method other than POST with 405 and `Allow: POST`.",
    source="RFC 9110",
)
def method(get: Exchange) -> RuleResult:
    sent = get.request.method
    if get.head is None or get.head.status != 405:
        return failed(f"{sent} got {get.describe()}, not 405", Location(get))
    if allowed := get.head.value("allow"):
        return passed(f"{sent} got 405 with Allow: {allowed}")
    return failed(f"{sent} got 405 without an Allow header", Location(get))


HEAD_RULES = (event_stream, charset, no_cache)
"""The rules that need only the response head."""
