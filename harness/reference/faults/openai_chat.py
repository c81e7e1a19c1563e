"""Faults of the profile openai-chat."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from harness.contract.rules import events, key, run_id, terminal
from harness.reference.faults.base import Fault
from harness.reference.openai_chat import END, OpenAiChatApi
from harness.reference.prompt_api import PromptRun, RunInput, WireEvent
from harness.reference.responses import Payload


class OpenAiChatFault(Fault, OpenAiChatApi):
    """A defect of the server as OpenAI Chat Completions."""

    profile: ClassVar[str] = "openai-chat"


class DoneMarkerMissing(OpenAiChatFault, name="done-marker-missing", breaks=terminal.always):
    """Closes the stream after the last chunk, without [DONE]."""

    def closing(self, run: PromptRun, outcome: Payload) -> Iterable[WireEvent]:
        return [event for event in super().closing(run, outcome) if event != END]


class NoFinishReason(OpenAiChatFault, name="no-finish-reason", breaks=terminal.always):
    """Sends [DONE] after the last token, without a chunk that has a finish reason."""

    def success(self, run: PromptRun) -> list[WireEvent]:
        return self.usage(run) if run.tokens else super().success(run)


class DoneMarkerTwice(OpenAiChatFault, name="done-marker-twice", breaks=terminal.exactly_one):
    """Passes the [DONE] of its backend on, and sends its own."""

    def closing(self, run: PromptRun, outcome: Payload) -> Iterable[WireEvent]:
        return [*super().closing(run, outcome), END]


class FinishReasonTwice(OpenAiChatFault, name="finish-reason-twice", breaks=terminal.exactly_one):
    """Repeats the finish reason in a second chunk."""

    def success(self, run: PromptRun) -> list[WireEvent]:
        return [self.chunk(run, {}, finish_reason="stop"), *super().success(run)]


class ErrorThenStop(OpenAiChatFault, name="error-then-stop", breaks=terminal.exactly_one):
    """Ends a run that failed as if it had ended well too."""

    def closing(self, run: PromptRun, outcome: Payload) -> Iterable[WireEvent]:
        failed = [self.failure(outcome)] if outcome["type"] == "error" else []
        return [*failed, *self.success(run), END]


class ChunkAfterDone(OpenAiChatFault, name="chunk-after-done", breaks=terminal.last):
    """Sends the usage after [DONE]."""

    def closing(self, run: PromptRun, outcome: Payload) -> Iterable[WireEvent]:
        if outcome["type"] != "done":
            return super().closing(run, outcome)
        return [self.chunk(run, {}, finish_reason="stop"), END, *self.usage(run)]


class TokenAfterFinish(OpenAiChatFault, name="token-after-finish-reason", breaks=terminal.last):
    """Flushes a buffered token after the finish reason."""

    def success(self, run: PromptRun) -> list[WireEvent]:
        finish, *rest = super().success(run)
        return [finish, self.chunk(run, {"content": " late"}), *rest] if run.tokens else [finish, *rest]


class ErrorAsStop(OpenAiChatFault, name="error-as-stop", breaks=terminal.failure):
    """Ends a run that failed with the finish reason stop."""

    def closing(self, run: PromptRun, outcome: Payload) -> Iterable[WireEvent]:
        return super().closing(run, {**outcome, "type": "done"})


class UsageMissing(OpenAiChatFault, name="usage-missing", breaks=events.usage):
    """Ignores stream_options.include_usage."""

    def usage(self, run: PromptRun) -> list[WireEvent]:  # noqa: ARG002
        return []


class UsageOfZero(OpenAiChatFault, name="usage-of-zero", breaks=events.usage):
    """Tells the usage before it has counted the tokens."""

    def usage(self, run: PromptRun) -> list[WireEvent]:
        return [
            {**event, "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}}
            for event in super().usage(run)
            if isinstance(event, dict)
        ]


class IdPerChunk(OpenAiChatFault, name="id-per-chunk", breaks=run_id.single):
    """Gives each chunk a new id."""

    def chunk(
        self, run: PromptRun, delta: Mapping[str, Any], finish_reason: str | None = None
    ) -> dict[str, Any]:
        return {**super().chunk(run, delta, finish_reason), "id": f"chatcmpl-{uuid.uuid4().hex}"}


class OneIdForAll(OpenAiChatFault, name="one-id-for-all", breaks=key.none_independent):
    """Gives all runs the same id."""

    def new_run(self, organization: str, request: RunInput) -> PromptRun:
        run = super().new_run(organization, request)
        run.run_id = "chatcmpl-0"
        return run
