"""Reads the events of workflow actions, by the strict types of their documentation."""

from __future__ import annotations

from harness.profiles.run_event import RunEvent
from harness.profiles.workflow_actions.events import (
    KNOWN_TYPES,
    TERMINAL_TYPES,
    DoneEvent,
    TokenEvent,
    WorkflowActionEvent,
    parse_run_event,
)
from harness.protocol.sse import Frame
from harness.protocol.strict_json import loads


class WorkflowActionsReader:
    """A FrameReader. An event that is not of its documented form has a problem, and no meaning."""

    def read(self, frame: Frame) -> RunEvent:
        """What this frame is."""
        if frame.data is None:
            return RunEvent(is_keepalive=True, id=frame.id)
        if not frame.data:
            return RunEvent(id=frame.id, problem="the data is empty")
        try:
            event = parse_run_event(frame.data)
        except ValueError as problem:
            return RunEvent(type=_type_in(frame.data), id=frame.id, problem=str(problem))
        return as_run_event(event, frame.id)


def _type_in(data: str) -> str:
    """The type of an event that is otherwise not of its form; empty if it has none."""
    try:
        value = loads(data)
    except ValueError:
        return ""
    kind = value.get("type") if isinstance(value, dict) else None
    return kind if isinstance(kind, str) else ""


def as_run_event(event: WorkflowActionEvent, event_id: str | None = None) -> RunEvent:
    """A parsed event. Only a terminal event tells the run's id."""
    if isinstance(event, TokenEvent):
        return RunEvent(type="token", content="token", text=event.content, id=event_id)
    kind = event.type
    if kind not in TERMINAL_TYPES:
        return RunEvent(type=kind, id=event_id, is_documented=kind in KNOWN_TYPES)
    run_id = event.runId if isinstance(event, DoneEvent) else (event.model_extra or {}).get("runId")
    return RunEvent(
        type=kind,
        outcome=kind,
        is_end=True,
        run_id=run_id if isinstance(run_id, str) else None,
        id=event_id,
    )
