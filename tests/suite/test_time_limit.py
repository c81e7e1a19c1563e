from __future__ import annotations

import asyncio

import pytest

from harness.config.settings import Settings
from harness.suite.scenario import ScenarioContext, ScenarioRunner, Undecided
from harness.suite.time_limit import TimeLimit

ACTION = {"toolId": "t", "toolName": "T", "aiDescription": "d", "runtimeScope": "test"}


def settings(**limits: float) -> Settings:
    target = {"base_url": "http://127.0.0.1:9", "organization_id": "o", "actions": {"success": ACTION}}
    return Settings.model_validate({"target": target, "limits": limits, "budgets": {"run": 10}})


def test_it_follows_from_the_budgets_or_is_set() -> None:
    derived = settings()
    assert derived.limits.suite_s(derived.budgets) == 60 + 8 * (10 + 10 + 5)
    fixed = settings(suite=7)
    assert fixed.limits.suite_s(fixed.budgets) == 7


def test_it_grows_by_the_time_for_which_the_target_puts_requests_off() -> None:
    now_s, put_off_s = [100.0], [0.0]
    limit = TimeLimit(60, lambda: put_off_s[0], lambda: now_s[0])
    assert limit.left_s() == 60
    now_s[0] += 70
    assert limit.left_s() == 0
    put_off_s[0] = 30
    assert limit.left_s() == 20
    put_off_s[0] = 1e9
    assert limit.left_s() == 590


def test_a_scenario_that_has_not_ended_by_then_is_undecided() -> None:
    async def endless(_: ScenarioContext) -> None:
        await asyncio.Event().wait()

    async def short(_: ScenarioContext) -> int:
        return 3

    with ScenarioRunner(settings(suite=0.2)) as runner:
        assert runner.outcome(short) == 3
        with pytest.raises(Undecided, match=r"reached its limit of 200 ms \(limits.suite\)") as reason:
            runner.outcome(endless)
        assert reason.value.ends_test
        assert runner.outcome(short) == 3
