from __future__ import annotations

import json
import math

import pytest

from harness.config.settings import Settings
from harness.load.schedule.plan import LoadPlan, WorkerShare

NS = 1_000_000_000


def settings(**tables: object) -> Settings:
    return Settings.model_validate(tables)


@pytest.mark.parametrize(
    ("start_ns", "warmup_s", "second"),
    [(5 * NS + 1, 0.0, -math.inf), (5 * NS, 1.0, 6), (5 * NS + 1, 1.0, 7), (5 * NS, 1.5, 7)],
)
def test_it_counts_from_a_whole_second_after_the_warm_up(
    start_ns: int, warmup_s: float, second: float
) -> None:
    plan = LoadPlan.of(settings(load={"rate": 1, "warmup": warmup_s, "duration": 9}), start_ns, None)
    assert plan.measured_from == second


@pytest.mark.parametrize(
    ("export", "share"),
    [
        ({}, None),
        ({"trace_share": 0.5}, None),
        ({"otlp_traces_endpoint": "http://h:4318"}, 0.01),
        ({"otlp_traces_endpoint": "http://h:4318", "trace_share": 0}, 0.0),
    ],
)
def test_the_workers_know_from_the_master_whether_traces_are_wanted(
    export: dict[str, object], share: float | None
) -> None:
    plan = LoadPlan.of(settings(load={"rate": 1, "seed": 3}, export=export), 7, None)
    message = json.loads(json.dumps(plan.to_message(["a", "b"])))
    received = LoadPlan.from_message(message, "b")
    assert (plan.trace_share, received.trace_share) == (share, share)
    assert (received.test, received.start_wall_ns, received.share) == (plan.test, 7, WorkerShare(1, 2))
