"""Traces of journeys as plain values, independent of OpenTelemetry's packages: what a process records and sends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, Self

SpanValue = str | int | float | bool
"""The value of a span's attribute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanRecord:
    """One span of a trace: what happened between two moments, epoch ns.

    span_id, parent_id: 16 hexadecimal digits; no parent_id in the first span of a trace. is_client: it is a request,
    whose parent id is the span id. error: why it failed; None if it did not. moments: events in it, by name. link: the
    trace id and parent id of a request whose traceparent field is not the harness's.
    """

    name: str
    span_id: str
    parent_id: str | None
    start_ns: int
    end_ns: int
    is_client: bool = False
    error: str | None = None
    attributes: Mapping[str, SpanValue] = field(default_factory=dict)
    moments: Mapping[str, int] = field(default_factory=dict)
    link: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class TraceRecord:
    """The spans of one journey, the journey's own first. trace_id: 32 hexadecimal digits."""

    trace_id: str
    spans: tuple[SpanRecord, ...]

    def to_message(self) -> list[Any]:
        """The trace as JSON values, for `from_message` in another process."""
        return [self.trace_id, [_SPAN_VALUES(span) for span in self.spans]]

    @classmethod
    def from_message(cls, message: Sequence[Any]) -> Self:
        """The trace that `to_message` encoded."""
        trace_id, spans = message
        return cls(
            trace_id, tuple(SpanRecord(**dict(zip(_SPAN_FIELDS, span, strict=True))) for span in spans)
        )


_SPAN_FIELDS = tuple(part.name for part in fields(SpanRecord))
_SPAN_VALUES = attrgetter(*_SPAN_FIELDS)
