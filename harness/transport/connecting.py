"""Connection handling shared by the asyncio and the gevent client."""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
from functools import lru_cache
from typing import Any

from harness.contract.exchange import Ending
from harness.transport.timestamps import enable_kernel_timestamps
from harness.transport.tls import tls_error_message

Address = tuple[int, int, int, str, Any]
"""One result of getaddrinfo: family, type, protocol, canonical name, socket address."""

UNRESOLVABLE = "the host name has no address"
HALF_CLOSED_S = 0.1  # how long a half-closed connection stays open
EARLY_RESPONSE_S = 1.0  # wait for the response of a server that closed before it had read the whole request
_ONE_WRITE_BYTES = 65536


@lru_cache(maxsize=16)  # a process has one target; parsing would cost each stream 20 us
def literal_address(host: str, port: int) -> Address | None:
    """The address if `host` is an IP address, which saves the resolver's thread; None for a name."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return None
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    return (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))


def prepare_socket(sock: socket.socket) -> None:
    """Set the options of a connected socket: no Nagle delay, kernel timestamps."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    enable_kernel_timestamps(sock)


def failed_connection(problem: OSError, *, was_open: bool) -> tuple[Ending, str]:
    """How an exchange ended whose connection failed in connecting, the TLS handshake or sending, and the detail."""
    if isinstance(problem, ssl.SSLError):
        return Ending.REFUSED, tls_error_message(problem)
    ending = Ending.RESET if was_open else Ending.REFUSED
    # The system's message: asyncio's repeats the address.
    if problem.errno and not isinstance(problem, socket.gaierror):
        return ending, os.strerror(problem.errno)
    return ending, str(problem.strerror or problem)


def has_peer(sock: socket.socket) -> bool:
    """Whether the kernel has connected the socket, even if this process has not noticed that yet."""
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def request_sent_ns(began_ns: int, size_bytes: int) -> int | None:
    """When a request's last byte was written, if its write began at `began_ns`; None for "when the write returned".

    Up to 64 KiB are one write, and count as sent when it begins: the response may arrive before it returns.
    """
    return began_ns if size_bytes <= _ONE_WRITE_BYTES else None
