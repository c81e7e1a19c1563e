"""Which replica gets a request."""

from __future__ import annotations

import asyncio

import pytest

from harness.config.settings import Settings
from harness.suite.routing import Route
from harness.suite.scenario import NotApplicable, ScenarioContext
from tests.contract.exchanges import POST
from tests.suite.test_scenario import settings

REPLICAS = ["http://a", "http://b", "http://c"]


def test_the_requests_of_a_run_go_to_the_replicas_in_turn_and_each_run_begins_at_another_one() -> None:
    route = Route(REPLICAS, "http://a")
    for key, first in (("one", 0), ("two", 1), ("three", 2), ("four", 0)):
        route.begin(key)
        assert [route.next(key) for _ in range(4)] == [(first + step) % 3 for step in range(4)]


def test_a_run_that_began_at_the_target_is_continued_at_another_replica() -> None:
    assert Route(REPLICAS, "http://b").next("known") == 2
    assert Route(REPLICAS, "http://load-balancer").next("known") == 1


def test_requests_without_a_key_are_spread() -> None:
    route = Route(REPLICAS, "http://a")
    assert [route.next(None) for _ in range(4)] == [0, 1, 2, 0]
    assert [route.after(origin) for origin in (None, "http://a", "http://c")] == [
        "http://b",
        "http://b",
        "http://a",
    ]
    assert [route.next(None, "http://c") for _ in range(2)] == [2, 2]


def with_replicas() -> Settings:
    plain = settings().model_dump()
    return Settings.model_validate({"target": {**plain["target"], "replicas": REPLICAS}})


def test_only_the_requests_of_the_block_are_routed() -> None:
    async def job() -> None:
        context = ScenarioContext(with_replicas())
        assert context._routed(POST, "x") == (POST, "x")
        with context.across_replicas():
            request = await context.request("success")
            sent = [context._routed(request, "x") for _ in range(2)]

            async def other(context: ScenarioContext) -> str | None:
                return context._routed(POST, "x")[0].origin

            assert await context.run_once(other) is None
        assert [(one.origin, label) for one, label in sent] == [
            ("http://a", "x, at replica 1"),
            ("http://b", "x, at replica 2"),
        ]
        assert context._routed(request, "x")[0].origin is None
        await context.close()

    asyncio.run(job())


def test_without_replicas_nothing_is_routed() -> None:
    async def job() -> None:
        context = ScenarioContext(settings())
        with pytest.raises(NotApplicable, match=r"configure target\.replicas"), context.across_replicas():
            raise AssertionError
        await context.close()

    asyncio.run(job())
