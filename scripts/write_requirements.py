"""Writes docs/requirements.md from the catalogue, the suite, its scenarios and the mutants."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import harness.conformance
from harness.conformance.conftest import REPLAYS, STREAMS
from harness.conformance.scenarios import every_scenario
from harness.contract.requirements import CATALOGUE, Requirement, areas
from harness.reference.faults.base import FAULTS

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "requirements.md"

_HEAD = """\
# What is checked

The catalogue, in the order of diagnosis: what breaks first comes first. This page is made by
`python -m scripts.write_requirements`; a test holds it current.

**MUST** fails the run, **SHOULD** warns (and fails under `--strict`), **INFO** discovers what the server does.
Sources: *api* is the API's documentation, *reading n* how we read it where it is silent, *W* WHATWG HTML 9.2,
*D* draft-ietf-httpapi-idempotency-key-header, *ours* what users rely on though nobody wrote it down.
"""


def _modules() -> Iterator[ModuleType]:
    for path in sorted(Path(harness.conformance.__file__).parent.glob("test_*.py")):
        yield importlib.import_module(f"harness.conformance.{path.stem}")


def _tests() -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    """By requirement: the suite's tests, each with the names of its fixtures."""
    found: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for module in _modules():
        for name, function in inspect.getmembers(module, inspect.isfunction):
            for mark in getattr(function, "pytestmark", ()):
                if mark.name == "requirement":
                    fixtures = tuple(inspect.signature(function).parameters)
                    found.setdefault(mark.args[0], []).append((name, fixtures))
    return found


def _situations(fixtures: tuple[str, ...]) -> Iterator[str]:
    scenarios = every_scenario()
    for name in fixtures:
        if name in scenarios:
            yield (inspect.getdoc(scenarios[name]) or "").splitlines()[0]
        elif name == "stream":
            yield f"A run of each configured action ({', '.join(one.removesuffix('_run') for one in STREAMS)})."
        elif name == "replayed":
            yield f"Runs and their retries ({', '.join(one.removeprefix('replayed_') for one in REPLAYS)})."


def _entry(row: Requirement, tests: list[tuple[str, tuple[str, ...]]]) -> Iterator[str]:
    yield f"### {row.id}"
    yield f"**{row.level}** · {row.source}" + (f" · needs: {row.needs}" if row.needs else "")
    yield f"{row.text}. {row.why}"
    situations = dict.fromkeys(one for _, fixtures in tests for one in _situations(fixtures))
    yield "Checked on: " + " ".join(situations)
    mutants = [name for name, fault in FAULTS.items() if fault.breaks == row.id]
    if mutants:
        yield "Proven by: " + ", ".join(f"`{name}`" for name in sorted(mutants))


def requirements_document() -> str:
    """The page."""
    tests = _tests()
    parts = [_HEAD.rstrip()]
    for area in areas():
        parts.append(f"## {area}")
        for row in CATALOGUE.values():
            if row.area == area:
                parts += _entry(row, tests.get(row.id, []))
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(requirements_document(), encoding="utf-8")
