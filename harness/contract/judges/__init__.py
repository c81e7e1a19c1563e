"""The judges, one module an area. Here: which of them apply to what a journey or a scenario has at hand."""

from __future__ import annotations

from collections.abc import Iterable

from harness.contract.exchange import Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Finding
from harness.contract.judge import JUDGES, Judge
from harness.contract.judges import (
    auth,
    conflict,
    events,
    framing,
    headers,
    ids,
    input,  # noqa: A004 - the area's name
    key,
    liveness,
    race,
    resume,
    run_id,
    security,
    terminal,
)

#: What any one stream that was read to its end can be held to, whatever was asked.
STREAM_JUDGES: tuple[Judge, ...] = (
    headers.event_stream,
    headers.charset,
    headers.complete,
    headers.no_cache,
    framing.utf8,
    framing.bom,
    framing.fields,
    framing.id_no_nul,
    framing.retry_digits,
    framing.event_name,
    framing.blank_line,
    framing.one_json_object,
    events.type_,
    events.schema,
    events.strict_json,
    ids.present,
    ids.unique,
    ids.increasing,
    ids.clock,
    terminal.always,
    terminal.exactly_one,
    terminal.last,
    terminal.closes,
)


def judge_stream(run: Exchange, expect: Expectations) -> list[Finding]:
    """Everything that one stream, read to its end, can be held to."""
    return [judge(run, expect=expect) for judge in STREAM_JUDGES]


def judge_retry(original: Exchange, retry: Exchange, expect: Expectations) -> list[Finding]:
    """A retry after completion against the run it repeats."""
    return [
        resume.replay(original, retry, expect=expect),
        resume.no_new_run(original, retry, expect=expect),
        run_id.constant([original, retry], expect=expect),
    ]


def judge_resumed(
    cut: Exchange, resumed: Exchange, canonical: Exchange | None, expect: Expectations
) -> list[Finding]:
    """A resumed stream against what was seen before the cut, and against the whole run where it is known."""
    return [resume.every_cut([resume.CutRun(cut, resumed, canonical)], expect=expect)]


def judge_conflict(original: Exchange, conflicting: Exchange, expect: Expectations) -> list[Finding]:
    """The same key with another body while the first run is going on."""
    return [conflict.in_flight(original, conflicting, expect=expect)]


def implemented() -> Iterable[str]:
    """Ids of the requirements that have a judge."""
    return JUDGES.keys()


__all__ = [
    "JUDGES",
    "STREAM_JUDGES",
    "auth",
    "conflict",
    "events",
    "framing",
    "headers",
    "ids",
    "implemented",
    "input",
    "judge_conflict",
    "judge_resumed",
    "judge_retry",
    "judge_stream",
    "key",
    "liveness",
    "race",
    "resume",
    "run_id",
    "security",
    "terminal",
]
