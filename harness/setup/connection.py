"""Connects to the target in separate steps (DNS lookup, TCP connect, TLS handshake), so a failed one can be named."""

from __future__ import annotations

import socket
import ssl
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from harness.transport.endpoint import Endpoint
from harness.transport.tls import tls_error_message

_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class ConnectionAttempt:
    """Result of a connection attempt. On failure `problem` explains the failed step, and later steps are None.

    expires_at: expiry of the certificate; None if it was not verified.
    """

    addresses: tuple[str, ...]
    lookup_ms: float
    connect_ms: float | None
    tls_version: str | None
    expires_at: datetime | None
    handshake_ms: float | None
    problem: str | None


def connect(endpoint: Endpoint, timeout_s: float = _TIMEOUT_S) -> ConnectionAttempt:
    """Resolve the host, connect, do the TLS handshake, close."""
    began_s = time.perf_counter()
    try:
        infos = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except OSError as problem:
        return ConnectionAttempt((), _ms(began_s), None, None, None, None, problem.strerror or str(problem))
    addresses = tuple(dict.fromkeys(str(info[4][0]) for info in infos))
    lookup_ms = _ms(began_s)
    began_s = time.perf_counter()
    try:
        plain = socket.create_connection((endpoint.host, endpoint.port), timeout_s)
    except OSError as problem:
        message = (
            f"no answer within {timeout_s:g} s"
            if isinstance(problem, TimeoutError)
            else problem.strerror or str(problem)
        )
        return ConnectionAttempt(addresses, lookup_ms, None, None, None, None, message)
    connect_ms = _ms(began_s)
    with plain:
        if endpoint.tls is None:
            return ConnectionAttempt(addresses, lookup_ms, connect_ms, None, None, None, None)
        began_s = time.perf_counter()
        try:
            with endpoint.tls.wrap_socket(plain, server_hostname=endpoint.host) as secured:
                tls_version, expires_at = secured.version(), _expiry(secured)
        except ssl.SSLError as problem:
            return ConnectionAttempt(
                addresses, lookup_ms, connect_ms, None, None, None, tls_error_message(problem)
            )
        except OSError as problem:
            return ConnectionAttempt(
                addresses, lookup_ms, connect_ms, None, None, None, f"TLS: {problem.strerror or problem}"
            )
        return ConnectionAttempt(
            addresses, lookup_ms, connect_ms, tls_version, expires_at, _ms(began_s), None
        )


def _ms(began_s: float) -> float:
    return (time.perf_counter() - began_s) * 1000


def _expiry(secured: ssl.SSLSocket) -> datetime | None:
    certificate = secured.getpeercert() or {}  # empty if it was not verified
    until = certificate.get("notAfter")
    if not isinstance(until, str):
        return None
    try:
        return datetime.fromtimestamp(ssl.cert_time_to_seconds(until), UTC)
    except (ValueError, OverflowError):  # a date that no calendar has
        return None
