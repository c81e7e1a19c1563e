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
    canonical_stream,
    check_abandoned,
    check_conflict,
    check_first_reader,
    check_joined,
    check_parts,
    check_race,
    check_resumed,
    check_retry,
)
from harness.contract.rules.rule import RULES
from harness.contract.rules.stream import STREAM_RULES, check_stream, rules_for


def implemented() -> Iterable[str]:
    """Ids of the requirements that have a judge."""
    return RULES.keys()


__all__ = [
    "RULES",
    "STREAM_RULES",
    "LaterCut",
    "auth",
    "canonical_stream",
    "check_abandoned",
    "check_conflict",
    "check_first_reader",
    "check_joined",
    "check_parts",
    "check_race",
    "check_resumed",
    "check_retry",
    "check_stream",
    "conflict",
    "events",
    "framing",
    "headers",
    "ids",
    "implemented",
    "input",
    "key",
    "liveness",
    "race",
    "resume",
    "rules_for",
    "run_id",
    "security",
    "terminal",
]
