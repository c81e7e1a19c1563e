"""WorkflowActionEvent: the content of a frame's ``data``, as documented by the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Tag, TypeAdapter, ValidationError

from harness.protocol.strict_json import loads, without_lone_surrogates

_FIELDS = ("type", "content", "runId")
TERMINAL_TYPES = frozenset({"done", "error", "cancelled"})
KNOWN_TYPES = TERMINAL_TYPES | {"token"}


class _Event(BaseModel):
    """Additional fields are allowed and kept."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)


class TokenEvent(_Event):
    """A piece of the run's output."""

    type: Literal["token"]
    content: str


class DoneEvent(_Event):
    """Terminal: the run succeeded."""

    type: Literal["done"]
    runId: str  # noqa: N815 - as on the wire


class ErrorEvent(_Event):
    """Terminal: the run failed, or the request was rejected with a stream."""

    type: Literal["error"]


class CancelledEvent(_Event):
    """Terminal: the run was cancelled."""

    type: Literal["cancelled"]


class OtherEvent(_Event):
    """A type other than the documented four: allowed, but reported."""

    type: str


WorkflowActionEvent = TokenEvent | DoneEvent | ErrorEvent | CancelledEvent | OtherEvent


def _tag(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return kind if isinstance(kind, str) and kind in KNOWN_TYPES else "other"


_RUN_EVENT: TypeAdapter[WorkflowActionEvent] = TypeAdapter(
    Annotated[
        Annotated[TokenEvent, Tag("token")]
        | Annotated[DoneEvent, Tag("done")]
        | Annotated[ErrorEvent, Tag("error")]
        | Annotated[CancelledEvent, Tag("cancelled")]
        | Annotated[OtherEvent, Tag("other")],
        Discriminator(_tag),
    ],
    config=ConfigDict(cache_strings="keys"),  # not values: no id occurs twice
)


def parse_run_event(data: str) -> WorkflowActionEvent:
    """Parse one frame's joined ``data``.

    Raises ValueError, with a one-line message, unless it is one JSON object with a string ``type`` and, for the
    documented types, their fields.
    """
    try:
        return _RUN_EVENT.validate_json(data)
    except ValidationError as problem:
        first: Mapping[str, Any] = problem.errors(include_url=False)[0]
    if first["type"] == "json_invalid":
        event = _parse_unusual(data, first)
        if not isinstance(event, Mapping):
            return event
        first = event
    place = ".".join(str(part) for part in first["loc"] if part not in KNOWN_TYPES and part != "other")
    raise ValueError(f"{place}: {first['msg']}" if place else first["msg"])


def _parse_unusual(data: str, refused: Mapping[str, Any]) -> WorkflowActionEvent | Mapping[str, Any]:
    """The event in valid JSON that pydantic refuses, with its documented fields only; else what is wrong.

    pydantic has its own limits for nesting and for numbers, and no text with a lone surrogate.
    """
    try:
        value = loads(data)
    except ValueError:
        return refused
    texts: dict[str, str] = {}
    if isinstance(value, dict):
        value = {name: value[name] for name in _FIELDS if name in value}
        texts = {name: member for name, member in value.items() if isinstance(member, str)}
        value |= {name: without_lone_surrogates(text) for name, text in texts.items()}
    try:
        event = _RUN_EVENT.validate_python(value)
    except ValidationError as problem:
        return problem.errors(include_url=False)[0]
    return event.model_copy(update=texts)
