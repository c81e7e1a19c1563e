"""Faults that violate the security requirements."""

from __future__ import annotations

from aiohttp import web

from harness.contract.rules import security
from harness.reference.api import (
    Rejection,
)
from harness.reference.faults.base import Fault


class TokenEchoed(Fault, name="token-echoed", breaks=security.no_secrets):
    """Repeats the Authorization header in the detail of a rejection."""

    def reject(self, http: web.BaseRequest, rejection: Rejection) -> web.StreamResponse:
        sent = http.headers.get("Authorization", "nothing").encode("ascii", "replace").decode()
        detail = f"{rejection.detail} You sent: {sent}"
        return super().reject(http, Rejection(rejection.status, rejection.code, detail, rejection.headers))


class WildcardCors(Fault, name="wildcard-cors", breaks=security.cors):
    """Opens the API to every web page, credentials included."""

    def common_headers(self) -> dict[str, str]:
        return {
            **super().common_headers(),
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Allow-Credentials": "true",
        }


class SniffableErrors(Fault, name="sniffable-errors", breaks=security.nosniff):
    """Omits nosniff on rejections, which take a different code path."""

    def reject(self, http: web.BaseRequest, rejection: Rejection) -> web.StreamResponse:
        answer = super().reject(http, rejection)
        answer.headers.popall("X-Content-Type-Options", None)
        return answer
