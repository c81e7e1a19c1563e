"""The judges, one module an area. Here: which of them apply to what a journey or a scenario has at hand."""

from __future__ import annotations

from collections.abc import Iterable

from harness.contract.rules import (
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
from harness.contract.rules.comparisons import (
    LaterCut,
    canonical_of,
    judge_conflict,
    judge_first_reader,
    judge_joined,
    judge_left,
    judge_parts,
    judge_race,
    judge_resumed,
    judge_retry,
)
from harness.contract.rules.rule import JUDGES
from harness.contract.rules.stream import STREAM_JUDGES, judge_stream, judges_of


def implemented() -> Iterable[str]:
    """Ids of the requirements that have a judge."""
    return JUDGES.keys()


__all__ = [
    "JUDGES",
    "STREAM_JUDGES",
    "LaterCut",
    "auth",
    "canonical_of",
    "conflict",
    "events",
    "framing",
    "headers",
    "ids",
    "implemented",
    "input",
    "judge_conflict",
    "judge_first_reader",
    "judge_joined",
    "judge_left",
    "judge_parts",
    "judge_race",
    "judge_resumed",
    "judge_retry",
    "judge_stream",
    "judges_of",
    "key",
    "liveness",
    "race",
    "resume",
    "run_id",
    "security",
    "terminal",
]
