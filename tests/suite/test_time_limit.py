from __future__ import annotations

import asyncio
import signal
import threading
from concurrent.futures import CancelledError
from contextlib import suppress

import pytest

from harness.config.settings import Settings
from harness.suite.judging import JudgingLimit, ends_in_time
from harness.suite.scenario import ScenarioContext, ScenarioRunner, Undecided
from harness.suite.time_limit import TimeLimit

ACTION = {"toolId": "t", "toolName": "T", "aiDescription": "d", "runtimeScope": "test"}


def settings(**limits: float) -> Settings:
    target = {"base_url": "http://127.0.0.1:9", "organization_id": "o", "actions": {"success": ACTION}}
    return Settings.model_validate({"target": target, "limits": limits, "budgets": {"run": 10}})


def test_it_follows_from_the_budgets_or_is_set() -> None:
    derived = settings()
    assert derived.limits.suite_s(derived.budgets) == 90 + 8 * (10 + 10 + 5)
    fixed = settings(suite=7)
    assert fixed.limits.suite_s(fixed.budgets) == 7


def test_it_grows_by_the_time_for_which_the_target_puts_requests_off() -> None:
    now_s, put_off_s = [100.0], [0.0]
    limit = TimeLimit(60, lambda: put_off_s[0], lambda: now_s[0])
    assert limit.left_to_judge_s() == 60
    now_s[0] += 70
    assert limit.left_to_judge_s() == 0
    put_off_s[0] = 30
    assert limit.left_to_judge_s() == 20
    put_off_s[0] = 1e9
    assert limit.left_to_judge_s() == 590


@pytest.mark.parametrize(("limit_s", "judging_s"), [(8, 1), (240, 30), (1000, 30)])
def test_its_last_part_is_for_judging(limit_s: float, judging_s: float) -> None:
    limit = TimeLimit(limit_s, lambda: 0.0, lambda: 0.0)
    assert (limit.left_s(), limit.left_to_judge_s()) == (limit_s - judging_s, limit_s)


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


def test_a_scenario_that_needs_another_does_not_wait_longer_for_it() -> None:
    async def endless(_: ScenarioContext) -> None:
        await asyncio.Event().wait()

    async def run() -> None:
        context = ScenarioContext(settings(suite=0.05))
        with pytest.raises(Undecided, match=r"limits\.suite"):
            await asyncio.wait_for(context.run_once(endless), 30)

    asyncio.run(run())


def test_a_scenario_that_computes_without_end_is_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop cannot tell that the time is up; and nobody waits for its end."""
    monkeypatch.setattr("harness.suite.scenario._ANSWERS_WITHIN_S", 0.05)
    monkeypatch.setattr("harness.suite.scenario._ENDS_WITHIN_S", 0.05)
    go_on = threading.Event()

    async def computing(_: ScenarioContext) -> None:
        go_on.wait()

    runner = ScenarioRunner(settings(suite=0.1))
    with runner, pytest.raises(Undecided, match=r"limits\.suite"):
        runner.outcome(computing)
    go_on.set()
    with suppress(CancelledError):  # what ends the runner cancels it too
        runner.run(asyncio.sleep(0.05))
    runner._loop.call_soon_threadsafe(runner._loop.stop)
    runner._thread.join()
    runner._loop.close()


def spent() -> TimeLimit:
    return TimeLimit(0.0, lambda: 0.0)


def for_ever() -> None:
    while True:
        pass


def test_judging_ends_with_the_limit() -> None:
    limit = TimeLimit(0.05, lambda: 0.0)
    with pytest.raises(Undecided, match=r"limits\.suite") as reason, ends_in_time(limit):
        for_ever()
    assert reason.value.ends_test
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL


def test_nothing_is_judged_after_the_limit() -> None:
    judged = []
    with pytest.raises(Undecided, match=r"limits\.suite"), ends_in_time(spent()):
        judged.append(True)
    assert not judged


def test_judging_goes_on_if_the_target_put_requests_off_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    left_s = iter([1000.0, 1000.0, 500.0])  # at the start, and at the alarm
    monkeypatch.setattr(TimeLimit, "left_to_judge_s", lambda _: next(left_s))
    with ends_in_time(spent()):
        signal.raise_signal(signal.SIGALRM)
        assert 400 < signal.getitimer(signal.ITIMER_REAL)[0] <= 500


def test_a_destructor_that_swallows_the_end_is_interrupted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.suite.judging._AGAIN_S", 0.02)
    swallowed = []

    def judge() -> None:
        try:
            for_ever()
        except Undecided:
            swallowed.append(True)
        for_ever()

    with pytest.raises(Undecided), ends_in_time(TimeLimit(0.02, lambda: 0.0)):
        judge()
    assert swallowed


def test_a_destructor_is_not_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python would print the exception, and go on."""
    left_s = [1000.0]
    finished = []
    monkeypatch.setattr(TimeLimit, "left_to_judge_s", lambda _: left_s[0])

    class Dropped:
        def __del__(self) -> None:
            left_s[0] = 0.0
            signal.raise_signal(signal.SIGALRM)
            finished.append(True)

    def judge() -> None:
        Dropped()
        for_ever()

    with pytest.raises(Undecided), ends_in_time(spent()):
        judge()
    assert finished


def test_another_plugins_timer_is_left_alone() -> None:
    signal.setitimer(signal.ITIMER_REAL, 1000)
    try:
        with ends_in_time(TimeLimit(100, lambda: 0.0)):
            assert signal.getitimer(signal.ITIMER_REAL)[0] > 900
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 900
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def test_another_thread_is_not_interrupted() -> None:
    done = []

    def work() -> None:
        with ends_in_time(TimeLimit(100, lambda: 0.0)):
            done.append(signal.getitimer(signal.ITIMER_REAL))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [(0.0, 0.0)]


def test_the_plugin_limits_the_tests_of_a_suite_only() -> None:
    """pytest runs it around the test function."""

    def played(item: object) -> list[bool]:
        ran = []
        hook = JudgingLimit(spent()).pytest_pyfunc_call(item)  # type: ignore[arg-type]
        with suppress(StopIteration, Undecided):
            next(hook)
            ran.append(True)
        return ran

    class Item:
        def __init__(self, requirement: str | None) -> None:
            self._requirement = requirement

        def get_closest_marker(self, name: str) -> object:
            return pytest.mark.harness_requirement(self._requirement).mark if self._requirement else None

    assert played(Item(None)) == [True]
    assert played(Item("ids.unique")) == []
