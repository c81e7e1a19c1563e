"""The way to the target, step by step: its name, a connection, the certificate. The clients do all this in one go."""

from __future__ import annotations

import socket
import ssl
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from harness.transport.endpoint import Endpoint
from harness.transport.tls import reason

_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Connection:
    """What a connection came to. A `problem` stands for the step that failed; what came after is None.

    expires_at: of the certificate, where it was checked.
    """

    addresses: tuple[str, ...]
    lookup_ms: float
    connect_ms: float | None
    tls_version: str | None
    expires_at: datetime | None
    handshake_ms: float | None
    problem: str | None


def connect(endpoint: Endpoint, patience_s: float = _PATIENCE_S) -> Connection:
    """Look up, connect, shake hands, and close again."""
    began_s = time.perf_counter()
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except OSError as problem:
        return Connection((), _ms(began_s), None, None, None, None, problem.strerror or str(problem))
    addresses = tuple(dict.fromkeys(str(one[4][0]) for one in found))
    lookup_ms = _ms(began_s)
    began_s = time.perf_counter()
    try:
        plain = socket.create_connection((endpoint.host, endpoint.port), patience_s)
    except OSError as problem:
        words = (
            "nobody answered in time"
            if isinstance(problem, TimeoutError)
            else problem.strerror or str(problem)
        )
        return Connection(addresses, lookup_ms, None, None, None, None, words)
    connect_ms = _ms(began_s)
    with plain:
        if endpoint.tls is None:
            return Connection(addresses, lookup_ms, connect_ms, None, None, None, None)
        began_s = time.perf_counter()
        try:
            with endpoint.tls.wrap_socket(plain, server_hostname=endpoint.host) as secured:
                tls_version, expires_at = secured.version(), _expiry(secured)
        except ssl.SSLError as problem:
            return Connection(addresses, lookup_ms, connect_ms, None, None, None, reason(problem))
        except OSError as problem:
            return Connection(
                addresses, lookup_ms, connect_ms, None, None, None, f"TLS: {problem.strerror or problem}"
            )
        return Connection(addresses, lookup_ms, connect_ms, tls_version, expires_at, _ms(began_s), None)


def _ms(began_s: float) -> float:
    return (time.perf_counter() - began_s) * 1000


def _expiry(secured: ssl.SSLSocket) -> datetime | None:
    certificate = secured.getpeercert() or {}  # empty where it was not checked
    until = certificate.get("notAfter")
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(until), UTC) if isinstance(until, str) else None
