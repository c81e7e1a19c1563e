"""Faults of the profile ag-ui."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import ClassVar

from harness.contract.rules import events, run_id, terminal
from harness.reference.ag_ui import AgUiApi
from harness.reference.faults.base import Fault
from harness.reference.prompt_api import PromptRun, WireEvent
from harness.reference.responses import Payload


class AgUiFault(Fault, AgUiApi):
    """A defect of the server as an agent of AG-UI."""

    profile: ClassVar[str] = "ag-ui"


class NoRunStarted(AgUiFault, name="no-run-started", breaks=events.first):
    """Starts with the text message."""

    def opening(self, run: PromptRun) -> Iterable[WireEvent]:  # noqa: ARG002
        return []


class ContentAfterEnd(AgUiFault, name="content-after-end", breaks=events.pairs):
    """Flushes a buffered piece of the text message after its end."""

    def message_end(self, run: PromptRun) -> list[WireEvent]:
        end = super().message_end(run)
        return [*end, self.content(run, " late")] if end else end


class MessageNotEnded(AgUiFault, name="message-not-ended", breaks=events.pairs):
    """Finishes the run while its text message is open."""

    def message_end(self, run: PromptRun) -> list[WireEvent]:  # noqa: ARG002
        return []


class MessageEndedTwice(AgUiFault, name="message-ended-twice", breaks=events.pairs):
    """Ends the text message after its last piece, and again when the run finishes."""

    def message_end(self, run: PromptRun) -> list[WireEvent]:
        return super().message_end(run) * 2


class RunErrorMissing(AgUiFault, name="run-error-missing", breaks=terminal.failure):
    """Closes the stream of a run that failed without RUN_ERROR."""

    def closing(self, run: PromptRun, outcome: Payload) -> Iterable[WireEvent]:
        return [] if outcome["type"] == "error" else super().closing(run, outcome)


class FinishedTwice(AgUiFault, name="run-finished-twice", breaks=terminal.exactly_one):
    """Sends RUN_FINISHED at the agent's end and at the request's end."""

    def closing(self, run: PromptRun, outcome: Payload) -> Iterable[WireEvent]:
        again = [self.finished(run, outcome["type"])] if outcome["type"] != "error" else []
        return [*super().closing(run, outcome), *again]


class ErrorThenFinished(AgUiFault, name="run-error-then-finished", breaks=terminal.exactly_one):
    """Sends RUN_FINISHED after RUN_ERROR, in a handler that runs in any case."""

    def closing(self, run: PromptRun, outcome: Payload) -> Iterable[WireEvent]:
        again = [self.finished(run, "done")] if outcome["type"] == "error" else []
        return [*super().closing(run, outcome), *again]


class StateAfterFinished(AgUiFault, name="state-after-finished", breaks=terminal.last):
    """Sends the state of the thread when the run has finished."""

    def closing(self, run: PromptRun, outcome: Payload) -> Iterable[WireEvent]:
        return [*super().closing(run, outcome), self.event("STATE_SNAPSHOT", snapshot={})]


class AbortAsSuccess(AgUiFault, name="abort-as-success", breaks=terminal.cancelled):
    """Reports a run that was aborted as a success."""

    def finished(self, run: PromptRun, outcome: str) -> WireEvent:  # noqa: ARG002
        return super().finished(run, "done")


class SilentNotFinished(AgUiFault, name="silent-run-not-finished", breaks=terminal.no_tokens):
    """Finishes a run with its text message, which a run without text does not have."""

    def closing(self, run: PromptRun, outcome: Payload) -> Iterable[WireEvent]:
        return super().closing(run, outcome) if run.tokens or outcome["type"] != "done" else []


class OtherIdAtEnd(AgUiFault, name="other-run-id-at-end", breaks=run_id.single):
    """Finishes the run under a new id."""

    def finished(self, run: PromptRun, outcome: str) -> WireEvent:
        event = super().finished(run, outcome)
        assert isinstance(event, dict)
        return {**event, "runId": str(uuid.uuid4())}


class OwnRunId(AgUiFault, name="own-run-id", breaks=run_id.echoed):
    """Ignores the client's run id and makes one."""

    def ids(self, run: PromptRun) -> dict[str, str]:
        return {**super().ids(run), "runId": run.message_id}
