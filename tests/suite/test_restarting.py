"""The command that restarts the target, and the wait for it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from harness.contract.exchange import Exchange
from harness.suite.restarting import accepted_again, run_command
from harness.suite.scenario import Limits, NotApplicable, ScenarioContext, Undecided
from tests.contract.exchanges import no_answer, whole_run
from tests.suite.test_scenario import settings


def test_a_command_runs_in_a_shell(tmp_path: Path) -> None:
    asyncio.run(run_command(f"echo one && echo two > {tmp_path}/file", 60))
    assert (tmp_path / "file").read_text() == "two\n"


def test_a_command_that_fails_is_told_with_its_last_words() -> None:
    with pytest.raises(Undecided, match=r"target\.restart_command ended with code 3: 'no such service'"):
        asyncio.run(run_command("echo first; echo no such service >&2; exit 3", 60))


def test_a_command_that_does_not_end_is_killed_with_what_it_started(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with pytest.raises(Undecided, match=r"did not end within 0\.5 s \(budgets\.restart\)"):
        asyncio.run(run_command(f"sleep 600 & echo $! > {pid_file}; wait", 0.5))
    deadline_s = time.monotonic() + 30
    while Path(f"/proc/{pid_file.read_text().strip()}/exe").exists():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_tries_go_on_until_a_run_is_accepted_or_the_time_is_over() -> None:
    refused, accepted = no_answer(), whole_run()
    answers = [refused, no_answer(), accepted]

    async def recovers() -> Exchange:
        return answers.pop(0)

    async def stays_down() -> Exchange:
        return no_answer()

    async def job() -> list[list[Exchange]]:
        return await accepted_again([recovers, stays_down], asyncio.get_running_loop().time() + 0.5)

    recovered, down = asyncio.run(job())
    assert recovered == [refused, accepted]
    assert [one.started_run for one in down] == [False, False]


def test_no_restart_where_other_processes_use_the_target() -> None:
    async def job() -> None:
        context = ScenarioContext(settings(), Limits(alone=False))
        with pytest.raises(NotApplicable, match="restarts need the suite in one process, without -n"):
            context.require_alone("restarts")
        ScenarioContext(settings()).require_alone("restarts")

    asyncio.run(job())


def test_the_last_scenario_waits_for_the_one_that_waits_for_the_others() -> None:
    ended: list[str] = []

    async def usual(context: ScenarioContext) -> None:
        await asyncio.sleep(0.05)
        ended.append("usual")

    async def late(context: ScenarioContext) -> None:
        await context.run_once(usual)
        await context.others_ended()
        ended.append("late")

    async def last(context: ScenarioContext) -> None:
        await context.others_ended(last=True)
        ended.append("last")

    async def job() -> None:
        context = ScenarioContext(settings())
        await asyncio.gather(*(context.run_once(one) for one in (last, late, usual)))
        await context.close()

    asyncio.run(asyncio.wait_for(job(), 30))
    assert ended == ["usual", "late", "last"]
