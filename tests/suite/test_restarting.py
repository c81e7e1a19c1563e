"""The command that restarts the target, and the wait for it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.contract.exchange import Ending, Exchange
from harness.contract.rules.rule import Need
from harness.errors import SettingsError
from harness.suite.restarting import Flight, Restarting, accepted_again, ask, restart_in_flight, run_command
from harness.suite.scenario import Limits, NotApplicable, ScenarioContext, Undecided
from tests.contract.exchanges import no_answer, run, token, whole_run
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
        await context.others_ended(turn=2)
        ended.append("last")

    async def job() -> None:
        context = ScenarioContext(settings())
        await asyncio.gather(*(context.run_once(one) for one in (last, late, usual)))
        await context.close()

    asyncio.run(asyncio.wait_for(job(), 30))
    assert ended == ["usual", "late", "last"]


def test_a_command_that_leaves_a_server_in_the_background_has_ended(tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    began_s = time.monotonic()
    asyncio.run(run_command(f"(while [ ! -e {stop} ]; do sleep 0.05; done; rm {stop}) & exit 0", 60))
    assert time.monotonic() - began_s < 50
    stop.touch()
    while stop.exists():  # it was not killed
        assert time.monotonic() - began_s < 60
        time.sleep(0.01)


@contextmanager
def terminal() -> Iterator[tuple[int, str]]:
    """The keyboard of a terminal, and the terminal's path."""
    keyboard, end = os.openpty()
    try:
        yield keyboard, os.ttyname(end)
    finally:
        os.close(end)
        os.close(keyboard)


def test_the_user_is_asked_on_the_terminal_and_told_when(tmp_path: Path) -> None:
    with terminal() as (keyboard, path):
        told = tmp_path / "told"
        restarting = Restarting("false", 60, terminal=path, tells=told)

        async def job() -> None:
            asking = asyncio.create_task(restarting.prepare())
            question = await asyncio.to_thread(os.read, keyboard, 4096)
            assert b"then press Enter" in question
            assert not asking.done()
            assert not told.exists()
            os.write(keyboard, b"\n")
            await asking
            await restarting.restart()  # the command, which fails, is not run

        asyncio.run(asyncio.wait_for(job(), 60))
        answer = b""
        while b"NOW" not in answer:
            answer += os.read(keyboard, 4096)
        assert 0 <= time.monotonic_ns() - int(told.read_text()) < 600e9


ENDED = whole_run()
CUT = run(token(0), ending=Ending.RESET)
REFUSED = no_answer()


class Wanted(Restarting):
    """A restart of which nothing but its end is of interest, and that takes some turns of the event loop."""

    __slots__ = ()

    async def restart(self) -> None:
        for _ in range(int(self.command or 0)):
            await asyncio.sleep(0)


def in_flight_at(restarting: Restarting, *flights: Exchange) -> tuple[Exchange, int]:
    """The reader of the run that was in flight, and how many have begun; the last of `flights` again and again."""
    begun = 0

    async def begin() -> Callable[[], Awaitable[Flight]]:
        nonlocal begun
        reader = flights[min(begun, len(flights) - 1)]
        begun += 1

        async def read() -> Flight:
            await asyncio.sleep(0)
            return [(reader.request, [reader])]

        return read

    async def job() -> Flight:
        return (await restart_in_flight(restarting, begin))[0]

    ((_, (reader,)),) = asyncio.run(asyncio.wait_for(job(), 60))
    return reader, begun


def test_by_hand_runs_are_in_flight_until_one_is_interrupted() -> None:
    with terminal() as (keyboard, path):
        restarting = Restarting(None, 60, terminal=path)
        assert in_flight_at(restarting, ENDED, ENDED, CUT) == (CUT, 3)
        told = b""
        while b"the restart was seen" not in told:
            told += os.read(keyboard, 4096)
        assert b"NOW, within 60 s (budgets.restart)" in told
        assert in_flight_at(restarting, ENDED, REFUSED) == (ENDED, 2), (
            "which could not begin, was not in flight"
        )
        assert in_flight_at(restarting, REFUSED) == (REFUSED, 1)
        assert in_flight_at(restarting, ENDED) == (ENDED, 40), "a bounded number of runs"


def test_by_hand_the_time_is_limited() -> None:
    with terminal() as (keyboard, path):
        assert in_flight_at(Restarting(None, 0, terminal=path), ENDED) == (ENDED, 1)
        told = b""
        while b"no restart was seen" not in told:
            told += os.read(keyboard, 4096)


def test_runs_are_in_flight_until_the_command_has_ended() -> None:
    assert in_flight_at(Wanted("0", 60), ENDED) == (ENDED, 1)
    reader, begun = in_flight_at(Wanted("6", 60), ENDED)
    assert reader is ENDED
    assert 4 < begun < 12
    assert in_flight_at(Wanted("6", 60), ENDED, CUT) == (CUT, 2)


def test_a_command_that_fails_while_runs_are_in_flight_is_undecided() -> None:
    with pytest.raises(Undecided, match=r"target\.restart_command ended with code 3"):
        in_flight_at(Restarting("exit 3", 60), CUT)


def test_without_an_answer_a_restart_is_undecided() -> None:
    with terminal() as (_, path), pytest.raises(Undecided, match=r"nobody answered the question on /dev/pts"):
        asyncio.run(ask(path, b"?", 0.05))


def test_a_terminal_that_cannot_be_opened_is_told_at_the_start() -> None:
    with pytest.raises(SettingsError, match=r"asks on the terminal /nowhere, which cannot be opened"):
        ScenarioContext(settings(), Limits(terminal="/nowhere"))


def test_a_restart_by_hand_needs_no_command() -> None:
    async def job() -> None:
        with terminal() as (_, path):
            ScenarioContext(settings(), Limits(terminal=path)).require(Need.RESTART)
        with pytest.raises(
            NotApplicable, match=r"configure target\.restart_command, or use --harness-restart"
        ):
            ScenarioContext(settings()).require(Need.RESTART)

    asyncio.run(job())


def test_what_disturbs_others_waits_for_them_and_the_late_retry_for_it() -> None:
    ended: list[str] = []

    async def usual(context: ScenarioContext) -> None:
        await asyncio.sleep(0.15)
        ended.append("usual")

    async def disturbing(context: ScenarioContext) -> None:
        await context.others_ended(turn=0)
        ended.append("disturbing")

    async def late(context: ScenarioContext) -> None:
        await asyncio.sleep(0.1)  # it waits for others only after a while
        await context.others_ended()
        ended.append("late")

    async def job() -> None:
        context = ScenarioContext(settings())
        await asyncio.gather(*(context.run_once(one) for one in (late, disturbing, usual)))
        await context.close()

    asyncio.run(asyncio.wait_for(job(), 30))
    assert ended == ["usual", "disturbing", "late"]
