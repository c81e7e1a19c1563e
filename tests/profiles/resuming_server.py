"""The embedded server with an API that resumes runs by requests of their own, and the profile of that API.

A run has no key: its id is in each event, and `GET /runs/ID/events` continues its stream after an id, or from its
first event. `GET /runs/ID` tells how it ended. What else the embedded server can do wrong, it can do here too.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection as Pipe
from typing import Any

from aiohttp import web

from harness.profiles.workflow_actions.event_id import StreamId
from harness.profiles.workflow_actions.events import TERMINAL_TYPES
from harness.reference import server
from harness.reference.api import Connection, Payload, ReferenceApi, Rejection, Submission
from harness.reference.faults.base import FAULTS
from harness.reference.runs import Event, Run, next_id
from harness.reference.server import running
from tests.forked import forked_server, wait_for_close

PROFILE = """
name = "own-requests"
title = "runs that are resumed by their id"
needs = { action = "the workflowAction, an object", organization = "organization of the token" }

[create]
path = "/sessions"
json = {}
keep = { session = "body.session" }

[[create.then]]
path = "/sessions/${session}/open"
json = {}

[run]
path = "/agent/workflow-actions"
json = { organizationId = "${organization}", sessionId = "${session}", workflowAction = "${action}" }

[events]
type = "data.type"
run_id = "data.runId"
token = { is = "token", text = "data.content" }
done = "done"
error = { is = "error", message = "data.message" }
cancelled = "cancelled"
end = "outcome"

[ids]
at = "id"
order = "counter"

[resume]
from = "after"
beginning = ""
method = "GET"
path = "/runs/${run_id}/events?after=${last_id}"

[cancel]
path = "/agent/runs/${run_id}/cancel"

[outcome]
path = "/runs/${run_id}"
field = "body.state"
done = "done"
error = "error"
cancelled = "cancelled"

[rejects]
unauthenticated = 401
malformed = [400, 422]
missing = [400, 422]
required = ["organizationId", "sessionId", "workflowAction"]
"""
BY_REQUEST = '[cancel]\npath = "/agent/runs/${run_id}/cancel"\n'
LEAVING = PROFILE.replace(BY_REQUEST, "[cancel]\ndisconnect = true\n")
"""A run is cancelled when its only reader leaves, as with the fault `disconnect-cancels`, which is none here."""
_OPENING = re.compile("/sessions/([^/]+)/open")
_PATH = re.compile("/runs/([^/]+)(/events)?")


class ResumingApi(ReferenceApi):
    """Numbers the events of a run from 1, and resumes it by its id. A session must be opened before it has runs."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.made = 0
        self.opened: set[str] = set()

    async def route(self, http: web.BaseRequest) -> web.StreamResponse:
        if http.path == "/sessions":
            self.authenticate(http)
            return await self.make_session()
        if opening := _OPENING.fullmatch(http.path):
            self.opened.add(opening[1])
            return web.Response(status=204)
        match = _PATH.fullmatch(http.path)
        if match is None or http.method != "GET":
            return await super().route(http)
        run = self.registry.find_by_run_id(self.authenticate(http), match[1])
        if run is None:
            raise Rejection(404, "no_such_run", "There is no run with this id.")
        if match[2] is None:
            return web.Response(text=json.dumps({"state": self.state(run)}), content_type="application/json")
        return await self.stream(
            http, Connection(run, self.resume_index(run, self.after(http)), False, not run.ended)
        )

    def state(self, run: Run) -> str:
        """How the run ended."""
        return run.events[-1].type if run.ended else "running"

    async def make_session(self) -> web.StreamResponse:
        self.made += 1
        return web.Response(text=json.dumps({"session": f"s-{self.made}"}), content_type="application/json")

    def authorize(self, submission: Submission) -> None:
        super().authorize(submission)
        if submission.request.sessionId not in self.opened:
            raise Rejection(403, "session_not_open", "The session is not open.")

    def after(self, http: web.BaseRequest) -> StreamId | None:
        """The id after which the stream is to start."""
        text = http.query.get("after")
        if text is None:
            return None
        if not re.fullmatch("[0-9]{1,18}", text):
            raise Rejection(400, "bad_id", "The id is not a number.")
        return StreamId(0, int(text))

    def idempotency_key(self, http: web.BaseRequest) -> str | None:
        return None

    def event_id(self, run: Run) -> StreamId:
        return next_id(run.last_id or StreamId(0, 0), 0)

    def publish(self, run: Run, payload: Payload) -> None:
        super().publish(run, {**payload, "runId": run.run_id})

    def encode_frame(self, event: Event) -> bytes:
        return f"id: {event.id.seq}\ndata: {event.data}\n\n".encode()


class LosesOneAfterId(ResumingApi):
    """Leaves out one event more after an id."""

    def resume_index(self, run: Run, last_seen: StreamId | None) -> int:
        index = super().resume_index(run, last_seen)
        return index if last_seen is None else min(index + 1, len(run.events))


