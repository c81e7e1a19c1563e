import gc
import sys

import gevent

from harness.load.locust.process import tune
from tests.benchmarks.target import running_target
from tests.benchmarks.traces import SHORT_RUNS, VARIANTS, Load, measure_traces, tuned


def settings() -> tuple[object, ...]:
    return gc.get_threshold(), sys.getswitchinterval(), gevent.config.track_greenlet_tree


def test_traces_are_measured_with_the_settings_of_a_load_process() -> None:
    before, was_frozen = settings(), gc.get_freeze_count() > 0
    with tuned():
        during = settings()
        tune()
        assert settings() == during != before
    assert (settings(), gc.get_freeze_count() > 0) == (before, was_frozen)


def test_a_round_of_each_variant_is_measured_so(monkeypatch) -> None:
    with tuned():
        expected = settings()
    found = []
    round_us = Load.round_us

    def noted(load: Load) -> float:
        found.append(settings())
        return round_us(load)

    monkeypatch.setattr(Load, "round_us", noted)
    with running_target(SHORT_RUNS, core=None) as target:
        case = measure_traces(target, rounds=1)
    assert found == [expected] * 2 * len(VARIANTS)
    assert min(case["cpu_us_per_event"].values()) > 0
