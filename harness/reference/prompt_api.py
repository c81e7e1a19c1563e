"""APIs whose requests have a prompt: the embedded server's side of profiles other than workflow actions.

A subclass reads the request and writes the events; what happens to a run in between is the same for all.
"""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from harness.reference.api import ReferenceApi
from harness.reference.prompted_actions import prompted_action
from harness.reference.responses import Payload, Rejection, encode_json
from harness.reference.runs import Event, Run
from harness.reference.settings import DEMO_PRINCIPALS
from harness.reference.streaming import Connection

WireEvent = Payload | str
"""An event as its API writes it: a JSON object, or a text such as ``[DONE]``."""


class InputPart(BaseModel):
    """A part of a request's body; members that the API does not name are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore")


class RunInput(InputPart, ABC):
    """The body of a request for a run."""

    @property
    @abstractmethod
    def prompt(self) -> str:
        """What the run is to answer."""

    @property
    def run_id(self) -> str:
        """The run's id: a new one, or the client's."""
        return str(uuid.uuid4())


class PromptRun(Run):
    """A run with what its events repeat of the request. tokens: those published so far."""

    def __init__(self, organization: str, request: RunInput) -> None:
        super().__init__(organization, request.run_id, b"", None)
        self.request = request
        self.message_id = str(uuid.uuid4())
        self.tokens = 0


class PromptApi(ReferenceApi):
    """Each request starts a run, and a reader that leaves cancels it. It has no keys, event ids or resumption."""

    input_model: ClassVar[type[RunInput]]
    invalid_status: ClassVar[int] = 422
    """The status of a body that does not match the model."""

    async def route(self, http: web.BaseRequest) -> web.StreamResponse:
        if http.path != self.settings.path:
            raise Rejection(404, "not_found", "No resource at this path.")
        if http.method != "POST":
            return self.wrong_method(http)
        return await self.execute(http)

    async def execute(self, http: web.BaseRequest) -> web.StreamResponse:
        """Start the requested run and stream it."""
        organization = self.authenticate(http)
        request = self.read_input(self.decode(await self.read_body(http)))
        run = self.new_run(organization, request)
        self.launch(run, prompted_action(request.prompt))
        return await self.stream(http, Connection(run, 0, started_run=True, joined=False))

    def new_run(self, organization: str, request: RunInput) -> PromptRun:
        return PromptRun(organization, request)

    def authenticate(self, http: web.BaseRequest) -> str:
        if not self.settings.needs_token and self.bearer_token(http) is None:
            return next(iter(DEMO_PRINCIPALS.values()))
        return super().authenticate(http)

    def read_input(self, body: Mapping[str, Any]) -> RunInput:
        """The body by the API's schema. Raises Rejection if it does not match."""
        try:
            return self.input_model.model_validate(body)
        except ValidationError as problem:
            first = problem.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise Rejection(self.invalid_status, "invalid_request", f"{place}: {first['msg']}") from None

    @abstractmethod
    def opening(self, run: PromptRun) -> Iterable[WireEvent]:
        """The events before the first token."""

    @abstractmethod
    def token(self, run: PromptRun, text: str) -> Iterable[WireEvent]:
        """The events that bring a token."""

    @abstractmethod
    def closing(self, run: PromptRun, outcome: Payload) -> Iterable[WireEvent]:
        """The events with which a run ends. outcome: as for workflow actions."""

    def open_run(self, run: Run) -> None:
        assert isinstance(run, PromptRun)
        self._write(run, "started", self.opening(run))

    def publish(self, run: Run, payload: Payload) -> None:
        assert isinstance(run, PromptRun)
        if payload["type"] == "token":
            self._write(run, "token", self.token(run, payload["content"]))
            run.tokens += 1
        else:
            self._write(run, payload["type"], self.closing(run, payload))

    def _write(self, run: Run, kind: str, events: Iterable[WireEvent]) -> None:
        for event in events:
            data = event if isinstance(event, str) else encode_json(event)
            run.append(Event(self.event_id(run), kind, data))

    def encode_frame(self, event: Event) -> bytes:
        return f"data: {event.data}\n\n".encode()

    def on_disconnect(self, reader: Connection) -> None:
        if not reader.run.ended:
            self.finish(reader.run, {"type": "cancelled", "runId": reader.run.run_id})