class IgnoresId(ResumingApi):
    """Sends the whole run, whatever id is named."""

    def resume_index(self, run: Run, last_seen: StreamId | None) -> int:
        return 0


class ForgetsEndedRuns(ResumingApi):
    """Keeps the events of a run only while it is in flight."""

    def close_run(self, run: Run) -> None:
        super().close_run(run)
        self.registry.forget(run)


class ReportsCancelledAsDone(ResumingApi):
    """Lists a run that was cancelled as a success."""

    def state(self, run: Run) -> str:
        state = super().state(run)
        return "done" if state == "cancelled" else state


class StopsSoon(ResumingApi):
    """Answers a cancel at once, sends the token that was in flight, and ends the run a little later."""

    def cancel_run(self, run: Run) -> None:
        if not run.ended:
            self.publish(run, {"type": "token", "content": " in flight"})
            asyncio.get_running_loop().call_later(0.03, super().cancel_run, run)


class AnswersOnceStopped(ResumingApi):
    """Answers a cancel with 204, when every reader has the end."""

    async def cancel(self, http: web.BaseRequest) -> web.StreamResponse:
        await super().cancel(http)
        await asyncio.sleep(0.05)
        return web.Response(status=204)


class WritesTheEndLate(ResumingApi):
    """Writes the end of each run to its readers 0.15 s late, so the answer to a late cancel comes before it."""

    async def write(self, response: web.StreamResponse, chunk: bytes) -> None:
        if any(f'"type":"{terminal}"'.encode() in chunk.replace(b" ", b"") for terminal in TERMINAL_TYPES):
            await asyncio.sleep(0.15)
        await super().write(response, chunk)


class EndsCancelledAsDone(ResumingApi):
    """A defect: ends a run that is cancelled in flight with success."""

    def cancel_run(self, run: Run) -> None:
        if not run.ended:
            self.finish(run, {"type": "done", "runId": run.run_id})


class RefusesWhatEnded(ResumingApi):
    """Answers 409 to a cancel of a run that has ended."""

    def cancel_run(self, run: Run) -> None:
        if run.ended:
            raise Rejection(409, "ended", "The run has ended.")
        super().cancel_run(run)


class KeepsMoreOfCancelledRuns(ResumingApi):
    """Stores an event of a cancelled run that its readers did not get, which is a defect of the first cancel alone."""

    async def cancel(self, http: web.BaseRequest) -> web.StreamResponse:
        in_flight = self.registry.running
        answer = await super().cancel(http)
        await asyncio.sleep(0.05)  # the readers have the end
        for run in in_flight:
            if run.ended:
                last = run.events[-1]
                more = Event(last.id, "token", '{"type":"token","content":"more"}')
                run.events[-1:] = [more, last._replace(id=StreamId(0, last.id.seq + 1))]
        return answer


class SaysGoodbye(ResumingApi):
    """Sends a comment after each end."""

    async def chunks(self, reader: Connection) -> AsyncGenerator[bytes, None]:
        async for chunk in super().chunks(reader):
            yield chunk
        yield b": goodbye\n\n"


class SlowSessions(ResumingApi):
    """Takes 0.4 s for a session."""

    async def make_session(self) -> web.StreamResponse:
        await asyncio.sleep(0.4)
        return await super().make_session()


class RefusesSessions(ResumingApi):
    """Opens no session."""

    async def make_session(self) -> web.StreamResponse:
        raise Rejection(403, "no_session", "There is no session for you.")


def api_with(*faults: str | type[ReferenceApi]) -> type[ReferenceApi]:
    """The API with faults: names of the embedded server's, or classes."""
    bases = [FAULTS[fault] if isinstance(fault, str) else fault for fault in faults]
    return type("Api", (*bases, ResumingApi), {})


def settings(base_url: str, profile: str, demo: dict[str, Any]) -> dict[str, Any]:
    """The harness settings for this API. profile: path of a file with PROFILE. demo: those of the embedded server."""
    target = demo["target"]
    actions = {name: {"action": action} for name, action in target["actions"].items() if name != "echo"}
    return {
        "target": {
            "base_url": base_url,
            "profile": profile,
            "token": target["token"],
            "variables": {"organization": target["organization_id"]},
            "actions": actions,
        },
        "budgets": demo["budgets"],
    }


def serving(*faults: str) -> AbstractContextManager[str]:
    """The base URL of this server in its own process. faults: as in `api_with`, classes of this module by name."""
    return forked_server(_serve, faults)


def _serve(parent: Pipe, faults: tuple[str, ...]) -> None:
    own = {name: value for name, value in globals().items() if isinstance(value, type)}

    async def serve() -> None:
        async with running(grace_s=0) as started:
            parent.send(started.base_url)
            await asyncio.get_running_loop().run_in_executor(None, wait_for_close, parent)

    server.faulty_api = lambda *_: api_with(*(own.get(name, name) for name in faults))  # type: ignore[assignment]
    asyncio.run(serve())
