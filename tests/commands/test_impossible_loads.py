"""No verb begins with a load that is impossible on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.capacity.search import SearchPlan
from harness.commands.ab import AbPlan, run_ab
from harness.commands.capacity import run_capacity
from harness.commands.check import run_check
from harness.commands.load import run_load
from harness.commands.load_web import PageAddress, run_load_web
from harness.config.settings import Settings
from harness.errors import SettingsError
from harness.load.bounds.limits import LoadLimits
from tests.cases import all_cases

RATE = 1e9
SETTINGS = Settings.model_validate({"load": {"rate": RATE, "duration": 5}})

VERBS: dict[str, Callable[[Path], int]] = {
    "load": lambda out: run_load(SETTINGS, out),
    "load --web": lambda out: run_load_web(SETTINGS, out, PageAddress(port=0)),
    "check": lambda out: run_check(SETTINGS, out),
    "ab": lambda out: run_ab((SETTINGS, SETTINGS), AbPlan(), out),
    "capacity": lambda out: run_capacity(
        Settings(), SearchPlan(1, RATE, 3, 0.1), (), step_s=5, time_budget_s=60, out=out
    ),
}


def _begun(*_: object, **__: object) -> None:
    raise AssertionError("the verb has begun")


@pytest.fixture(autouse=True)
def _nothing_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (
        "load.ensure_testable",
        "load_web.ensure_testable",
        "capacity.ensure_testable",
        "check.refuse_repeats",
        "ab._started",
    ):
        monkeypatch.setattr(f"harness.commands.{step}", _begun)
    monkeypatch.setattr(LoadLimits, "rate", lambda _: (1000.0, "known"))  # else it is measured


@all_cases("verb", list(VERBS))
def test_an_impossible_load_is_refused_before_anything(tmp_path: Path, verb: str) -> None:
    with pytest.raises(SettingsError, match="arrivals per second"):
        VERBS[verb](tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
