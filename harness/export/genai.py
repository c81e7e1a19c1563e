"""Names of OpenTelemetry's conventions for generative AI, which are in development: each version is named.

Source: https://github.com/open-telemetry/semantic-conventions/blob/v1.41.0/docs/gen-ai/gen-ai-agent-spans.md
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.export.trace_records import SpanRecord, SpanValue

GENAI_VERSIONS: Mapping[str, str] = {"1.41": "https://opentelemetry.io/schemas/1.41.0"}
"""The versions, each with the URL of its schema."""

_OPERATION = "agent.run.operation"
_RENAMED = {
    _OPERATION: "gen_ai.operation.name",
    "agent.run.provider": "gen_ai.provider.name",
    "agent.run.id": "gen_ai.response.id",
    "agent.run.output_tokens": "gen_ai.usage.output_tokens",
}
_SECOND_NS = 1e9


def genai_span(span: SpanRecord) -> tuple[str, Mapping[str, SpanValue]]:
    """Name and attributes of a span, with the conventions' names if the span is of the request that begins a run.

    The time to the first chunk counts from when the request was sent, in seconds.
    """
    given = span.attributes
    operation = given.get(_OPERATION)
    if operation is None:
        return span.name, given
    named: dict[str, SpanValue] = {"gen_ai.request.stream": True}
    named |= {name: given[ours] for ours, name in _RENAMED.items() if ours in given}
    sent_ns, first_ns = span.moments.get("sent"), span.moments.get("first event")
    if sent_ns is not None and first_ns is not None:
        named["gen_ai.response.time_to_first_chunk"] = max(0, first_ns - sent_ns) / _SECOND_NS
    return str(operation), {**given, **named}
