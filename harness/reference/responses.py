"""What every part of the API answers with: the base class with its state, refusals, JSON encoding."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import web

from harness.reference.runs import RunRegistry
from harness.reference.settings import ServerSettings
from harness.reference.shared_runs import SharedRegistry
from harness.reference.store import open_store

Payload = dict[str, Any]
"""An event's data before encoding."""

encode_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Rejection(Exception):  # noqa: N818 - an HTTP response, not an internal error
    """The request is refused, with a status, a machine-readable `code` and a sentence for humans."""

    def __init__(self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers or {}


def common_headers() -> dict[str, str]:
    """Header fields of every response."""
    return {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def problem_response(rejection: Rejection, headers: Mapping[str, str]) -> web.Response:
    """A refusal as a problem document (RFC 9457)."""
    document = {
        "type": "about:blank",
        "title": HTTPStatus(rejection.status).phrase,
        "status": rejection.status,
        "code": rejection.code,
        "detail": rejection.detail,
    }
    return web.Response(
        status=rejection.status,
        body=encode_json(document).encode(),
        headers={**headers, "Content-Type": "application/problem+json", **rejection.headers},
    )


class ApiBase:
    """The state that all parts of the API share."""

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.registry = self.new_registry()

    def new_registry(self) -> RunRegistry:
        """Where runs are kept: in this process, or in the store of the settings.

        Raises OSError if that cannot be opened, and ValueError if its address is wrong.
        """
        settings = self.settings
        if settings.store is None:
            return RunRegistry(ttl_s=settings.run_ttl_s, max_runs=settings.max_runs)
        return SharedRegistry(
            open_store(settings.store),
            owner=settings.replica,
            generation=settings.generation,
            ttl_s=settings.run_ttl_s,
            max_runs=settings.max_runs,
        )

    def common_headers(self) -> dict[str, str]:
        return common_headers()


def canonical_json(value: Any) -> bytes:
    """Canonical text of a JSON value: sorted keys, no white space (similar to RFC 8785).

    Raises ValueError for an infinite number, UnicodeEncodeError for a lone surrogate, and RecursionError for too
    deep nesting: none of these can be encoded again.
    """
    return json.dumps(
        value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
    ).encode()
