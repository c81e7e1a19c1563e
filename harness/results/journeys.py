"""The names of journeys. A journey of several steps has a name for each: workflow.step2 is a step of workflow."""

from __future__ import annotations

from collections.abc import Iterable


def belongs(name: str, journey: str | None) -> bool:
    """Whether streams named `name` are of `journey`: of the journey itself, or of one of its steps. None: of any."""
    return journey is None or name == journey or name.startswith(f"{journey}.")


def parent(name: str) -> str | None:
    """The journey of a step; None for the name of a journey."""
    journey, dot, _ = name.rpartition(".")
    return journey if dot else None


def with_parents(names: Iterable[str]) -> list[str]:
    """The names in their order, each journey of several steps before its first step."""
    found: dict[str, None] = {}
    for name in names:
        journey = parent(name)
        if journey is not None:
            found.setdefault(journey)
        found.setdefault(name)
    return list(found)


def is_known(journey: str | None, names: Iterable[str]) -> bool:
    """Whether any of these names is of the journey. None stands for all journeys, which are always known."""
    return journey is None or any(belongs(name, journey) for name in names)


def is_of(column: str, parameter: str) -> str:
    """SQL for `belongs`, of a column and of a parameter such as ?1."""
    return (
        f"({parameter} IS NULL OR {column} = {parameter} "
        f"OR substr({column}, 1, length({parameter}) + 1) = {parameter} || '.')"
    )
