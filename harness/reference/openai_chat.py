"""The embedded server as OpenAI Chat Completions (https://platform.openai.com/docs/api-reference/chat-streaming)."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from aiohttp import web
from pydantic import Field

from harness.reference.prompt_api import InputPart, PromptApi, PromptRun, RunInput, WireEvent
from harness.reference.responses import Payload, Rejection, encode_json

END = "[DONE]"
_PROMPT_TOKENS = 8  # a number for the usage; nothing counts the words of a prompt here
_KINDS = {401: "authentication_error", 404: "not_found_error"}


class _ContentPart(InputPart):
    """A part of a message. Only text is read."""

    type: str
    text: str = ""


class _ChatMessage(InputPart):
    role: str
    content: str | list[_ContentPart] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content if part.type == "text")
        return self.content or ""


class _StreamOptions(InputPart):
    include_usage: bool = False


class ChatInput(RunInput):
    """The body of a request for a stream; this server gives no other answer."""

    model: str = Field(min_length=1)
    messages: list[_ChatMessage] = Field(min_length=1)
    stream: Literal[True]
    stream_options: _StreamOptions | None = None

    @property
    def prompt(self) -> str:
        return self.messages[-1].text

    @property
    def run_id(self) -> str:
        return f"chatcmpl-{uuid.uuid4().hex}"

    @property
    def wants_usage(self) -> bool:
        """Whether a last chunk is to have the number of tokens."""
        return self.stream_options is not None and self.stream_options.include_usage


class OpenAiChatApi(PromptApi):
    """Chunks with one id, then the finish reason, the usage and ``[DONE]``."""

    input_model = ChatInput
    invalid_status = 400

    def reject(self, http: web.BaseRequest, rejection: Rejection) -> web.StreamResponse:  # noqa: ARG002
        error = {
            "message": rejection.detail,
            "type": _KINDS.get(rejection.status, "invalid_request_error"),
            "param": None,
            "code": rejection.code,
        }
        return web.Response(
            status=rejection.status,
            body=encode_json({"error": error}).encode(),
            headers={**self.common_headers(), "Content-Type": "application/json", **rejection.headers},
        )

    def opening(self, run: PromptRun) -> Iterable[WireEvent]:
        return [self.chunk(run, {"role": "assistant", "content": ""})]

    def token(self, run: PromptRun, text: str) -> Iterable[WireEvent]:
        return [self.chunk(run, {"content": text})]

    def closing(self, run: PromptRun, outcome: Payload) -> Iterable[WireEvent]:
        if outcome["type"] == "done":
            return [*self.success(run), END]
        return [self.failure(outcome), END]

    def success(self, run: PromptRun) -> list[WireEvent]:
        """The chunks after the last token of a successful run."""
        return [self.chunk(run, {}, finish_reason="stop"), *self.usage(run)]

    def usage(self, run: PromptRun) -> list[WireEvent]:
        """The chunk with the number of tokens, if the request has that option."""
        if not self._request(run).wants_usage:
            return []
        counts = {
            "prompt_tokens": _PROMPT_TOKENS,
            "completion_tokens": run.tokens,
            "total_tokens": _PROMPT_TOKENS + run.tokens,
        }
        return [{**self._envelope(run), "choices": [], "usage": counts}]

    def failure(self, outcome: Payload) -> WireEvent:
        """The event of a run that failed, or that was cancelled, for which this API has no other event."""
        message = outcome.get("message", "the run was cancelled")
        error = {"message": message, "type": "server_error", "param": None}
        return {"error": {**error, "code": outcome.get("code", "cancelled")}}

    def chunk(
        self, run: PromptRun, delta: Mapping[str, Any], finish_reason: str | None = None
    ) -> dict[str, Any]:
        """A chunk with one choice."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if self._request(run).wants_usage else {}
        return {**self._envelope(run), "choices": [choice], **usage}

    def _envelope(self, run: PromptRun) -> dict[str, Any]:
        return {
            "id": run.run_id,
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": self._request(run).model,
        }

    def _request(self, run: PromptRun) -> ChatInput:
        assert isinstance(run.request, ChatInput)
        return run.request
