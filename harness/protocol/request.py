"""An HTTP request, before it is sent."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

FIELD_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""The name of a header field (RFC 9110, 5.1)."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One HTTP/1.1 request; header fields keep their order.

    values: what its template was filled with, for later requests about the same run. origin: the base URL of the
    replica to send it to; None for the target's own.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    values: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    origin: str | None = field(default=None, compare=False)

    @classmethod
    def post_json(cls, target: str, headers: tuple[tuple[str, str], ...], body: Any) -> Self:
        """A POST request with `body` as JSON."""
        return cls("POST", target, headers, json.dumps(body, ensure_ascii=False).encode())

    def __repr__(self) -> str:
        # Tracebacks show it, cut at any place; header fields hold the token.
        names = ", ".join(name for name, _ in self.headers)
        return f"<{self.method} {self.target} ({names}), {len(self.body)} bytes>"

    def header(self, name: str) -> str | None:
        """The first value of header field `name`, case-insensitive; None if absent."""
        lower, size = name.lower(), len(name)
        for key, value in self.headers:  # each request of a load is asked more than once: no generator
            if len(key) == size and key.lower() == lower:
                return value
        return None

    def with_header(self, name: str, value: str | None) -> Self:
        """A copy with header field `name` set to `value`, or without it if `value` is None."""
        lower = name.lower()
        kept = tuple([field for field in self.headers if field[0].lower() != lower])
        headers = kept if value is None else (*kept, (name, value))
        return type(self)(self.method, self.target, headers, self.body, self.values)  # replace takes 5 us

    def with_body(self, body: bytes) -> Self:
        """A copy with a different body."""
        return replace(self, body=body)

    def json(self) -> Any:
        """The body as a JSON value. Raises ValueError when it is not JSON."""
        return json.loads(self.body)

    def at(self, origin: str | None) -> Self:
        """A copy that is sent to the replica with this base URL."""
        return replace(self, origin=origin)

    def with_json(self, body: Any) -> Self:
        """A copy with a different JSON body."""
        return replace(self, body=json.dumps(body, ensure_ascii=False).encode())
