"""Faults that violate the input requirements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web

from harness.contract.rules import input  # noqa: A004 - the area's name
from harness.profiles.workflow_actions.request import WorkflowActionRequest
from harness.reference.api import (
    Rejection,
)
from harness.reference.faults.base import Fault
from harness.reference.settings import ServerSettings


def internal_error() -> Rejection:
    return Rejection(500, "internal", "The server failed on this request.")


def _broken_by(
    codes: frozenset[str], decode: Callable[[bytes], dict[str, Any]], raw: bytes
) -> dict[str, Any]:
    try:
        return decode(raw)
    except Rejection as rejection:
        raise (internal_error() if rejection.code in codes else rejection) from None


class BadJsonBreaks(Fault, name="bad-json-breaks", breaks=input.not_json):
    """Fails with 500 on a body that is not a JSON object."""

    def decode(self, raw: bytes) -> dict[str, Any]:
        return _broken_by(frozenset({"not_json", "not_object"}), super().decode, raw)


class DeepNestingBreaks(Fault, name="deep-nesting-breaks", breaks=input.hostile):
    """Overflows its stack on a deeply nested body."""

    def decode(self, raw: bytes) -> dict[str, Any]:
        return _broken_by(frozenset({"too_deep"}), super().decode, raw)


class LoneSurrogateBreaks(Fault, name="lone-surrogate-breaks", breaks=input.hostile):
    """Fails with 500 on a string with a lone surrogate, which JSON can escape but UTF-8 cannot encode."""

    def decode(self, raw: bytes) -> dict[str, Any]:
        return _broken_by(frozenset({"not_unicode"}), super().decode, raw)


class MissingFieldAccepted(Fault, name="missing-field-accepted", breaks=input.required):
    """Makes up a session if the client sends none."""

    def validate(self, body: Mapping[str, Any]) -> WorkflowActionRequest:
        return super().validate({"sessionId": "anonymous", **body})


class FieldNotNamed(Fault, name="field-not-named", breaks=input.required_named):
    """Rejects an invalid body without saying what is wrong."""

    def validate(self, body: Mapping[str, Any]) -> WorkflowActionRequest:
        try:
            return super().validate(body)
        except Rejection as rejection:
            raise Rejection(rejection.status, rejection.code, "The request is invalid.") from None


class TypesCoerced(Fault, name="types-coerced", breaks=input.types):
    """Converts numbers and booleans to strings instead of rejecting them."""

    def validate(self, body: Mapping[str, Any]) -> WorkflowActionRequest:
        texts = ("sessionId", "fileThreadId", "runId")
        coerced = {name: str(body[name]) for name in texts if isinstance(body.get(name), int | float)}
        return super().validate({**body, **coerced})


class AnySourceAccepted(Fault, name="any-source-accepted", breaks=input.source):
    """Accepts any string as source."""

    def validate(self, body: Mapping[str, Any]) -> WorkflowActionRequest:
        is_text = isinstance(body.get("source"), str)
        return super().validate({**body, "source": "other"} if is_text else body)


class AnyTimeZoneAccepted(Fault, name="any-time-zone-accepted", breaks=input.timezone):
    """Stores the time zone without looking it up."""

    def knows_time_zone(self, name: str | None) -> bool:  # noqa: ARG002
        return True


class AnyMediaTypeAccepted(Fault, name="any-media-type-accepted", breaks=input.media_type):
    """Parses every body as JSON, whatever its Content-Type."""

    def accepts_media_type(self, http: web.BaseRequest) -> bool:  # noqa: ARG002
        return True


class UnlimitedBody(Fault, name="unlimited-body", breaks=input.too_large):
    """Reads bodies of any size into memory."""

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(replace(settings, max_body_bytes=2**30))


class TextualRejections(Fault, name="textual-rejections", breaks=input.error_shape):
    """Rejects tokens in a gateway that sends plain text instead of problem details."""

    def reject(self, http: web.BaseRequest, rejection: Rejection) -> web.StreamResponse:
        if rejection.status != 401:
            return super().reject(http, rejection)
        headers = {**self.common_headers(), **rejection.headers}
        return web.Response(status=401, text=rejection.detail, headers=headers)
