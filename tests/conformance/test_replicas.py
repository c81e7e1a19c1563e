"""The suite on the sound embedded server with two replicas: nothing is flagged, and it sends what it says."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from harness.config.settings import Settings
from harness.conformance.scenarios import every_scenario
from harness.conformance.scenarios.costs import COSTS
from harness.contract.finding import Verdict
from harness.protocol.request import HttpRequest
from harness.suite.scenario import ScenarioContext
from harness.transport.asyncio_client import AsyncClient, AsyncExchange
from tests.conformance.suite import verdicts_on
from tests.mutants.kill_matrix import BUDGETS, serving

TRIED_AGAIN = "a new run after the restart"
"""Label of a request that is sent until the server accepts it. Only one of them begins a run."""


class Sent:
    """What each scenario sends. new: requests for a run with a new key or none. needs: the scenarios that it uses."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.requests: Counter[str] = Counter()
        self.new: Counter[str] = Counter()
        self.needs: defaultdict[str, set[str]] = defaultdict(set)
        self._keys: set[str] = set()
        self._tried: set[str] = set()
        self._scenario: ContextVar[str] = ContextVar("scenario", default="")
        self._context: ScenarioContext | None = None
        run, run_once, open_one = ScenarioContext._run, ScenarioContext.run_once, AsyncClient.open

        async def counted_run(context: ScenarioContext, scenario: Callable[..., Any]) -> Any:
            self._scenario.set(scenario.__name__)
            self._context = context
            return await run(context, scenario)

        async def counted_run_once(context: ScenarioContext, scenario: Callable[..., Any]) -> Any:
            if user := self._scenario.get():
                self.needs[user].add(scenario.__name__)
            return await run_once(context, scenario)

        def counted_open(client: AsyncClient, request: HttpRequest, label: str, **how: Any) -> AsyncExchange:
            if name := self._scenario.get():
                self._count(name, request, begins_run=label not in self._tried)
            if label == TRIED_AGAIN:  # until the server accepts a run: how often depends on the machine
                self._tried.add(label)
            return open_one(client, request, label, **how)

        monkeypatch.setattr(ScenarioContext, "_run", counted_run)
        monkeypatch.setattr(ScenarioContext, "run_once", counted_run_once)
        monkeypatch.setattr(AsyncClient, "open", counted_open)

    def _count(self, name: str, request: HttpRequest, *, begins_run: bool) -> None:
        assert self._context is not None
        target = self._context.target
        self.requests[name] += 1
        key = target.key_of(request)
        if request.method == "POST" and request.target.split("?")[0] == target.path and key not in self._keys:
            self.new[name] += begins_run
            self._keys |= {key} if key is not None else set()


def test_what_each_scenario_sends_is_known() -> None:
    assert COSTS.keys() == every_scenario().keys()
    assert {name for cost in COSTS.values() for name in cost.needs} <= COSTS.keys()


@pytest.mark.slow
def test_sound_replicas_are_not_flagged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = Sent(monkeypatch)
    with serving(None, tmp_path / "server", shared=True) as demo:
        verdicts = verdicts_on(Settings.model_validate({**demo, "budgets": BUDGETS}))
    unmet = {
        check.requirement.id: check.detail
        for check in verdicts.checks
        if check.verdict in {Verdict.FAIL, Verdict.WARN, Verdict.ERROR}
    }
    assert unmet == {}
    assert sent.requests.keys() <= COSTS.keys()
    above = {
        name: (count, sent.new[name])
        for name, count in sent.requests.items()
        if count > COSTS[name].requests or sent.new[name] > COSTS[name].runs
    }
    assert above == {}, "more than conformance/scenarios/costs.py says"
    unnamed = {name: needs - {*COSTS[name].needs} for name, needs in sent.needs.items()}
    assert not any(unnamed.values()), unnamed
    assert sent.requests.total() > 900, "the figures are not far above what is sent"
    replicas = {
        check.requirement.id: check.verdict
        for check in verdicts.checks
        if check.requirement.area in {"replica", "restart"}
    }
    assert set(replicas.values()) <= {Verdict.PASS, Verdict.INCONCLUSIVE}, (
        "a situation may not occur on a busy machine"
    )
    decided = {"replica.same-run", "replica.replay", "replica.conflict"}
    assert {replicas[name] for name in decided} == {Verdict.PASS}
