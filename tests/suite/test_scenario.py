from __future__ import annotations

import asyncio
import inspect
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from harness.config.settings import Settings
from harness.contract.exchange import Ending, Exchange
from harness.suite.scenario import (
    Limits,
    NotApplicable,
    ScenarioContext,
    ScenarioRunner,
    Undecided,
    gather_some,
    retry_after_s,
)
from tests.cases import all_cases
from tests.contract.exchanges import LAST_CHUNK, STREAM, chunk, done, head, no_answer, reply
from tests.transport.servers import Connection, bounded, listening, sending, sending_and_waiting

ACTION = {"toolId": "t", "toolName": "T", "aiDescription": "…", "runtimeScope": "test"}
WHOLE = head(200, {**STREAM, "Transfer-Encoding": "chunked"}) + chunk(done(0)) + LAST_CHUNK


def settings(port: int = 9) -> Settings:
    target = {
        "base_url": f"http://127.0.0.1:{port}",
        "token": "t",
        "organization_id": "org-1",
        "actions": {"success": ACTION},
    }
    return Settings.model_validate({"target": target, "budgets": {"first_event": 5}})


# Scenarios


def test_a_scenario_is_played_once_whoever_asks() -> None:
    played: list[str] = []

    async def inner(context: ScenarioContext) -> str:
        played.append("inner")
        await asyncio.sleep(0.02)
        return "inner"

    async def outer(context: ScenarioContext) -> str:
        played.append("outer")
        return f"outer of {await context.run_once(inner)}"

    async def job() -> None:
        context = ScenarioContext(settings())
        found = await asyncio.gather(
            context.run_once(outer), context.run_once(inner), context.run_once(outer), context.run_once(inner)
        )
        assert found == ["outer of inner", "inner", "outer of inner", "inner"]
        assert sorted(played) == ["inner", "outer"]
        await context.close()

    bounded(job())


def test_what_a_scenario_raises_is_raised_for_each_who_asks() -> None:
    played: list[str] = []

    async def lacking(context: ScenarioContext) -> None:
        played.append("lacking")
        await context.request("quiet")

    async def job() -> None:
        context = ScenarioContext(settings())
        for _ in range(2):
            with pytest.raises(NotApplicable, match=r"^configure \[target\.actions\.quiet\]$"):
                await context.run_once(lacking)
        assert played == ["lacking"]
        await context.close()

    bounded(job())


def test_a_scenario_waits_for_the_end_of_others_that_were_started_whatever_their_outcome() -> None:
    order: list[str] = []

    async def slow(context: ScenarioContext) -> None:
        await asyncio.sleep(0.05)
        order.append("slow")

    async def lacking(context: ScenarioContext) -> None:
        await context.request("quiet")

    async def never(context: ScenarioContext) -> None:
        order.append("never")

    async def late(context: ScenarioContext) -> None:
        await context.ended((slow, lacking, never))
        order.append("late")

    async def job() -> None:
        context = ScenarioContext(settings())
        jobs = [context.run_once(scenario) for scenario in (slow, lacking, late)]
        await asyncio.gather(*jobs, return_exceptions=True)
        assert order == ["slow", "late"]
        await context.close()

    bounded(job())


def test_who_gives_up_waiting_does_not_end_the_scenario_for_others() -> None:
    async def slow(context: ScenarioContext) -> str:
        await asyncio.sleep(0.1)
        return "slow"

    async def job() -> None:
        context = ScenarioContext(settings())
        impatient = asyncio.create_task(context.run_once(slow))
        await asyncio.sleep(0.02)
        impatient.cancel()
        assert await context.run_once(slow) == "slow"
        await context.close()

    bounded(job())


def test_closing_the_world_stops_what_is_played_and_sent() -> None:
    async def job() -> None:
        async with listening(sending_and_waiting(head(200, STREAM))) as server:
            context = ScenarioContext(settings(server.port))
            live = context.open(await context.request("success"), "a run")

            async def endless(context: ScenarioContext) -> None:
                await asyncio.sleep(60)

            waiting = asyncio.create_task(context.run_once(endless))
            await asyncio.sleep(0.05)
            await context.close()
            assert live.finished
            assert live.exchange.ending is Ending.STOPPED
            with pytest.raises(asyncio.CancelledError):
                await waiting

    bounded(job())


def test_requests_of_one_kind_keep_their_names_and_order() -> None:
    async def job() -> None:
        async with listening(sending(WHOLE)) as server:
            context = ScenarioContext(settings(server.port))
            requests = {number: await context.request("success", key=f"k{number}") for number in range(20)}
            answers = await context.send_all(requests, "number")
            assert list(answers) == list(range(20))
            assert [one.label for one in answers.values()] == [f"number: {number}" for number in range(20)]
            assert {number: one.request for number, one in answers.items()} == requests
            await context.close()

    bounded(job())


