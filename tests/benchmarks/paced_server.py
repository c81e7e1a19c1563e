"""The calibrated target in Python, if there is no C compiler; for up to about 2,000 streams at 20 events/s.

It has the options, frames and report of paced_target.c. Its timers are coarser (1 ms) and suffer more from a busy
machine; its report has its lateness.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.stock.recorder import Distribution
from tests.benchmarks.target import raise_file_limit

_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
_LAST_CHUNK = b"0\r\n\r\n"
_REQUEST_BYTES = 65536
_SEND_AT_ONCE = 256  # due events must not delay requests
_REBUILD_BLAST_NS = 60_000_000_000  # keeps the ids of a prebuilt response near the wall clock


def _microseconds(distribution: Distribution) -> dict[str, float]:
    values = distribution.document()
    times = {name: (values[name] or 0.0) * 1000 for name in ("p50", "p99", "max")}
    return {"count": distribution.count, **times}


@dataclass
class Server:
    """The schedule and the counts. Streams are queued in the order of their next due event.

    All first tokens are due the same time after their request, and all further events the same time after the previous
    one, so each queue is first in, first out.
    """

    tokens: int
    first_token_ns: int
    gap_ns: int
    is_chat: bool = False
    counted: Counter[str] = field(default_factory=Counter)
    lateness: Distribution = field(default_factory=Distribution)
    first_token: Distribution = field(default_factory=Distribution)

    def __post_init__(self) -> None:
        # Read once: ids from the monotonic clock increase even if the wall clock is set back.
        self._wall_ahead_ns = time.time_ns() - time.monotonic_ns()
        self._first_tokens: deque[Connection] = deque()
        self._further_events: deque[Connection] = deque()
        self._blast = b""
        self._blast_built_ns = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_blast(self) -> bool:
        """Whether responses are prebuilt."""
        return not self.first_token_ns and not self.gap_ns

    def event(self, sequence: int, at_ns: int, run: int, *, stamped: bool = True) -> bytes:
        """One event as a chunk."""
        send_time = f',"t":{at_ns}' if stamped else ""
        if self.is_chat:
            return self._chat_event(sequence, send_time, run)
        data = f'{{"type":"token","content":"tok "{send_time}}}'
        if sequence >= self.tokens:
            data = f'{{"type":"done","runId":"run-{run}"}}'
        frame = f"id: {(at_ns + self._wall_ahead_ns) // 1_000_000}-{sequence}\ndata: {data}\n\n"
        return f"{len(frame):x}\r\n{frame}\r\n".encode()

    def _chat_event(self, sequence: int, send_time: str, run: int) -> bytes:
        is_last = sequence >= self.tokens
        delta, reason = ("{}", '"stop"') if is_last else ('{"content":"tok "}', "null")
        usage = f',"usage":{{"completion_tokens":{self.tokens}}}' if is_last else ""
        frame = (
            f'data: {{"id":"chatcmpl-{run}","object":"chat.completion.chunk","created":1,"model":"m",'
            f'"choices":[{{"index":0,"delta":{delta},"finish_reason":{reason}}}]{usage}{send_time}}}\n\n'
        ) + ("data: [DONE]\n\n" if is_last else "")
        return f"{len(frame):x}\r\n{frame}\r\n".encode()

    def blast(self) -> bytes:
        """A whole response."""
        now_ns = time.monotonic_ns()
        if not self._blast or now_ns - self._blast_built_ns > _REBUILD_BLAST_NS:
            events = (self.event(number, now_ns, now_ns, stamped=False) for number in range(self.tokens + 1))
            self._blast = _HEAD + b"".join(events) + _LAST_CHUNK
            self._blast_built_ns = now_ns
        return self._blast

    def schedule(self, stream: Connection) -> None:
        """Schedule the first token of a request."""
        stream.due_ns = stream.request_ns + self.first_token_ns
        self._first_tokens.append(stream)
        self._set_timer()

    def _set_timer(self) -> None:
        queue = self._next()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if queue:
            due_s = max(0.0, (queue[0].due_ns - time.monotonic_ns()) / 1e9)
            self._timer = asyncio.get_running_loop().call_later(due_s, self._send_due_events)

    def _next(self) -> deque[Connection]:
        first, further = self._first_tokens, self._further_events
        return first if first and not (further and further[0].due_ns < first[0].due_ns) else further

    def _send_due_events(self) -> None:
        for _ in range(_SEND_AT_ONCE):
            queue = self._next()
            if not queue or queue[0].due_ns > time.monotonic_ns():
                break
            stream = queue.popleft()
            if stream.is_closed:
                continue
            self._send(stream)
        self._set_timer()

    def _send(self, stream: Connection) -> None:
        sent_ns = time.monotonic_ns()
        is_last = stream.sequence == self.tokens
        data = self.event(stream.sequence, sent_ns, stream.run) + (_LAST_CHUNK if is_last else b"")
        self.lateness.add(sent_ns - stream.due_ns)
        if stream.sequence == 0:
            self.first_token.add(sent_ns - stream.request_ns)
        stream.sequence += 1
        stream.due_ns += self.gap_ns
        if not is_last:
            self._further_events.append(stream)
        self.counted["events"] += 1 + (is_last and self.is_chat)
        stream.deliver(data)
        if is_last:
            stream.finish()

    def report(self) -> dict[str, Any]:
        """Counts and distributions, with the fields of the C target."""
        names = ("accepted", "requests", "open", "streams", "events", "broken_off", "held_back")
        return {
            **{name: self.counted[name] for name in names},
            "lateness_us": _microseconds(self.lateness),
            "first_token_us": _microseconds(self.first_token),
        }

    def reset(self) -> None:
        """Clear the distributions."""
        self.lateness, self.first_token = Distribution(), Distribution()


class Connection(asyncio.Protocol):
    """A connection of a client. Requests are answered one after the other."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._came = b""
        self._transport: asyncio.Transport | None = None
        self._streaming = False
        self._close_after = False
        self.request_ns = self.due_ns = 0
        self.sequence = self.run = 0

    @property
    def is_closed(self) -> bool:
        """Whether the client has disconnected."""
        return self._transport is None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.counted["accepted"] += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._streaming:
            self._server.counted["open"] -= 1
            self._server.counted["broken_off"] += 1

    def data_received(self, data: bytes) -> None:
        self._came += data
        self._answer_next()

    def deliver(self, data: bytes) -> None:
        """Write to the kernel, or buffer what a full socket does not accept."""
        if self._transport is not None:
            self._transport.write(data)
            if self._transport.get_write_buffer_size():
                self._server.counted["held_back"] += 1

    def finish(self) -> None:
        """The response is complete."""
        self._streaming = False
        self._server.counted["open"] -= 1
        self._server.counted["streams"] += 1
        self._end_of_answer()

    def _end_of_answer(self) -> None:
        if self._close_after and self._transport is not None:
            self._transport.close()
        else:
            self._answer_next()

    def _answer_next(self) -> None:
        head, found, rest = self._came.partition(b"\r\n\r\n")
        if self._streaming or not found or self._transport is None:
            return
        request, *lines = head.decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(fields.get("content-length", 0))
        if "transfer-encoding" in fields or len(head) + length > _REQUEST_BYTES:
            self._transport.abort()  # chunked bodies are not supported
            return
        if len(rest) < length:
            return
        self._came = rest[length:]
        self._close_after = fields.get("connection", "").lower() == "close"
        self._route(request)

    def _route(self, request: str) -> None:
        path = "/v1/chat/completions" if self._server.is_chat else "/agent/workflow-actions"
        if request.startswith(f"POST {path} "):
            self._start_stream()
        elif request.startswith("GET /report "):
            self._answer_small("200 OK", self._server.report())
        elif request.startswith("POST /reset "):
            self._server.reset()
            self._answer_small("200 OK", {})
        else:
            self._answer_small("404 Not Found", {"error": f"only POST {path} is served"})

    def _start_stream(self) -> None:
        counted = self._server.counted
        counted["open"] += 1
        counted["requests"] += 1
        self._streaming, self.run, self.sequence = True, counted["requests"], 0
        self.request_ns = time.monotonic_ns()
        if self._server.is_blast:
            counted["events"] += self._server.tokens + 1 + self._server.is_chat
            self.deliver(self._server.blast())
            self.finish()
        else:
            self.deliver(_HEAD)
            self._server.schedule(self)

    def _answer_small(self, status: str, document: dict[str, Any]) -> None:
        body = json.dumps(document)
        self.deliver(
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        self._end_of_answer()


async def serve(server: Server, port: int, lifetime_s: float) -> None:
    """Serve until SIGTERM, SIGINT or the end of `lifetime_s`."""
    raise_file_limit()
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.call_later(lifetime_s, stop.set)
    listener = await loop.create_server(partial(Connection, server), "127.0.0.1", port, backlog=16384)
    sys.stdout.write(json.dumps({"port": listener.sockets[0].getsockname()[1]}) + "\n")
    sys.stdout.flush()
    await stop.wait()
    listener.close()


def main() -> None:
    """The options of paced_target.c."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--first-token-us", type=int, default=0)
    parser.add_argument("--gap-us", type=int, default=0)
    parser.add_argument("--lifetime-s", type=float, default=900)
    parser.add_argument("--api", default="workflow-actions")
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    is_chat = options.api == "openai-chat"
    server = Server(options.tokens, options.first_token_us * 1000, options.gap_us * 1000, is_chat)
    asyncio.run(serve(server, options.port, options.lifetime_s))
    report = json.dumps(server.report()) + "\n"
    if options.report:
        options.report.write_text(report)
    else:
        sys.stdout.write(report)


if __name__ == "__main__":
    main()
