"""The target's host, port and TLS settings."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Host and port of the target. tls: None for plain HTTP."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None

    @classmethod
    def from_url(cls, base_url: str, *, verify: bool = True, ca_file: str | None = None) -> Self:
        """Parse ``http[s]://host[:port]``.

        Certificates are verified against the system's CAs, or those in `ca_file`, unless `verify` is False.
        Raises ValueError for a different scheme or a missing host, OSError for an unreadable `ca_file`.
        """
        try:
            parts = urlsplit(base_url)
            host, port = (parts.hostname or "").encode("idna").decode(), parts.port
        except ValueError as problem:  # includes UnicodeError, for an invalid host name
            raise ValueError(
                f"target {base_url!r} is not a URL of the form http[s]://host[:port]: {problem}"
            ) from None
        if parts.scheme not in {"http", "https"} or not host:
            raise ValueError(f"target {base_url!r} is not a URL of the form http[s]://host[:port]")
        if parts.scheme == "http":
            return cls(host, port or 80)
        context = ssl.create_default_context(cafile=ca_file)
        context.set_alpn_protocols(["http/1.1"])
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return cls(host, port or 443, context)

    @property
    def authority(self) -> str:
        """Value of the Host header field."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.tls else 80
        return host if self.port == default else f"{host}:{self.port}"
