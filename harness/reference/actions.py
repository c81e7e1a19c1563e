"""The actions of the embedded server, one for each situation that a client must handle.

An action is an async iterator of tokens. Exhaustion is success; ActionFailedError and ActionCancelledError are the
other two outcomes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

#: more than ten words, so sequence numbers reach two digits; not only ASCII
DEFAULT_TEXT = "Voilà: the naïve café serves its agents one word at a time, in order, and says 42 °C."
MAX_TOKENS = 1000

_PIECE = re.compile(r"\s*\S+|\s+\Z")

Tokens = AsyncIterator[str]


class ActionFailedError(Exception):
    """The action failed; its run ends with `error`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ActionCancelledError(Exception):
    """The action cancelled itself; its run ends with `cancelled`."""


class BadActionError(ValueError):
    """The workflowAction is invalid; the message names the field and the reason."""


class _Parameters(BaseModel):
    """The parameters of one action; unknown ones are ignored."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class _Echo(_Parameters):
    text: str = DEFAULT_TEXT

    async def tokens(self) -> Tokens:
        for token in tokens_of(self.text):
            yield token
            await asyncio.sleep(0)


class _Long(_Parameters):
    count: int = Field(20, alias="tokens", ge=1, le=MAX_TOKENS)
    interval_ms: float = Field(60, alias="intervalMs", ge=0, le=10_000)

    async def tokens(self) -> Tokens:
        loop = asyncio.get_running_loop()
        start = loop.time()
        for index in range(self.count):
            # absolute times: relative sleeps would drift under load
            await asyncio.sleep(start + index * self.interval_ms / 1000 - loop.time())
            yield f"étape {index + 1} "


class _Fail(_Parameters):
    async def tokens(self) -> Tokens:
        yield "About to fail. "
        raise ActionFailedError("action_failed", "the action could not reach its data source")


class _Cancel(_Parameters):
    async def tokens(self) -> Tokens:
        yield "About to give up. "
        raise ActionCancelledError


class _Silent(_Parameters):
    async def tokens(self) -> Tokens:
        await asyncio.sleep(0)
        return
        yield  # makes this an asynchronous generator


class _Quiet(_Parameters):
    pause_ms: float = Field(1500, alias="pauseMs", ge=0, le=60_000)

    async def tokens(self) -> Tokens:
        yield "Thinking… "
        await asyncio.sleep(self.pause_ms / 1000)
        yield "done thinking."


class _Recall(_Parameters):
    async def tokens(self, outputs: Sequence[str]) -> Tokens:
        await asyncio.sleep(0)
        for token in tokens_of("\n".join(outputs)):
            yield token
            await asyncio.sleep(0)


_Plain = _Echo | _Long | _Fail | _Cancel | _Silent | _Quiet
_ACTIONS: Mapping[str, type[_Plain | _Recall]] = {
    "echo": _Echo,
    "long": _Long,
    "fail": _Fail,
    "cancel": _Cancel,
    "silent": _Silent,
    "quiet": _Quiet,
    "recall": _Recall,
}
TOOL_IDS = tuple(_ACTIONS)


def prepare_action(
    workflow_action: Mapping[str, Any], outputs: Callable[[], Sequence[str]] = tuple
) -> Callable[[], Tokens]:
    """A function that starts the action of a `workflowAction` object. outputs: those of earlier steps, when it starts.

    Raises BadActionError for an unknown ``toolId`` or an invalid parameter.
    """
    model = _ACTIONS.get(workflow_action["toolId"])
    if model is None:
        raise BadActionError(f"workflowAction.toolId: unknown tool; the tools are {', '.join(TOOL_IDS)}")
    try:
        action = model.model_validate(dict(workflow_action))
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        raise BadActionError(f"workflowAction.{first['loc'][0]}: {first['msg']}") from None
    return partial(_recall, action, outputs) if isinstance(action, _Recall) else action.tokens


def _recall(action: _Recall, outputs: Callable[[], Sequence[str]]) -> Tokens:
    return action.tokens(outputs())


def tokens_of(text: str) -> list[str]:
    """Split `text` before the white space between its words; joined, the tokens are `text`.

    At most MAX_TOKENS: in a longer text, a token has several words.
    """
    pieces = _PIECE.findall(text)
    size = -(-len(pieces) // MAX_TOKENS) or 1
    return ["".join(pieces[at : at + size]) for at in range(0, len(pieces), size)]
