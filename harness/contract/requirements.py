"""The requirement catalogue: the requirement of every rule, in the order of diagnosis.

The order puts causes before their consequences, so the first failure of a session is the one nearest to the cause:
areas in the order of AREAS, and within an area in the order in which its module defines the rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from harness.contract.rules import (
    auth,
    cancel,
    conflict,
    events,
    framing,
    headers,
    ids,
    input,  # noqa: A004 - the area's name
    key,
    liveness,
    race,
    replica,
    restart,
    resume,
    run_id,
    security,
    terminal,
    workflow,
)
from harness.contract.rules.rule import Level, Need, Requirement, Rule

AREAS = (
    headers,
    framing,
    events,
    ids,
    terminal,
    liveness,
    auth,
    security,
    input,
    run_id,
    key,
    resume,
    conflict,
    race,
    cancel,
    workflow,
    replica,
    restart,
)


def _collect() -> Iterator[tuple[str, Rule]]:
    for area in AREAS:
        name = area.__name__.rpartition(".")[2].replace("_", "-")
        for member in vars(area).values():
            if isinstance(member, Rule) and member.requirement.area == name:
                yield member.requirement.id, member


RULES: dict[str, Rule] = dict(_collect())
"""Every rule by the id of its requirement."""

CATALOGUE: dict[str, Requirement] = {name: rule.requirement for name, rule in RULES.items()}
"""Every requirement by its id."""


def find(requirement_id: str) -> Requirement:
    """The requirement with that id. Raises KeyError with the nearest id in its message."""
    try:
        return CATALOGUE[requirement_id]
    except KeyError:
        near = get_close_matches(requirement_id, CATALOGUE, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise KeyError(f"unknown requirement {requirement_id!r}{hint}") from None


def areas() -> tuple[str, ...]:
    """The areas, in catalogue order."""
    return tuple(dict.fromkeys(requirement.area for requirement in CATALOGUE.values()))


__all__ = ["CATALOGUE", "RULES", "Level", "Need", "Requirement", "areas", "find"]
