"""The API's behaviour, in small methods, so that a fault can override exactly one of them.

request_checks, run_execution and streaming hold the methods of each step; ReferenceApi routes requests through them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from harness.reference.openapi import OPENAPI_PATH, openapi_document
from harness.reference.request_checks import MAX_KEY_LENGTH, RequestChecks, Submission
from harness.reference.responses import (
    Payload,
    Rejection,
    canonical_json,
    common_headers,
    encode_json,
    problem_response,
)
from harness.reference.run_execution import RunExecution
from harness.reference.runs import Event, next_id
from harness.reference.settings import OTHER_PATH
from harness.reference.streaming import EVENT_STREAM, HEARTBEAT, Connection, RunStreaming

__all__ = [
    "EVENT_STREAM",
    "HEARTBEAT",
    "MAX_KEY_LENGTH",
    "Connection",
    "Payload",
    "ReferenceApi",
    "Rejection",
    "Submission",
    "canonical_json",
    "common_headers",
    "problem_response",
]

_CANCEL_PATH = re.compile(re.escape(OTHER_PATH) + "/([^/]+)/cancel")

Handler = Callable[[web.BaseRequest], Any]


class ReferenceApi(RequestChecks, RunExecution, RunStreaming):
    """Answers HTTP requests."""

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        """Answer one HTTP request."""
        try:
            return await self.route(http)
        except Rejection as rejection:
            respond = self.conflict if rejection.status == 409 else self.reject
            return respond(http, rejection)

    async def route(self, http: web.BaseRequest) -> web.StreamResponse:
        if http.path == OPENAPI_PATH and http.method == "GET":
            return self.describe()
        if http.path in {self.settings.path, OTHER_PATH}:
            handler: Handler = self.execute
        elif _CANCEL_PATH.fullmatch(http.rel_url.raw_path):
            handler = self.cancel
        else:
            raise Rejection(404, "not_found", "No resource at this path.")
        if http.method != "POST":
            return self.wrong_method(http)
        response: web.StreamResponse = await handler(http)
        return response

    def describe(self) -> web.Response:
        """The OpenAPI description."""
        return web.Response(
            body=encode_json(openapi_document(self.settings.path, OTHER_PATH)).encode(),
            headers={**self.common_headers(), "Content-Type": "application/json"},
        )

    def wrong_method(self, http: web.BaseRequest) -> web.StreamResponse:  # noqa: ARG002 - used by faults
        raise Rejection(405, "method_not_allowed", "Only POST is allowed here.", {"Allow": "POST"})

    async def execute(self, http: web.BaseRequest) -> web.StreamResponse:
        """Start the requested run, or resume it, and stream it."""
        organization = self.authenticate(http)
        body = self.decode(await self.read_body(http))
        submission = Submission(http, organization, body, self.validate(body))
        self.authorize(submission)
        key = self.idempotency_key(http)
        last_seen = self.last_event_id(http)
        action = self.action(submission)
        run, started = self.find_or_start(submission, key, action)
        if not started and self.conflicts(run, submission):
            self.on_conflict(run, submission)
            raise self.conflict_of(run)
        joined = not started and not run.ended
        return await self.stream(http, Connection(run, self.resume_index(run, last_seen), started, joined))

    async def cancel(self, http: web.BaseRequest) -> web.StreamResponse:
        """Cancel a run in flight; its streams end with `cancelled`. A finished run is left unchanged."""
        organization = self.authenticate(http)
        match = _CANCEL_PATH.fullmatch(http.rel_url.raw_path)
        run = self.registry.find_by_run_id(organization, unquote(match[1])) if match else None
        if run is None:
            raise Rejection(404, "no_such_run", "Your organization has no run with this id.")
        self.cancel_run(run)
        document = {"runId": run.run_id, "state": run.events[-1].type if run.events else "ended"}
        return web.Response(
            body=encode_json(document).encode(),
            headers={**self.common_headers(), "Content-Type": "application/json"},
        )

    def reject(self, http: web.BaseRequest, rejection: Rejection) -> web.StreamResponse:  # noqa: ARG002
        return problem_response(rejection, self.common_headers())

    def conflict(self, http: web.BaseRequest, rejection: Rejection) -> web.StreamResponse:
        """A conflict is a stream with one error event, and status 409."""
        payload = {"type": "error", "status": 409, "code": rejection.code, "message": rejection.detail}
        event = Event(next_id(None, time.time_ns() // 1_000_000), "error", self.event_data(payload))
        return web.Response(status=409, body=self.encode_frame(event), headers=self.stream_headers(http))