def test_at_most_so_many_jobs_at_a_time() -> None:
    running: list[int] = [0, 0]

    async def one(number: int) -> int:
        running[0] += 1
        running[1] = max(running)
        await asyncio.sleep(0.01 * (number % 3))
        running[0] -= 1
        return number

    async def job() -> None:
        assert await gather_some((one(number) for number in range(12)), 4) == list(range(12))
        assert running == [0, 4]

    bounded(job())


# Limits and retries


def test_what_a_target_is_not_to_be_sent() -> None:
    async def job() -> None:
        ScenarioContext(settings()).forbid_when_read_only("races")
        with pytest.raises(NotApplicable, match="races are left out by --read-only"):
            ScenarioContext(settings(), Limits(read_only=True)).forbid_when_read_only("races")

    bounded(job())


def test_connections_are_held_within_the_limit() -> None:
    open_now: list[int] = [0, 0]

    async def script(one: Connection) -> None:
        open_now[0] += 1
        open_now[1] = max(open_now)
        await asyncio.sleep(0.03)
        open_now[0] -= 1
        await one.send(WHOLE)

    async def job() -> None:
        async with listening(script) as server:
            context = ScenarioContext(settings(server.port), Limits(max_connections=3))

            async def together(_context: ScenarioContext) -> None:
                async with context.connections(3):
                    await asyncio.gather(
                        *[context.send(await context.request("success"), "one") for _ in range(3)]
                    )

            singles = [context.send(await context.request("success"), "single") for _ in range(8)]
            await asyncio.gather(*singles, context.run_once(together), context.run_once(together))
            assert len(server.connections) == 11
            with pytest.raises(NotApplicable, match=r"4 simultaneous connections needed; .* allows 3"):
                async with context.connections(4):
                    pytest.fail("it must not begin")
            await context.close()

    bounded(job())
    assert open_now == [0, 3]


def test_a_429_is_honoured_a_few_times() -> None:
    counts = {"/first": 0}

    async def script(one: Connection) -> None:
        counts["/first"] += 1
        busy = head(429, {"Content-Length": "0", "Retry-After": "0"})
        await one.send(busy if counts["/first"] <= 2 else WHOLE)

    async def job() -> None:
        async with listening(script) as server:
            context = ScenarioContext(settings(server.port))
            answer = await context.send(await context.request("success"), "a run")
            assert (answer.status, counts["/first"]) == (200, 3)
            assert answer.label == "a run (again, after a 429)"
            await context.close()
        async with listening(sending(head(429, {"Content-Length": "0", "Retry-After": "0"}))) as server:
            context = ScenarioContext(settings(server.port))
            assert (await context.send(await context.request("success"), "a run")).status == 429
            assert len(server.connections) == 4
            await context.close()

    bounded(job())


BUSY = head(429, {"Content-Length": "0", "Retry-After": "0"})


def test_a_request_that_is_refused_while_others_are_accepted_has_its_answer() -> None:
    async def script(one: Connection) -> None:
        await one.send(BUSY if b"refused-for-ever" in one.head else WHOLE)

    async def job() -> None:
        async with listening(script) as server:
            context = ScenarioContext(settings(server.port))
            await context.send(await context.request("success"), "a run")
            answer = await context.send(await context.request("success", key="refused-for-ever"), "a retry")
            assert (answer.status, answer.label) == (429, "a retry (again, after a 429)")
            assert not context.throttle.gave_up
            await context.close()

    bounded(job())


def test_a_target_that_refuses_everything_is_undecided_and_not_asked_for_ever() -> None:
    async def script(one: Connection) -> None:
        await one.send(WHOLE if b"the-first" in one.head else BUSY)

    async def job() -> None:
        async with listening(script) as server:
            context = ScenarioContext(settings(server.port))
            await context.send(await context.request("success", key="the-first"), "a run")
            for requests in (12, 1):
                before = len(server.connections)
                with pytest.raises(Undecided, match=r"refuses requests for now \(status 429\)") as caught:
                    await context.send(await context.request("success"), "another")
                assert caught.value.ends_test
                assert len(server.connections) - before <= requests
            await context.close()

    bounded(job())


@pytest.mark.parametrize(("refused", "attempts"), [(0, 1), (1, 2), (2, 3)])
def test_a_scenario_is_run_again_while_its_connections_are_refused(refused: int, attempts: int) -> None:
    left = [refused]
    played: list[int] = []

    async def script(one: Connection) -> None:
        if b"Idempotency-Key: joiner" in one.head and left[0]:
            left[0] -= 1
            await one.send(BUSY)
        else:
            await one.send(WHOLE)

    async def joined(context: ScenarioContext) -> list[Exchange]:
        played.append(context.parties(20))
        async with context.connections(2):
            streams = [
                context.open(await context.request("success", key=key), "a stream")
                for key in (None, "joiner")
            ]
            return [await stream.result() for stream in streams]

    async def job() -> None:
        async with listening(script) as server:
            context = ScenarioContext(settings(server.port))
            context.throttle.accepted()
            assert [one.status for one in await context.run_once(joined)] == [200, 200]
            await context.close()

    bounded(job())
    assert played == [20, 10, 5][:attempts]


