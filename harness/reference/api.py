"""The API's behaviour, one small method for each promise, so that a fault can break exactly one of them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote
from zoneinfo import available_timezones

from aiohttp import web
from pydantic import ValidationError

from harness.profiles.workflow_actions.event_id import StreamId
from harness.profiles.workflow_actions.request import WorkflowActionRequest
from harness.reference.actions import (
    ActionCancelledError,
    ActionFailedError,
    BadActionError,
    Tokens,
    prepare_action,
)
from harness.reference.openapi import OPENAPI_PATH, openapi_document
from harness.reference.runs import Event, RegistryFullError, Run, RunKey, RunRegistry, next_id
from harness.reference.settings import OTHER_PATH, ServerSettings

logger = logging.getLogger(__name__)

MAX_KEY_LENGTH = 255
HEARTBEAT = b": heartbeat\n\n"
EVENT_STREAM = "text/event-stream"

_CANCEL_PATH = re.compile(re.escape(OTHER_PATH) + "/([^/]+)/cancel")
_OPTIONAL = tuple(
    name for name, field in WorkflowActionRequest.model_fields.items() if not field.is_required()
)
_encode_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

Payload = dict[str, Any]
Handler = Callable[[web.BaseRequest], Any]


class Rejection(Exception):  # noqa: N818 - an answer, not an error of ours
    """The request is refused: `status`, a `code` for programs, a sentence for people."""

    def __init__(self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers or {}


def common_headers() -> dict[str, str]:
    """What every answer carries."""
    return {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def problem_response(rejection: Rejection, headers: Mapping[str, str]) -> web.Response:
    """The one shape of every refusal: a problem document (RFC 9457)."""
    document = {
        "type": "about:blank",
        "title": HTTPStatus(rejection.status).phrase,
        "status": rejection.status,
        "code": rejection.code,
        "detail": rejection.detail,
    }
    return web.Response(
        status=rejection.status,
        body=_encode_json(document).encode(),
        headers={**headers, "Content-Type": "application/problem+json", **rejection.headers},
    )


@dataclass(frozen=True, slots=True)
class Submission:
    """A request for a run, read and found valid: who asks, and for what."""

    http: web.BaseRequest
    organization: str
    body: Mapping[str, Any]
    request: WorkflowActionRequest


@dataclass(slots=True, eq=False, weakref_slot=True)
class Connection:
    """One stream of a run.

    index: the run's events before it are sent or skipped. started_run: this request began the run, rather
    than having found it. joined: it found the run still going. opened_s: when, on the monotonic clock.
    """

    run: Run
    index: int
    started_run: bool
    joined: bool
    opened_s: float = field(default_factory=time.monotonic)


@cache
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones())


class ReferenceApi:
    """Answers requests. Runs belong to it and not to the connections that read them."""

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.registry = RunRegistry(ttl_s=settings.run_ttl_s, max_runs=settings.max_runs)

    # Requests in, answers out.

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        """Answer one HTTP request."""
        try:
            return await self.route(http)
        except Rejection as rejection:
            answer = self.conflict if rejection.status == 409 else self.reject
            return answer(http, rejection)

    async def route(self, http: web.BaseRequest) -> web.StreamResponse:
        if http.path == OPENAPI_PATH and http.method == "GET":
            return self.describe()
        if http.path in {self.settings.path, OTHER_PATH}:
            handler: Handler = self.execute
        elif _CANCEL_PATH.fullmatch(http.rel_url.raw_path):
            handler = self.cancel
        else:
            raise Rejection(404, "not_found", "There is nothing at this path.")
        if http.method != "POST":
            return self.wrong_method(http)
        answer: web.StreamResponse = await handler(http)
        return answer

    def describe(self) -> web.Response:
        """The OpenAPI description."""
        return web.Response(
            body=_encode_json(openapi_document(self.settings.path, OTHER_PATH)).encode(),
            headers={**self.common_headers(), "Content-Type": "application/json"},
        )

    def wrong_method(self, http: web.BaseRequest) -> web.StreamResponse:  # noqa: ARG002 - faults look at it
        raise Rejection(405, "method_not_allowed", "Only POST is allowed here.", {"Allow": "POST"})

    async def execute(self, http: web.BaseRequest) -> web.StreamResponse:
        """Start the run that is asked for, or resume it, and stream it."""
        organization = self.authenticate(http)
        body = self.decode(await self.read_body(http))
        submission = Submission(http, organization, body, self.validate(body))
        self.authorize(submission)
        key = self.idempotency_key(http)
        last_seen = self.last_event_id(http)
        action = self.action(submission)
        run = self.find(submission, key)
        started = run is None
        if run is None:
            run = self.start(submission, key, action)
        elif self.conflicts(run, submission):
            self.on_conflict(run, submission)
            raise self.conflict_of(run)
        joined = not started and not run.ended
        return await self.stream(http, Connection(run, self.resume_index(run, last_seen), started, joined))

    async def cancel(self, http: web.BaseRequest) -> web.StreamResponse:
        """Cancel a running run; its streams end with `cancelled`. A run that has ended stays as it is."""
        organization = self.authenticate(http)
        match = _CANCEL_PATH.fullmatch(http.rel_url.raw_path)
        run = self.registry.find_by_run_id(organization, unquote(match[1])) if match else None
        if run is None:
            raise Rejection(404, "no_such_run", "There is no run of this id in your organization.")
        if not run.ended:
            self.finish(run, {"type": "cancelled", "runId": run.run_id})
        document = {"runId": run.run_id, "state": run.events[-1].type if run.events else "ended"}
        return web.Response(
            body=_encode_json(document).encode(),
            headers={**self.common_headers(), "Content-Type": "application/json"},
        )

    def reject(self, http: web.BaseRequest, rejection: Rejection) -> web.StreamResponse:  # noqa: ARG002
        return problem_response(rejection, self.common_headers())

    def conflict(self, http: web.BaseRequest, rejection: Rejection) -> web.StreamResponse:
        """A conflict is told as a stream of one error event, with status 409."""
        payload = {"type": "error", "status": 409, "code": rejection.code, "message": rejection.detail}
        event = Event(next_id(None, time.time_ns() // 1_000_000), "error", self.event_data(payload))
        return web.Response(status=409, body=self.encode_frame(event), headers=self.stream_headers(http))

    def common_headers(self) -> dict[str, str]:
        return common_headers()

    # Who asks.

    def authenticate(self, http: web.BaseRequest) -> str:
        """The organization of the principal that asks."""
        token = self.bearer_token(http)
        if token is None:
            raise Rejection(
                401,
                "token_missing",
                "An Authorization header with one bearer token is required.",
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
        """The run must belong to the principal's own organization; told before anything of keys or runs."""
        if submission.request.organizationId != submission.organization:
            raise Rejection(
                403, "organization_mismatch", "organizationId is not the organization of your token."
            )

    # What is asked.

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
            raise Rejection(400, "bad_framing", "The body is not framed as HTTP/1.1 requires.") from None

    def accepts_media_type(self, http: web.BaseRequest) -> bool:
        return http.content_type == "application/json" and (http.charset or "utf-8").lower() == "utf-8"

    def decode(self, raw: bytes) -> dict[str, Any]:
        """The body as a JSON object that can be written as JSON again."""
        try:
            body = json.loads(raw.decode("utf-8"))
            canonical_json(body)
        except UnicodeError:
            raise Rejection(400, "not_unicode", "The body is not valid Unicode text in UTF-8.") from None
        except ValueError:
            raise Rejection(
                400, "not_json", "The body is not JSON, or holds a number out of range."
            ) from None
        except RecursionError:
            raise Rejection(400, "too_deep", "The body is nested too deeply.") from None
        if not isinstance(body, dict):
            raise Rejection(400, "not_object", "The body must be a JSON object.")
        return body

    def validate(self, body: Mapping[str, Any]) -> WorkflowActionRequest:
        wrong = [f"{name}: null is no value; leave the field out" for name in self.null_fields(body)]
        try:
            request = WorkflowActionRequest.model_validate(body)
        except ValidationError as problem:
            wrong += [
                f"{'.'.join(str(part) for part in error['loc'][:3])}: {error['msg']}"
                for error in problem.errors(include_url=False, include_input=False)[:10]
            ]
        if wrong:
            raise Rejection(422, "invalid_request", "; ".join(wrong))
        if not self.knows_time_zone(request.userTimezone):
            raise Rejection(422, "invalid_request", "userTimezone: not the name of an IANA time zone")
        return request

    def null_fields(self, body: Mapping[str, Any]) -> list[str]:
        """Optional fields that are sent as null: the API documents them as left out, or of their type."""
        return [name for name in _OPTIONAL if name in body and body[name] is None]

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
                "Last-Event-ID must be one id of this API, <milliseconds>-<sequence>.",
            ) from None

    def action(self, submission: Submission) -> Callable[[], Tokens]:
        try:
            return prepare_action(submission.body["workflowAction"])
        except BadActionError as problem:
            raise Rejection(422, "invalid_request", str(problem)) from None

    # Which run it is.

    def identity(self, submission: Submission, key: str | None) -> RunKey | None:
        """What the run is found by. The key alone decides; only without one does `runId` do its work."""
        if key is not None:
            return submission.organization, "key", key
        run_id = submission.request.runId
        return None if run_id is None else (submission.organization, "runId", run_id)

    def fingerprint(self, body: Mapping[str, Any]) -> bytes:
        """Equal for equal bodies: every value counts, key order and white space do not."""
        return hashlib.sha256(canonical_json(body)).digest()

    def find(self, submission: Submission, key: str | None) -> Run | None:
        identity = self.identity(submission, key)
        return None if identity is None else self.registry.find(identity)

    def conflicts(self, run: Run, submission: Submission) -> bool:
        return run.fingerprint != self.fingerprint(submission.body)

    def on_conflict(self, run: Run, submission: Submission) -> None:
        """The run that was there first goes on."""

    def conflict_of(self, run: Run) -> Rejection:  # noqa: ARG002 - says nothing of it
        return Rejection(
            409, "idempotency_conflict", "This Idempotency-Key or runId was used with another request body."
        )

    # The run itself.

    def start(self, submission: Submission, key: str | None, action: Callable[[], Tokens]) -> Run:
        run_id = self.run_id(submission)
        run = Run(
            submission.organization,
            run_id,
            self.fingerprint(submission.body),
            self.identity(submission, key),
        )
        self.launch(run, action)
        return run

    def launch(self, run: Run, action: Callable[[], Tokens]) -> None:
        try:
            self.registry.add(run)
        except RegistryFullError:
            raise Rejection(
                503, "no_capacity", "No further run can be started now.", {"Retry-After": "1"}
            ) from None
        run.task = asyncio.create_task(self.perform(run, action))

    def run_id(self, submission: Submission) -> str:
        own = submission.request.runId
        return str(uuid.uuid4()) if own is None else own

    async def perform(self, run: Run, action: Callable[[], Tokens]) -> None:
        """Execute the action to its end, whoever is listening."""
        outcome: Payload = {"type": "done", "runId": run.run_id}
        try:
            await asyncio.sleep(self.settings.first_token_delay_s)
            async for token in action():
                self.publish(run, {"type": "token", "content": token})
        except ActionCancelledError:
            outcome["type"] = "cancelled"
        except ActionFailedError as failure:
            outcome |= {"type": "error", "code": failure.code, "message": failure.message}
        except Exception:
            logger.exception("an action broke")
            outcome |= {"type": "error", "code": "internal", "message": "the action broke"}
        self.finish(run, outcome)

    def publish(self, run: Run, payload: Payload) -> None:
        run.append(Event(self.event_id(run), payload["type"], self.event_data(payload)))

    def finish(self, run: Run, outcome: Payload) -> None:
        """End the run with its one terminal event; an action that is still going on is stopped."""
        self.publish(run, outcome)
        self.close_run(run)

    def close_run(self, run: Run) -> None:
        run.end()
        self.registry.retire(run)
        if run.task is not None and run.task is not asyncio.current_task():
            run.task.cancel()

    def event_id(self, run: Run) -> StreamId:
        return next_id(run.last_id, time.time_ns() // 1_000_000)

    def event_data(self, payload: Payload) -> str:
        return _encode_json(payload)

    # The stream.

    def stream_headers(self, http: web.BaseRequest) -> dict[str, str]:  # noqa: ARG002 - tells nothing of it
        return {**self.common_headers(), "Content-Type": EVENT_STREAM, "X-Accel-Buffering": "no"}

    def resume_index(self, run: Run, last_seen: StreamId | None) -> int:
        """After the event of that id. Without one, or with one this run never had: from the first event."""
        index = None if last_seen is None else run.index_after(last_seen)
        return 0 if index is None else index

    async def stream(self, http: web.BaseRequest, reader: Connection) -> web.StreamResponse:
        response = web.StreamResponse(headers=self.stream_headers(http))
        try:
            await response.prepare(http)
            async with aclosing(self.chunks(reader)) as chunks:
                async for chunk in chunks:
                    await self.write(response, chunk)
            await self.complete(http, response)
        except ConnectionError:
            self.on_disconnect(reader)
        return response

    async def write(self, response: web.StreamResponse, chunk: bytes) -> None:
        """Send; waits while the client's own buffers are full, and only this stream waits."""
        await response.write(chunk)

    async def chunks(self, reader: Connection) -> AsyncGenerator[bytes, None]:
        """The stream's bytes, as soon as there are any."""
        run = reader.run
        while True:
            due = self.due(reader)
            reader.index = max(reader.index, len(run.events))
            if due:
                yield b"".join([self.encode_frame(event) for event in due])
            if run.ended and reader.index >= len(run.events):
                return
            if not await run.more_than(reader.index, self.settings.heartbeat_s):
                yield self.heartbeat(run)

    def due(self, reader: Connection) -> list[Event]:
        """The events that the stream carries next."""
        return reader.run.events[reader.index :]

    def encode_frame(self, event: Event) -> bytes:
        return f"id: {event.id}\ndata: {event.data}\n\n".encode()

    def heartbeat(self, run: Run) -> bytes:  # noqa: ARG002 - says nothing of it
        return HEARTBEAT

    async def complete(self, http: web.BaseRequest, response: web.StreamResponse) -> None:  # noqa: ARG002
        """End the HTTP message."""
        await response.write_eof()

    def on_disconnect(self, reader: Connection) -> None:
        """The reader is gone; the run goes on."""

    # The end.

    async def close(self, grace_s: float) -> None:
        """Take no new runs, let running ones finish for `grace_s` seconds, then end them with `error`."""
        self.registry.close()
        tasks = [run.task for run in self.registry.running if run.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=grace_s)
        for run in self.registry.running:
            self.finish(
                run, {"type": "error", "runId": run.run_id, "code": "shutdown", "message": "shut down"}
            )


def canonical_json(value: Any) -> bytes:
    """One spelling for equal JSON values: keys sorted, no white space (in the manner of RFC 8785).

    Raises ValueError for an infinite number, UnicodeEncodeError for a lone surrogate and RecursionError
    where the value is nested too deeply: none of them could be sent on.
    """
    return json.dumps(
        value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
    ).encode()
