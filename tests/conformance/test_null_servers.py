"""A server that does nothing right must not get a single pass."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from harness.config.settings import Settings
from harness.contract.finding import Verdict
from harness.contract.verdicts import Verdicts
from tests.conformance.null_server import KINDS, SERVERS, NullServer, answering, fixed
from tests.conformance.raw_server import settings_values
from tests.conformance.suite import run, together, verdicts_on, write_config

BUDGETS = {"first_event": 1, "terminal_close": 0.5, "heartbeat": 0.5, "run": 5}
GREEN = {Verdict.PASS, Verdict.INFO}

#: headers.method checks the response to GET, and needs no run: 405 with Allow is correct, whatever the server does with
#: POST. It is the only exception: rules about rejections, headers of errors or secrets first require that a valid
#: request is accepted.
EXPECTED: dict[str, set[str]] = {"405": {"headers.method"}}

#: Tested as users do, in a separate process, for the exit code.
AS_USERS_DO = ("empty 200", "empty 200 event stream", "500", "instant close", "echo of the body as an event")


def _settings(base_url: str) -> dict[str, object]:
    return {**settings_values(base_url), "budgets": BUDGETS}


def _green(verdicts: Verdicts) -> set[str]:
    return {check.requirement.id for check in verdicts.checks if check.verdict in GREEN}


def _ask(make: Callable[[], NullServer]) -> Verdicts:
    with make() as server:
        return verdicts_on(Settings.model_validate(_settings(server.base_url)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_passes(kind: str) -> None:
    servers = KINDS[kind]
    found = dict(zip(servers, together([partial(_ask, make) for make in servers.values()]), strict=True))
    assert {name: _green(verdicts) for name, verdicts in found.items()} == {
        name: EXPECTED.get(name, set()) for name in servers
    }
    for name, verdicts in found.items():
        verdict_of = {check.requirement.id: check.verdict for check in verdicts.checks}
        assert verdict_of["headers.event-stream"] in {Verdict.FAIL, Verdict.INCONCLUSIVE}, name
        assert Verdict.FAIL in verdict_of.values(), name
        assert Verdict.ERROR not in verdict_of.values(), name


@pytest.mark.slow
@pytest.mark.parametrize("name", AS_USERS_DO)
def test_the_exit_code_is_never_0(name: str, tmp_path: Path) -> None:
    with SERVERS[name]() as server:
        config = write_config(tmp_path, _settings(server.base_url))
        report = tmp_path / "verdicts.json"
        done = run(
            "harness", "conformance", "--config", str(config), "--json", str(report), "-q", folder=tmp_path
        )
    assert done.code in {1, 2}, done.output
    assert done.report(report)["counts"]["pass"] == 0
    assert "INTERNALERROR" not in done.output


@pytest.mark.slow
@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
def test_a_server_that_refuses_everybody_was_not_tested(status: str, tmp_path: Path) -> None:
    with answering(fixed(status)) as server:
        config = write_config(tmp_path, _settings(server.base_url))
        report = tmp_path / "verdicts.json"
        done = run("harness", "conformance", "--config", str(config), "--json", str(report), folder=tmp_path)
    assert done.code == 2, done.output
    assert "rejected the token" in done.output
    document = done.report(report)
    assert {check["verdict"] for check in document["checks"]} == {"inconclusive"}


@pytest.mark.slow
def test_a_silent_server_is_red_in_the_time_that_the_budgets_allow(tmp_path: Path) -> None:
    with SERVERS["silent"]() as server:
        config = write_config(tmp_path, _settings(server.base_url))
        done = run("harness", "conformance", "--config", str(config), "-k", "headers", folder=tmp_path)
    assert done.code in {1, 2}, done.output
    assert "no event within" in done.output
