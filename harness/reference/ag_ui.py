"""The embedded server as an agent of AG-UI (https://docs.ag-ui.com/concepts/events)."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from aiohttp import web
from pydantic import Field

from harness.reference.prompt_api import InputPart, PromptApi, PromptRun, RunInput, WireEvent
from harness.reference.responses import Payload
from harness.reference.settings import DEMO_PRINCIPALS


class _AgentMessage(InputPart):
    id: str
    role: str
    content: str | None = None


class RunAgentInput(RunInput):
    """The body of a request: what the client knows of the thread."""

    threadId: str  # noqa: N815 - as on the wire
    runId: str  # noqa: N815 - as on the wire
    messages: list[_AgentMessage]
    state: Any = None
    tools: list[Any] = Field(default=[])
    context: list[Any] = Field(default=[])
    forwardedProps: Any = None  # noqa: N815 - as on the wire

    @property
    def prompt(self) -> str:
        return (self.messages[-1].content or "") if self.messages else ""

    @property
    def run_id(self) -> str:
        return self.runId


class AgUiApi(PromptApi):
    """RUN_STARTED, a text message in pieces, then RUN_FINISHED or RUN_ERROR. Requests need no token."""

    input_model = RunAgentInput

    def authenticate(self, http: web.BaseRequest) -> str:  # noqa: ARG002 - the protocol has no authentication
        return next(iter(DEMO_PRINCIPALS.values()))

    def opening(self, run: PromptRun) -> Iterable[WireEvent]:
        return [self.event("RUN_STARTED", **self.ids(run))]

    def token(self, run: PromptRun, text: str) -> Iterable[WireEvent]:
        start = (
            []
            if run.tokens
            else [self.event("TEXT_MESSAGE_START", messageId=run.message_id, role="assistant")]
        )
        return [*start, self.content(run, text)]

    def content(self, run: PromptRun, text: str) -> WireEvent:
        """A piece of the run's text message."""
        return self.event("TEXT_MESSAGE_CONTENT", messageId=run.message_id, delta=text)

    def closing(self, run: PromptRun, outcome: Payload) -> Iterable[WireEvent]:
        if outcome["type"] == "error":
            return [self.failed(outcome)]
        return [*self.message_end(run), self.finished(run, outcome["type"])]

    def message_end(self, run: PromptRun) -> list[WireEvent]:
        """The end of the run's text message, if it has one."""
        return [self.event("TEXT_MESSAGE_END", messageId=run.message_id)] if run.tokens else []

    def finished(self, run: PromptRun, outcome: str) -> WireEvent:
        """The end of a run that did not fail."""
        kind = "success" if outcome == "done" else outcome
        return self.event("RUN_FINISHED", **self.ids(run), outcome={"type": kind})

    def failed(self, outcome: Payload) -> WireEvent:
        """The end of a run that failed."""
        return self.event("RUN_ERROR", message=outcome["message"], code=outcome["code"])

    def ids(self, run: PromptRun) -> dict[str, str]:
        """What names the run in its first and last events."""
        assert isinstance(run.request, RunAgentInput)
        return {"threadId": run.request.threadId, "runId": run.run_id}

    def event(self, kind: str, **members: Any) -> WireEvent:
        """An event of this type."""
        return {"type": kind, "timestamp": time.time_ns() // 1_000_000, **members}
