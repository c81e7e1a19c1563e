"""Authenticates and validates a request before any run is looked up or started."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any
from zoneinfo import available_timezones

from aiohttp import web
from pydantic import ValidationError

from harness.profiles.workflow_actions.event_id import StreamId
from harness.profiles.workflow_actions.request import WorkflowActionRequest
from harness.reference.actions import BadActionError, Tokens, prepare_action
from harness.reference.responses import ApiBase, Rejection, canonical_json

MAX_KEY_LENGTH = 255

_OPTIONAL_FIELDS = tuple(
    name for name, field in WorkflowActionRequest.model_fields.items() if not field.is_required()
)


@dataclass(frozen=True, slots=True)
class Submission:
    """A valid request for a run. organization: that of the authenticated principal."""

    http: web.BaseRequest
    organization: str
    body: Mapping[str, Any]
    request: WorkflowActionRequest


@cache
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones())


class RequestChecks(ApiBase):
    """Each method checks one part of a request, and raises Rejection if it is wrong."""

    def authenticate(self, http: web.BaseRequest) -> str:
        """The organization of the request's principal."""
        token = self.bearer_token(http)
        if token is None:
            raise Rejection(
                401,
                "token_missing",
                "An Authorization header with a bearer token is required.",
                {"WWW-Authenticate": 'Bearer realm="agent"'},
            )
        organization = self.organization_of(token)
        if organization is None:
            raise Rejection(
                401,
                "token_invalid",
                "The bearer token is not valid.",
                {"WWW-Authenticate": 'Bearer realm="agent", error="invalid_token"'},
            )
        return organization

    def bearer_token(self, http: web.BaseRequest) -> str | None:
        values = http.headers.getall("Authorization", [])
        scheme, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
        return token.strip() if scheme.lower() == "bearer" and token.strip() else None

    def organization_of(self, token: str) -> str | None:
        return self.settings.principals.get(token)

    def authorize(self, submission: Submission) -> None:
        """OrganizationId must be the principal's organization; checked before any key or run is looked up."""
        if submission.request.organizationId != submission.organization:
            raise Rejection(
                403, "organization_mismatch", "organizationId is not the organization of your token."
            )

    async def read_body(self, http: web.BaseRequest) -> bytes:
        if not self.accepts_media_type(http):
            raise Rejection(415, "media_type", "The body must be application/json in UTF-8.")
        too_large = Rejection(413, "too_large", f"The body exceeds {self.settings.max_body_bytes} bytes.")
        if (http.content_length or 0) > self.settings.max_body_bytes:
            raise too_large
        if http.headers.get("Expect", "").lower() == "100-continue":
            await http.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            http.writer.output_size = 0
        try:
            return await http.read()
        except web.HTTPRequestEntityTooLarge:
            raise too_large from None
        except web.RequestPayloadError:
            raise Rejection(400, "bad_framing", "Invalid HTTP/1.1 framing of the body.") from None

    def accepts_media_type(self, http: web.BaseRequest) -> bool:
        return http.content_type == "application/json" and (http.charset or "utf-8").lower() == "utf-8"

    def decode(self, raw: bytes) -> dict[str, Any]:
        """The body as a JSON object that can be encoded again."""
        try:
            body = json.loads(raw.decode("utf-8"))
            canonical_json(body)
        except UnicodeError:
            raise Rejection(400, "not_unicode", "The body is not valid Unicode text in UTF-8.") from None
        except ValueError:
            raise Rejection(
                400, "not_json", "The body is not JSON, or contains a number out of range."
            ) from None
        except RecursionError:
            raise Rejection(400, "too_deep", "The body is nested too deeply.") from None
        if not isinstance(body, dict):
            raise Rejection(400, "not_object", "The body must be a JSON object.")
        return body

    def validate(self, body: Mapping[str, Any]) -> WorkflowActionRequest:
        errors = [f"{name}: must not be null; omit the field" for name in self.null_fields(body)]
        try:
            request = WorkflowActionRequest.model_validate(body)
        except ValidationError as problem:
            errors += [
                f"{'.'.join(str(part) for part in error['loc'][:3])}: {error['msg']}"
                for error in problem.errors(include_url=False, include_input=False)[:10]
            ]
        if errors:
            raise Rejection(422, "invalid_request", "; ".join(errors))
        if not self.knows_time_zone(request.userTimezone):
            raise Rejection(422, "invalid_request", "userTimezone: not an IANA time zone")
        return request

    def null_fields(self, body: Mapping[str, Any]) -> list[str]:
        """Optional fields sent as null; the API allows only omission or a value of their type."""
        return [name for name in _OPTIONAL_FIELDS if name in body and body[name] is None]

    def knows_time_zone(self, name: str | None) -> bool:
        return name is None or name in _time_zones()

    def idempotency_key(self, http: web.BaseRequest) -> str | None:
        values = http.headers.getall("Idempotency-Key", [])
        if not values:
            return None
        key = values[0]
        if len(values) > 1 or not 0 < len(key) <= MAX_KEY_LENGTH or not (key.isascii() and key.isprintable()):
            raise Rejection(
                400,
                "bad_idempotency_key",
                f"Idempotency-Key must be one value of 1 to {MAX_KEY_LENGTH} printable ASCII characters.",
            )
        return key

    def last_event_id(self, http: web.BaseRequest) -> StreamId | None:
        values = http.headers.getall("Last-Event-ID", [])
        if not values:
            return None
        try:
            return StreamId.parse(values[0] if len(values) == 1 else "")
        except ValueError:
            raise Rejection(
                400,
                "bad_last_event_id",
                "Last-Event-ID must be an id of the form <milliseconds>-<sequence>.",
            ) from None

    def previous_outputs(self, submission: Submission) -> list[str]:
        """The outputs of earlier steps, for the action: the texts of the field "output", in their order."""
        entries = submission.request.previousOutputs or []
        found = (entry.get("output") for entry in entries)
        return [output for output in found if isinstance(output, str)]

    def action(self, submission: Submission) -> Callable[[], Tokens]:
        try:
            return prepare_action(
                submission.body["workflowAction"], partial(self.previous_outputs, submission)
            )
        except BadActionError as problem:
            raise Rejection(422, "invalid_request", str(problem)) from None
