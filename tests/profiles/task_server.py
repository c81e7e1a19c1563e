"""The embedded server with the API of a task queue, in the style of trigger.dev, and the profile of that API.

One request starts a task and tells its id; a second one, without a body, reads the stream of what the task writes:
texts as JSON, with ids. The stream tells neither how the run ended nor that it ended: a third request does. So a task
that writes nothing has an empty stream.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection as Pipe

from aiohttp import web

from harness.profiles.workflow_actions.event_id import StreamId
from harness.reference import server
from harness.reference.api import Connection, Rejection, Submission
from harness.reference.runs import Event
from harness.reference.server import running
from tests.forked import forked_server, wait_for_close
from tests.profiles.resuming_server import ResumingApi

PROFILE = """
name = "task-queue"
title = "tasks whose streams are read by their id"
needs = { action = "the workflowAction, an object", organization = "organization of the token" }
vars = { session = "${uuid}" }

[create]
path = "/tasks"
json = { organizationId = "${organization}", sessionId = "${session}", workflowAction = "${action}" }
keep = { task = "body.id" }

[run]
method = "GET"
path = "/streams/${task}"

[events]
data = "any"
token = { where = "type(data) == 'string'", text = "data" }
end = "close"

[ids]
at = "id"
order = "counter"

[resume]
from = "after"
beginning = ""
method = "GET"
path = "/streams/${task}"
headers = { Last-Event-ID = "${last_id}" }

[cancel]
path = "/tasks/${task}/cancel"

[outcome]
path = "/tasks/${task}"
field = "body.state"
done = "done"
error = "error"
cancelled = "cancelled"

[rejects]
unauthenticated = 401
"""
_PATH = re.compile("/(tasks|streams)/([^/]+)(/cancel)?")


class TaskApi(ResumingApi):
    """Starts a task, and streams what it writes."""

    async def route(self, http: web.BaseRequest) -> web.StreamResponse:
        organization = self.authenticate(http)
        if (http.method, http.path) == ("POST", "/tasks"):
            body = self.decode(await self.read_body(http))
            submission = Submission(http, organization, body, self.validate(body))
            run, _ = self.find_or_start(submission, None, self.action(submission))
            return web.Response(text=json.dumps({"id": run.run_id}), content_type="application/json")
        match = _PATH.fullmatch(http.path)
        run = self.registry.find_by_run_id(organization, match[2]) if match else None
        if match is None or run is None:
            raise Rejection(404, "no_such_task", "There is no task with this id.")
        if http.method != ("GET" if match[3] is None else "POST"):
            return self.wrong_method(http)
        if match[1] == "streams":
            index = self.resume_index(run, self.after(http))
            return await self.stream(http, Connection(run, index, False, not run.ended))
        if match[3]:
            self.cancel_run(run)
        return web.Response(text=json.dumps({"state": self.state(run)}), content_type="application/json")

    def after(self, http: web.BaseRequest) -> StreamId | None:
        text = http.headers.get("Last-Event-ID", "")
        return StreamId(0, int(text)) if re.fullmatch("[0-9]{1,18}", text) else None

    def encode_frame(self, event: Event) -> bytes:
        data = json.loads(event.data)
        if data["type"] != "token":
            return b""
        return f"id: {event.id.seq}\ndata: {json.dumps(data['content'])}\n\n".encode()

    async def chunks(self, reader: Connection) -> AsyncGenerator[bytes, None]:
        async for chunk in super().chunks(reader):
            if chunk:
                yield chunk


class AlwaysEmpty(TaskApi):
    """Has an empty stream for every task."""

    def encode_frame(self, event: Event) -> bytes:
        return b""


def serving(api: str = "TaskApi") -> AbstractContextManager[str]:
    """The base URL of this server in its own process. api: a class of this module."""
    return forked_server(_serve, api)


def _serve(parent: Pipe, api: str) -> None:
    async def serve() -> None:
        async with running(grace_s=0) as started:
            parent.send(started.base_url)
            await asyncio.get_running_loop().run_in_executor(None, wait_for_close, parent)

    server.faulty_api = lambda *_: globals()[api]  # type: ignore[assignment]
    asyncio.run(serve())
