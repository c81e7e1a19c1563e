from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from harness.load.bounds import machine as module
from harness.load.bounds.machine import reachable_open_files, stream_cost_s, this_machine


@pytest.fixture(autouse=True)
def _measured_anew() -> Iterator[None]:
    stream_cost_s.cache_clear()
    yield
    stream_cost_s.cache_clear()


def test_this_machine() -> None:
    here = this_machine()
    assert here.cores > 0
    assert here.open_files >= 200
    assert here.memory_bytes is None or here.memory_bytes > 0


def test_open_files_that_locust_can_reach() -> None:
    assert reachable_open_files(1_024, 20_000) == 10_000
    assert reachable_open_files(1_024, 4_096) == 4_096
    assert reachable_open_files(12_000, 20_000) == 12_000


def test_the_cost_of_a_stream_is_measured_once_by_a_process_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commands: list[Any] = []

    def run(command: Any, **_: Any) -> Any:
        commands.append(command)
        return SimpleNamespace(stdout="0.0008\n")

    monkeypatch.setattr(module.subprocess, "run", run)
    assert stream_cost_s() == stream_cost_s() == 0.0008
    assert commands == [[sys.executable, "-m", "harness.load.bounds.stream_cost"]]


@pytest.mark.parametrize(
    "problem",
    [
        OSError("no python"),
        subprocess.CalledProcessError(1, "python"),
        subprocess.TimeoutExpired("python", 60),
        ValueError("no number"),
    ],
)
def test_a_cost_that_cannot_be_measured_is_unknown(
    problem: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: Any, **__: Any) -> Any:
        raise problem

    monkeypatch.setattr(module.subprocess, "run", run)
    assert stream_cost_s() is None


def test_the_real_measurement() -> None:
    cost_s = stream_cost_s()
    assert cost_s is not None
    assert 0.00001 < cost_s < 0.1  # between what no machine and what every machine can do
