"""A small agent-run server for tests: it counts what it does, and can be faulty on request.

Each run is a list of events with due times; a connection writes them when they are due. One thread per connection,
blocking sockets, and no code shared with the code under test.
"""

from __future__ import annotations

import json
import socket
import socketserver
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


@dataclass
class Run:
    body: dict[str, Any]
    events: list[bytes]
    started: float
    gap_s: float


@dataclass
class Behaviour:
    """What the server does otherwise than a correct one.

    fault: to the nth run that it starts (from 0); see `Connection.play`. reject: the status with which it rejects the
    nth request (from 0), or None. head: of each stream.
    """

    fault: Callable[[int], str] = lambda _: "none"
    reject: Callable[[int], int | None] = lambda _: None
    head: Callable[[], bytes] = lambda: HEAD
    tokens: int = 4
    gap_s: float = 0.002


@dataclass
class ServerStats:
    """The true counts, to check the harness's ledger against."""

    counts: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, what: str) -> int:
        """Count one more. Returns how many there were before."""
        with self.lock:
            self.counts[what] += 1
            return self.counts[what] - 1


class RunServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 512

    def __init__(self, behaviour: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), Connection)
        self.behaviour = behaviour
        self.stats = ServerStats()
        self.received: list[dict[str, str]] = []  # the header fields of each request
        self.runs: dict[str, Run] = {}
        self.lock = threading.Lock()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        self.stats.add("server errors")
        super().handle_error(request, client_address)

    def find_or_start(self, key: str, body: dict[str, Any]) -> tuple[Run | None, str]:
        with self.lock:
            existing = self.runs.get(key)
            if existing is not None:
                return (existing, "none") if existing.body == body else (None, "none")
            number = self.stats.counts["runs"]
            fault = self.behaviour.fault(number)
            run = Run(body, self._events(number, fault), time.monotonic(), self.behaviour.gap_s)
            self.runs[key] = run
            self.stats.add("runs")
            return run, fault

    def _events(self, number: int, fault: str) -> list[bytes]:
        ms = time.time_ns() // 1_000_000
        texts = [{"type": "token", "content": f"t{place} "} for place in range(self.behaviour.tokens)]
        last = {"type": "error", "code": "x"} if fault == "error" else {"type": "done", "runId": f"r{number}"}
        if fault == "only an error with 409":
            texts, last = [], {"type": "error", "code": 409, "message": "no free slot"}
        ids = [f"{ms}-{place}" for place in range(len(texts) + 1)]
        if fault == "swap":
            ids[0], ids[1] = ids[1], ids[0]
        frames = zip(ids, [*texts, last], strict=True)
        return [f"id: {event_id}\ndata: {json.dumps(data)}\n\n".encode() for event_id, data in frames]


class Connection(socketserver.BaseRequestHandler):
    server: RunServer

    def handle(self) -> None:
        sock: socket.socket = self.request
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(ConnectionError):
            self.answer(sock)

    def answer(self, sock: socket.socket) -> None:
        headers, body = read_request(sock)
        self.server.received.append(headers)
        rejection = self.server.behaviour.reject(self.server.stats.add("requests"))
        if rejection is not None:
            sock.sendall(b"HTTP/1.1 %d Later\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n" % rejection)
            return
        run, fault = self.server.find_or_start(headers["idempotency-key"], json.loads(body))
        if run is None:
            self.server.stats.add("conflicts")
            text = b'{"error":{"code":409}}'
            sock.sendall(b"HTTP/1.1 409 Conflict\r\nContent-Type: application/json\r\n")
            sock.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(text), text))
            return
        self.play(sock, run, fault, headers.get("last-event-id"))

    def play(self, sock: socket.socket, run: Run, fault: str, last_event_id: str | None) -> None:
        events = run.events
        if fault == "silent":
            sock.recv(1)
            return
        if fault == "busy":
            sock.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
            return
        sock.sendall(self.server.behaviour.head())
        start = 0
        if last_event_id is not None:
            prefix = f"id: {last_event_id}\n".encode()
            start = 1 + next(place for place, event in enumerate(events) if event.startswith(prefix))
        for place in range(start, len(events)):
            wait_s = run.started + place * run.gap_s - time.monotonic()
            if wait_s > 0:
                time.sleep(wait_s)
            if fault == "truncate" and place == len(events) - 1:
                self.server.stats.add("truncated")
                return
            if fault == "reset" and place == len(events) - 1:
                self.server.stats.add("reset")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()  # socketserver would send a FIN first
                return
            sock.sendall(b"%x\r\n%s\r\n" % (len(events[place]), events[place]))
        sock.sendall(b"0\r\n\r\n")
        self.server.stats.add("terminals sent")


def read_request(sock: socket.socket) -> tuple[dict[str, str], bytes]:
    """Headers, with names in lower case, and body of one request."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            raise ConnectionError("no request received")
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")[1:]
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += sock.recv(65536)
    return headers, body


@contextmanager
def run_server(**behaviour: Any) -> Iterator[RunServer]:
    with RunServer(Behaviour(**behaviour)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


ACTION = {"toolId": "t", "toolName": "T", "aiDescription": "…", "runtimeScope": "test"}


def config(base_url: str | None, **load: Any) -> dict[str, Any]:
    """Settings that point at such a server."""
    target: dict[str, Any] = {
        "organization_id": "org-1",
        "token": "secret-token",
        "resume_start": "replay",
        "actions": {"success": ACTION, "long": ACTION},
    }
    if base_url is not None:
        target["base_url"] = base_url
    return {
        "target": target,
        "budgets": {"first_event": 1, "terminal_close": 1, "heartbeat": 1, "run": 10},
        "load": load,
    }
