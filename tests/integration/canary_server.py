"""A server that sends the token back in every place of a response, in another form with each request."""

from __future__ import annotations

import gzip
import json
import socketserver
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count

from tests.contract.exchanges import LAST_CHUNK, chunk


class CanaryServer(socketserver.ThreadingTCPServer):
    """forms: spellings of the token, used in turn. `received` counts the requests."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, forms: Sequence[str]) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.forms = forms
        self.received = count()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Connection(socketserver.StreamRequestHandler):
    server: CanaryServer

    def handle(self) -> None:
        length = 0
        while (line := self.rfile.readline().strip().lower()) != b"":
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        self.rfile.read(length)
        number = next(self.server.received)
        plain, spelt = self.server.forms[0], self.server.forms[number % len(self.server.forms)]
        self.wfile.write(answer(number, spelt, plain))


def answer(number: int, spelt: str, plain: str) -> bytes:
    """The response to a request. The first ones are regular, since a preflight and a search for limits come first.

    spelt: a form of the token. plain: the token itself, in a header field of each response, so that any suite finds it.
    """
    kind = number % 7 if number > 4 else 0
    text = spelt.encode("latin-1", "replace")
    in_field = text.replace(b"\0", b"").replace(b"\n", b" ")
    fields = [b"Content-Type: text/event-stream", b"Set-Cookie: session=%s; Path=/" % in_field]
    fields += [
        b"X-Debug-Request: Authorization: Bearer %s" % in_field,
        b"Location: /runs?access_token=%s" % in_field,
    ]
    fields.append(b"X-Echo: %s" % plain.encode())
    events = _events(number, spelt)
    if kind == 1:
        return _head(b"HTTP/1.1 401 %s" % in_field, [*fields, b"Content-Length: %d" % len(text)]) + text
    if kind == 2:
        return b"HTTP/1.1 %s what you sent\r\n%s\r\n\r\n" % (in_field, text)
    if kind == 3:
        body = gzip.compress(b"".join(events))
        return (
            _head(b"HTTP/1.1 200 OK", [*fields, b"Content-Encoding: gzip", b"Content-Length: %d" % len(body)])
            + body
        )
    if kind == 4:  # every chunk has half an event, and the end is missing
        whole = b"".join(events)
        parts = [whole[start : start + 37] for start in range(0, len(whole), 37)]
        return _head(b"HTTP/1.1 200 OK", [*fields, b"Transfer-Encoding: chunked"]) + b"".join(
            map(chunk, parts)
        )
    if kind == 5:
        body = json.dumps({"error": {"code": spelt, "message": f"no rights for {spelt}"}}).encode()
        return _head(b"HTTP/1.1 409 Conflict", [*fields, b"Content-Length: %d" % len(body)]) + body
    framed = b"".join(map(chunk, events)) + LAST_CHUNK
    return _head(b"HTTP/1.1 200 OK", [*fields, b"Transfer-Encoding: chunked"]) + framed


def _events(number: int, spelt: str) -> list[bytes]:
    run_id = f"run-{spelt}-{number}" if number % 2 else f"run-{number}"
    values = (
        {"type": "token", "content": f"you are {spelt}"},
        {"type": "token", "content": spelt[:5]},
        {"type": "token", "content": spelt[5:]},
        {"type": spelt, "content": spelt},
        {"type": "done", "runId": run_id, spelt: {"usage": spelt}},
    )
    ids = (b"1-0", b"2-0", b"3-0", spelt.replace("\0", "").encode("latin-1", "replace"), b"5-0")
    return [
        b"id: %s\ndata: %s\n\n" % (name, json.dumps(value).encode())
        for name, value in zip(ids, values, strict=True)
    ]


def _head(status: bytes, fields: Sequence[bytes]) -> bytes:
    return b"\r\n".join([status, *fields]) + b"\r\n\r\n"


@contextmanager
def canary_server(forms: Sequence[str]) -> Iterator[CanaryServer]:
    with CanaryServer(forms) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
