from __future__ import annotations

import os

import psutil
import pytest

from tests.soak import growth
from tests.soak.growth import Watched


def watched(memory_mb_per_hour: float = 0.0, files_per_hour: float = 0.0, seconds: int = 3600) -> Watched:
    """A process that needs 40 MB in its warm-up, grows steadily, and wavers."""
    process = Watched("worker 1", psutil.Process(os.getpid()))
    for second in range(0, seconds, 5):
        warm_mb = 40 * min(1.0, second / growth.WARM_UP_S)
        memory_mb = 60 + warm_mb + memory_mb_per_hour * second / 3600 + second % 3 * 0.5
        process.samples.append(
            (second, memory_mb, 18 + int(files_per_hour * second / 3600) + second // 5 % 4)
        )
    return process


def test_a_process_that_wavers_is_flat() -> None:
    flat = watched()
    assert flat.problems == []
    found = flat.growth(1)
    assert found is not None
    assert found.middle == pytest.approx(100.5, abs=0.6)
    assert abs(found.per_hour) < 1


def test_growth_is_named_with_its_limit() -> None:
    (problem,) = watched(memory_mb_per_hour=20).problems
    assert problem.startswith("worker 1 grew by ")
    assert problem.endswith("MB of memory per hour, by 18.3 in all (limit 12 per hour)")
    (problem,) = watched(files_per_hour=30).problems
    assert "descriptors per hour" in problem


def test_a_little_growth_is_not_judged() -> None:
    assert watched(memory_mb_per_hour=5).problems == []
    assert watched(memory_mb_per_hour=20, seconds=900).problems == []  # 3 MB in ten minutes


def test_a_process_that_lived_shortly_is_not_judged() -> None:
    short = watched(memory_mb_per_hour=500, seconds=int(growth.WARM_UP_S + growth.LEAST_S))
    assert short.growth(1) is None
    assert short.problems == []


def test_a_process_is_sampled_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Watched("this one", psutil.Process(os.getpid()))
    process.sample(1.0)
    ((second, memory_mb, files),) = process.samples
    assert (second, memory_mb > 10, files > 2) == (1.0, True, True)

    def gone() -> None:
        raise psutil.NoSuchProcess(1)

    monkeypatch.setattr(process.process, "memory_info", gone)
    process.sample(2.0)
    assert len(process.samples) == 1