def test_a_join_that_is_always_refused_is_judged_and_too_many_at_once_are_not() -> None:
    busy_alone, busy_together = [True], [False]
    open_now = [0]

    async def script(one: Connection) -> None:
        open_now[0] += 1
        crowded = open_now[0] > 1
        await asyncio.sleep(0.02)
        open_now[0] -= 1
        joins = b"Idempotency-Key: joiner" in one.head
        await one.send(BUSY if (joins and busy_alone[0]) or (crowded and busy_together[0]) else WHOLE)

    async def joined(context: ScenarioContext) -> list[Exchange]:
        async with context.connections(2):
            names = {"the first": None, "the joiner": "joiner"}
            streams = [
                context.open(await context.request("success", key=key), name) for name, key in names.items()
            ]
            return [await stream.result() for stream in streams]

    async def job() -> None:
        async with listening(script) as server:
            context = ScenarioContext(settings(server.port))
            context.throttle.accepted()
            assert [one.status for one in await context.unrefused(lambda: joined(context))] == [200, 429]
            busy_alone[0], busy_together[0] = False, True
            context = ScenarioContext(settings(server.port))
            context.throttle.accepted()
            with pytest.raises(Undecided, match=r"refuses 2 requests at once .* --harness-max-concurrency"):
                await context.unrefused(lambda: joined(context))
            await context.close()

    bounded(job())


def asking_for(value: str | None) -> Exchange:
    return reply(429, headers={"Retry-After": value})


@all_cases(
    ("asked", "seconds"),
    [
        ("0", 0),
        ("7", 7),
        (" 7 ", 7),
        ("60", 30),
        ("3600", 5),
        ("1" * 400, 5),
        ("1e30", 1),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 1),
        ("Fri, 31 Dec 99999999999999999999 23:59:59 GMT", 1),
        (None, 1),
        ("soon", 1),
        ("-3", 1),
        ("²", 1),
        ("1.5", 1),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Wed, 21 Oct 2015 07:28:00 -0000", 0),
        ("Wed, 21 Oct 2099 07:28:00 GMT", 5),
    ],
)
def test_how_long_an_answer_asks_to_wait(asked: str | None, seconds: float) -> None:
    assert retry_after_s(asking_for(asked)) == seconds


def test_a_date_to_wait_for_and_no_answer_at_all() -> None:
    in_ten = format_datetime(datetime.now(UTC) + timedelta(seconds=10), usegmt=True)
    assert 5 < retry_after_s(asking_for(in_ten)) <= 10
    assert retry_after_s(no_answer()) == 1


# The runner


def test_a_stage_plays_in_a_thread_of_its_own() -> None:
    threads: list[str] = []

    async def scenario(context: ScenarioContext) -> str:
        threads.append(threading.current_thread().name)
        return "outcome"

    with ScenarioRunner(settings()) as runner:
        assert runner.outcome(scenario) == "outcome"
        assert runner.outcome(scenario) == "outcome"
    assert threads == ["scenarios"]
    assert not any(thread.name == "scenarios" for thread in threading.enumerate())


def test_scenarios_begin_before_they_are_asked_for() -> None:
    begun = threading.Event()

    async def early(context: ScenarioContext) -> str:
        begun.set()
        return "early"

    async def failing(context: ScenarioContext) -> Any:
        raise LookupError("later")

    with ScenarioRunner(settings()) as runner:
        runner.begin([early, failing])
        assert begun.wait(10)
        assert runner.outcome(early) == "early"
        with pytest.raises(LookupError, match="later"):
            runner.outcome(failing)


def test_leaving_the_stage_does_not_wait_for_what_nobody_asked_for() -> None:
    begun = threading.Event()

    async def endless(context: ScenarioContext) -> None:
        begun.set()
        await asyncio.sleep(600)

    with ScenarioRunner(settings()) as runner:
        runner.begin([endless])
        assert begun.wait(10)


def test_jobs_that_were_cancelled_before_their_turn_leave_no_warning() -> None:
    async def waits() -> None:
        await asyncio.sleep(60)

    async def job() -> None:
        jobs = [waits() for _ in range(3)]
        some = asyncio.create_task(gather_some(jobs, at_once=1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        some.cancel()
        await asyncio.gather(some, return_exceptions=True)
        await asyncio.sleep(0)
        assert [inspect.getcoroutinestate(one) for one in jobs] == [inspect.CORO_CLOSED] * 3

    bounded(job())
