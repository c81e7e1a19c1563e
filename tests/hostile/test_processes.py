"""Suite and load against hostile servers, as processes: time and memory of all of them together."""

from __future__ import annotations

from pathlib import Path

import pytest

from .corpus import CORPUS
from .measure import Run, run_load, run_suite

LOADS = ["heads: 59,000 equal fields", "events: five million tiny events"]
SAMPLE_S = 2
SUITES = ["heads: 59,000 equal fields"]


def check(run: Run) -> None:
    assert run.held, f"{run.problem} ({run.outcome}):\n{run.output[-3000:]}"


@pytest.mark.slow
@pytest.mark.parametrize("name", LOADS)
def test_a_sample_of_the_load(name: str, tmp_path: Path, certificate: Path) -> None:
    check(run_load(name, tmp_path, certificate, SAMPLE_S))


@pytest.mark.slow
@pytest.mark.parametrize("name", SUITES)
def test_a_sample_of_the_suite(name: str, tmp_path: Path, certificate: Path) -> None:
    """One area: all of the suite meets the same client and the same limits. `make hostile` runs all areas."""
    check(run_suite(name, tmp_path, certificate, area="framing"))


@pytest.mark.hostile
@pytest.mark.parametrize("name", [name for name in CORPUS if name not in LOADS])
def test_every_load(name: str, tmp_path: Path, certificate: Path) -> None:
    check(run_load(name, tmp_path, certificate))


@pytest.mark.hostile
@pytest.mark.parametrize("name", CORPUS)
def test_every_suite(name: str, tmp_path: Path, certificate: Path) -> None:
    check(run_suite(name, tmp_path, certificate))
