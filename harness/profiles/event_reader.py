"""What a profile makes of one frame: the pieces that rules, metrics and reports need, whatever the API calls them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.booleans import is_whole_number
from harness.profiles.event_rules import (
    ANY_TYPE,
    CONTENTS,
    END_CLOSE,
    END_OUTCOME,
    OUTCOMES,
    SNAPSHOT,
    TOKEN,
    EventRule,
    Events,
    Ids,
    is_one_of,
)
from harness.profiles.expressions import Expression
from harness.profiles.run_event import PairMark, RunEvent
from harness.protocol.sse import Frame
from harness.protocol.strict_json import loads


class EventReader:
    """Reads the frames of a stream by the rules of a profile."""

    def __init__(self, events: Events, ids: Ids | None) -> None:
        self._events = events
        self._ids = ids
        self._further = tuple(name for name in (*events.other, *events.first) if name != ANY_TYPE)
        self._contents = self._events.rules(CONTENTS)
        self._outcomes = self._events.rules(OUTCOMES)
        end = self._events.end
        self._end_rule = end if isinstance(end, EventRule) else None
        self._end_data = end if isinstance(end, str) and end not in {END_OUTCOME, END_CLOSE} else None

    def read(self, frame: Frame) -> RunEvent:
        """What this frame is."""
        if frame.data is None:
            return RunEvent(is_keepalive=True, id=frame.id)
        if self._end_data is not None and frame.data == self._end_data:
            return RunEvent(type=frame.data, is_end=True, is_literal=True, id=frame.id)
        if self._events.trailer is not None and frame.data == self._events.trailer:
            return RunEvent(type=frame.data, is_trailer=True, is_literal=True, id=frame.id)
        problem, data = None, None
        try:
            data = loads(frame.data)
        except ValueError as invalid:
            problem = f"its data is not JSON: {invalid}" if frame.data else None
        if problem is None and frame.data and self._events.data == "object" and not isinstance(data, dict):
            problem = "its data is not a JSON object"
        document = {"data": data, "event": frame.event or None, "id": frame.id}
        return self._classify(document, problem)

    def _classify(self, document: Mapping[str, Any], problem: str | None) -> RunEvent:
        events = self._events
        kind = events.type.text_in(document) or ""
        content = _first(self._contents, kind, document)
        is_snapshot = content is not None and content[0] == SNAPSHOT
        outcome = _first(self._outcomes, kind, document)
        is_note = events.note is not None and _matches(events.note, kind, document)
        is_keepalive = events.keepalive is not None and _matches(events.keepalive, kind, document)
        is_end = self._end_rule is not None and _matches(self._end_rule, kind, document)
        tokens, reasoning_tokens = self._usage(document)
        is_documented = (
            any((content, outcome, is_note, is_keepalive, is_end, tokens is not None))
            or is_one_of(kind, self._further)
            or any(kind in pair[:2] for pair in events.pairs)
        )
        return RunEvent(
            type=kind,
            content=content[0] if content else None,
            text="" if is_snapshot else _text(content, document) or "",
            whole_text=_text(content if is_snapshot else outcome, document),
            part=events.part.text_in(document) if events.part else None,
            outcome=outcome[0] if outcome else None,
            message=_message(outcome, document),
            output_tokens=tokens,
            reasoning_tokens=reasoning_tokens,
            is_end=is_end or (events.end == END_OUTCOME and outcome is not None),
            is_note=is_note,
            is_keepalive=is_keepalive,
            is_known=is_documented or ANY_TYPE in events.other,
            is_documented=is_documented,
            run_id=events.run_id.text_in(document) if events.run_id else None,
            id=self._ids.at.text_in(document) if self._ids else document["id"],
            marks=self._marks(kind, content is not None and content[0] == TOKEN, document),
            problem=problem,
        )

    def _marks(self, kind: str, is_token: bool, document: Mapping[str, Any]) -> tuple[PairMark, ...]:
        marks = []
        for opening, closing, at in self._events.pairs:
            role = (
                "opens"
                if kind == opening
                else "closes"
                if kind == closing
                else "inside"
                if is_token
                else None
            )
            key = at.text_in(document) if isinstance(at, Expression) else None if role == "inside" else ""
            if role is not None and key is not None:
                marks.append(PairMark(role, opening, key))  # type: ignore[arg-type]  # one of its three words
        return tuple(marks)

    def _usage(self, document: Mapping[str, Any]) -> tuple[int | None, int | None]:
        """The numbers of output tokens and of those that are reasoning."""
        usage = self._events.usage
        if usage is None or not usage.where.holds(document):
            return None, None
        reasoning = usage.reasoning_tokens
        return _count(usage.output_tokens, document), _count(reasoning, document) if reasoning else None


def _count(at: Expression, document: Mapping[str, Any]) -> int | None:
    count = at.find(document)
    return count if is_whole_number(count) and count >= 0 else None


_Found = tuple[str, EventRule] | None


def _first(rules: list[tuple[str, EventRule]], kind: str, document: Mapping[str, Any]) -> _Found:
    return next((found for found in rules if _matches(found[1], kind, document)), None)


def _matches(rule: EventRule, kind: str, document: Mapping[str, Any]) -> bool:
    if rule.types and not is_one_of(kind, rule.types):
        return False
    return rule.where is None or rule.where.holds(document)


def _text(found: _Found, document: Mapping[str, Any]) -> str | None:
    rule = found[1].text if found else None
    return rule.text_in(document) if rule else None


def _message(found: _Found, document: Mapping[str, Any]) -> str:
    rule = found[1].message if found else None
    return (rule.text_in(document) or "") if rule else ""
