"""The budget of requests: what the suite says that it sends, and that it never sends more than it may."""

from __future__ import annotations

import asyncio

import pytest

from harness.config.settings import Settings
from harness.contract.exchange import Ending, Exchange
from harness.profiles import library
from harness.suite.not_decided import Undecided
from harness.suite.preflight import preflight
from harness.suite.queueing import PROBES
from harness.suite.request_budget import Cost, RequestBudget, total
from harness.suite.scenario import ScenarioContext, gather_some
from tests.contract.exchanges import LAST_CHUNK, STREAM, chunk, done, head
from tests.transport.servers import Connection, Script, bounded, listening, sending

ACTION = {"toolId": "t", "toolName": "T", "aiDescription": "…", "runtimeScope": "test"}
WHOLE = head(200, {**STREAM, "Transfer-Encoding": "chunked"}) + chunk(done(0)) + LAST_CHUNK
REFUSAL = head(429, {"Retry-After": "0", "Content-Length": "0"})


_VARIABLES = {"langgraph": {"assistant": "agent"}, "mcp": {"tool": "t", "arguments": {}}}


def settings(port: int, budget: int | None, profile: str = "workflow-actions") -> Settings:
    target = {
        "base_url": f"http://127.0.0.1:{port}",
        "profile": profile,
        "variables": _VARIABLES.get(profile, {}),
        "token": "t",
        "organization_id": "org-1",
        "actions": {"success": ACTION if profile == "workflow-actions" else "hello"},
    }
    limits = {} if budget is None else {"budget_requests": budget}
    return Settings.model_validate({"target": target, "limits": limits, "budgets": {"first_event": 5}})


def test_a_scenario_that_several_need_costs_once() -> None:
    costs = {"a": Cost(3, 1), "b": Cost(5, 2, ("a",)), "c": Cost(7, 4, ("b", "a")), "d": Cost(100, 100)}
    assert total(costs, ["c", "a"]) == Cost(15, 7, ("a", "b", "c"))
    assert total(costs, []) == Cost(0, 0)


def test_preflight_and_search_for_a_queue_cost_too_and_so_does_what_comes_before_a_run() -> None:
    assert ScenarioContext(settings(9, None)).cost_of(Cost(10, 5)) == Cost(27, 22)
    assert [len(library.load(name).before_run) for name in ("langgraph", "mcp")] == [1, 2]
    assert ScenarioContext(settings(9, None, "langgraph")).cost_of(Cost(10, 5)) == Cost(49, 22)
    assert ScenarioContext(settings(9, None, "mcp")).cost_of(Cost(10, 5)) == Cost(71, 22)


def test_it_says_what_is_sent() -> None:
    said = RequestBudget().announcement(Cost(1200, 30), keyed=True)
    assert said.startswith("at most about 1,200 requests, which start at most about 30 runs")
    assert "never" not in said
    said = RequestBudget(50).announcement(Cost(1200, 30), keyed=False)
    assert "each of which may start a run" in said
    assert said.endswith("never more than 50 requests (limits.budget_requests)")


def test_not_one_more_is_sent_and_once_too_few_were_left_none() -> None:
    budget = RequestBudget(3)
    budget.take()
    budget.take()
    assert not budget.is_used_up
    with pytest.raises(Undecided, match=r"budget of 3 requests .* is used up") as reason:
        budget.require(2)
    assert not reason.value.ends_test
    assert budget.is_used_up
    with pytest.raises(Undecided):
        budget.take()
    assert budget.sent == 2


def serving(received: list[int]) -> Script:
    """Whole runs, but for every second request, which is refused for now. received: grows with each request."""

    async def script(connection: Connection) -> None:
        received.append(len(received))
        refused = len(received) % 2 == 0
        await connection.send(REFUSAL if refused else WHOLE)

    return script


def test_what_is_sent_again_counts_too() -> None:
    received: list[int] = []

    async def many(context: ScenarioContext) -> None:
        await gather_some(
            [context.send(await context.request("success"), f"run {number}") for number in range(20)]
        )

    async def job() -> None:
        async with listening(serving(received)) as server:
            context = ScenarioContext(settings(server.port, 12))
            with pytest.raises(Undecided, match=r"limits\.budget_requests"):
                await context.run_once(many)
            await context.close()
            assert len(received) <= context.requests.sent == 12

    bounded(job())


def test_a_race_that_lacks_a_request_ends_at_once() -> None:
    received: list[int] = []

    async def race(context: ScenarioContext) -> list[Exchange]:
        barrier = asyncio.Barrier(3)
        async with context.connections(3):
            begun = [
                context.open(await context.request("success"), f"racer {number}", barrier=barrier)
                for number in range(2)
            ]
            with pytest.raises(Undecided):
                context.open(await context.request("success"), "racer 2", barrier=barrier)
            return [await one.result() for one in begun]

    async def job() -> None:
        async with listening(serving(received)) as server:
            context = ScenarioContext(settings(server.port, 2))
            answers = await context.run_once(race)
            assert {answer.ending for answer in answers} == {Ending.STOPPED}
            await context.close()

    bounded(job())


def test_a_queue_is_searched_for_only_if_the_budget_allows_it() -> None:
    received: list[int] = []

    async def job() -> None:
        async with listening(serving(received)) as server:
            context = ScenarioContext(settings(server.port, PROBES))
            await preflight(context.target, client=context.client)
            assert context.requests.sent == len(received) == 1
            with pytest.raises(Undecided):
                await context.find_queue()
            with pytest.raises(Undecided):
                await context.send(await context.request("success"), "a run")
            assert len(received) == 1

    bounded(job())


def test_the_search_for_a_queue_counts() -> None:
    async def job() -> None:
        async with listening(sending(WHOLE)) as server:
            context = ScenarioContext(settings(server.port, PROBES))
            await context.find_queue()
            assert context.requests.sent == PROBES

    bounded(job())


def test_control_requests_and_the_request_before_a_run_count() -> None:
    async def job() -> None:
        async with listening(sending(WHOLE)) as server:
            context = ScenarioContext(settings(server.port, 1))
            await context._control()
            with pytest.raises(Undecided):
                await context._control()
            context = ScenarioContext(settings(server.port, 1, "langgraph"))
            context.requests.take()
            with pytest.raises(Undecided):
                await context.request("success")

    bounded(job())
