"""Every behaviour against one request: its named ending, within the budgets, with bounded memory."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.contract.decoding.memory import MemoryBudget
from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Budgets
from harness.contract.finding import Verdict
from harness.contract.rules.stream import rules_for
from harness.protocol.request import HttpRequest
from harness.transport.asyncio_client import AsyncClient
from harness.transport.endpoint import Endpoint

from .behaviour import Behaviour
from .corpus import CORPUS
from .server import serving_all

SHORT = Budgets(first_event_s=1.0, terminal_close_s=1.0, heartbeat_s=0.75, run_s=3.0)
#: For what ends in another way, however busy this machine is.
LONG = Budgets(first_event_s=120.0, terminal_close_s=120.0, heartbeat_s=120.0, run_s=240.0)
BUSY_S = 60.0  # for what a busy machine adds
AT_ONCE = 12
CHEAP = ["chunks", "endings", "heads", "oddities", "timing", "tls"]
SAMPLE = [
    "bodies: blank lines without end",
    "bodies: comments in one block without end",
    "codings: a gzip bomb of tiny events",
    "codings: gzip in gzip in gzip",
    "events: an event of 60 MB",
    "events: five million tiny events",
    "json: NaN and Infinity",
    "json: two million empty objects",
]
REQUEST = HttpRequest("POST", "/", (("Content-Type", "application/json"),), b"{}")


def budgets_for(behaviour: Behaviour) -> Budgets:
    return SHORT if Ending.TIMED_OUT in behaviour.endings else LONG


async def ask(name: str, port: int) -> Exchange:
    endpoint = Endpoint("127.0.0.1", port)
    if CORPUS[name].uses_tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        endpoint = replace(endpoint, tls=context)
    budgets = budgets_for(CORPUS[name])
    return await AsyncClient(endpoint, budgets, MemoryBudget()).exchange(REQUEST, name)


def violated(exchange: Exchange) -> set[str]:
    """The requirements that it violates."""
    findings = [rule(exchange) for rule in rules_for(exchange)]
    return {finding.requirement for finding in findings if finding.verdict is Verdict.FAIL}


@pytest.fixture(scope="module")
def ports(certificate: Path) -> Iterator[dict[str, int]]:
    with serving_all(certificate) as of_all:
        yield of_all


def of(group: str) -> list[str]:
    return [name for name in CORPUS if name.startswith(f"{group}:")]


def test_the_corpus_is_large() -> None:
    assert len(CORPUS) >= 120


@pytest.mark.parametrize("group", CHEAP)
def test_every_exchange_ends_as_named(group: str, ports: dict[str, int]) -> None:
    assert problems(of(group), ports) == {}


@pytest.mark.hostile
@pytest.mark.parametrize("group", sorted({name.partition(":")[0] for name in CORPUS} - set(CHEAP)))
def test_every_large_answer_ends_as_named(group: str, ports: dict[str, int]) -> None:
    assert problems(of(group), ports) == {}


def test_a_sample_of_the_large_answers(ports: dict[str, int]) -> None:
    assert problems(SAMPLE, ports) == {}


def problems(names: list[str], ports: dict[str, int]) -> dict[str, str]:
    """What went wrong, by behaviour."""

    async def job() -> dict[str, str]:
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(name: str) -> tuple[str, str]:
            async with slots:
                exchange = await ask(name, ports[name])
            return name, problem_of(exchange)

        return {name: problem for name, problem in await asyncio.gather(*map(one, names)) if problem}

    return asyncio.run(job())


def problem_of(exchange: Exchange) -> str:
    behaviour = CORPUS[exchange.label]
    took_s = (exchange.timing.ended_ns - exchange.timing.started_ns) / 1e9
    what = f"{exchange.ending}: {exchange.ending_detail}"
    if exchange.ending not in behaviour.endings or behaviour.detail not in exchange.ending_detail:
        return what
    budgets = budgets_for(behaviour)
    if took_s > budgets.first_event_s + budgets.run_s + budgets.terminal_close_s + BUSY_S:
        return f"{took_s:.1f} s ({what})"
    broken = violated(exchange)
    if behaviour.breaks and behaviour.breaks not in broken:
        return f"{behaviour.breaks} is not violated ({broken})"
    if behaviour.sound and broken:
        return f"it violates {broken}, and is sound"
    return ""
