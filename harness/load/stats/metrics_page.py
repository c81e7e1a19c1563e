"""Reads a page of metrics over HTTP within bounds that hold whatever its server sends, and lets streams go first."""

from __future__ import annotations

import socket
import time
from urllib.parse import urlsplit

import gevent

from harness.formatting import visible
from harness.protocol.http1 import HttpSyntaxError, ResponseParser, encode_request
from harness.protocol.request import HttpRequest
from harness.transport.endpoint import Endpoint

MOST_BYTES = 4 * 1024 * 1024
_TIMEOUT_S = 2.0  # until the connection, and between two reads
_LONGEST_S = 5.0  # of one page
_HEAD_BYTES = 256 * 1024
_READ_BYTES = 64 * 1024
_HEADERS = (
    ("Accept", "text/plain;version=0.0.4"),
    ("Accept-Encoding", "identity"),
    ("Connection", "close"),
)


class ScrapeError(Exception):
    """A scrape failed; the message is a clause."""


def read_page(url: str) -> str:
    """The page at `url`. Raises ScrapeError."""
    late = ScrapeError(f"its page took longer than {_LONGEST_S:g} s")
    give_up_s = time.monotonic() + _LONGEST_S
    with gevent.Timeout(_LONGEST_S, late):  # for what a socket's timeout does not bound: names, a handshake
        try:
            parts = urlsplit(url)
            endpoint = Endpoint.from_url(f"{parts.scheme}://{parts.netloc}")
            request = encode_request(HttpRequest("GET", parts.path or "/", _HEADERS), host=endpoint.authority)
            with socket.create_connection((endpoint.host, endpoint.port), _TIMEOUT_S) as plain:
                if endpoint.tls is None:
                    return _page(plain, request, give_up_s, late)
                with endpoint.tls.wrap_socket(plain, server_hostname=endpoint.host) as secured:
                    return _page(secured, request, give_up_s, late)
        except (OSError, ValueError) as problem:
            raise ScrapeError(f"it was not answered: {visible(str(problem))[:200]}") from None


def _page(sock: socket.socket, request: bytes, give_up_s: float, late: ScrapeError) -> str:
    sock.sendall(request)
    parser, body, received = ResponseParser(), bytearray(), 0
    try:
        while not parser.complete:
            data = sock.recv(_READ_BYTES)
            if not data:
                parser.end_of_connection()
                break
            received += len(data)
            body += parser.feed(data)
            if parser.head is not None and parser.head.status != 200:
                raise ScrapeError(f"it was answered with status {parser.head.status}")
            if received > MOST_BYTES + _HEAD_BYTES or len(body) > MOST_BYTES:
                raise ScrapeError(f"its page has more than {MOST_BYTES // 1024**2} MiB")
            if time.monotonic() > give_up_s:
                raise late
            gevent.sleep(0)
    except HttpSyntaxError as problem:
        raise ScrapeError(f"its answer is {visible(str(problem))[:200]}") from None
    finally:
        parser.close()
    if not parser.complete:
        raise ScrapeError("its answer has no end")
    if parser.head is not None and parser.head.body_codings:
        raise ScrapeError("its page has a coding that was not requested")
    return body.decode("utf-8", "replace")
