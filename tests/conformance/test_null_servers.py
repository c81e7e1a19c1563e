"""A server that does nothing right must not get a single pass, and is never green."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.config.settings import Settings
from harness.config.target import Target
from harness.contract.finding import Verdict
from harness.contract.verdicts import Verdicts
from harness.suite.preflight import PreflightError, preflight
from tests.conformance.null_server import (
    CONSTANT,
    NOT_TESTABLE,
    PROBLEM,
    SERVERS,
    SILENCES,
    answering,
    fixed,
)
from tests.conformance.raw_server import RawServer, Refused, Request, Run, settings_values
from tests.conformance.suite import fewer_repeats, in_advance, parameters_of, run, verdicts_on, write_config

#: A silent server uses up each budget, so they are short. On a busy machine that may be too short to send a request.
SHORT_BUDGETS = {"first_event": 0.2, "terminal_close": 0.2, "heartbeat": 0.2, "run": 1}
#: Long enough to send the few requests of the first requirements on any machine.
PATIENT_BUDGETS = {**SHORT_BUDGETS, "first_event": 1, "run": 20}
GREEN = {Verdict.PASS, Verdict.INFO}

Key = tuple[str, str | None]


def _settings(base_url: str, budgets: Mapping[str, float] | None = None) -> dict[str, Any]:
    values = settings_values(base_url)
    return {**values, "budgets": dict(budgets)} if budgets else values


def _ids(verdicts: Verdicts, *wanted: Verdict) -> set[str]:
    return {check.requirement.id for check in verdicts.checks if check.verdict in wanted}


def _asked(
    server: RawServer, budgets: Mapping[str, float] | None = None, *, up_to: str | None = None
) -> Verdicts:
    with server:
        return verdicts_on(Settings.model_validate(_settings(server.base_url, budgets)), up_to)


def _asked_by_name(key: Key) -> Verdicts:
    """The verdicts on a server, up to a requirement if the key names one."""
    name, up_to = key
    if name in SILENCES:
        return _asked(SILENCES[name](), PATIENT_BUDGETS if up_to else SHORT_BUDGETS, up_to=up_to)
    return _asked(SERVERS[name]() if name in SERVERS else answering(CONSTANT[name]), up_to=up_to)


@pytest.fixture(scope="module")
def verdicts_of(request: pytest.FixtureRequest, light: None) -> Iterator[Callable[[Key], Verdicts]]:
    """Waits for the verdicts on a server by its name, for all requirements or up to one; found in advance."""
    keys = [
        (case["name"], case.get("requirement"))
        for test in (test_nothing_passes, test_silence_is_red, test_a_server_with_one_answer_is_red)
        for case in parameters_of(request, test)
    ]
    with fewer_repeats(), in_advance(_asked_by_name, keys) as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("name", SERVERS)
def test_nothing_passes(name: str, verdicts_of: Callable[[Key], Verdicts]) -> None:
    found = verdicts_of((name, None))
    assert _ids(found, *GREEN, Verdict.ERROR) == set()
    assert all(check.detail for check in found.checks)
    if name not in SILENCES:
        assert _ids(found, Verdict.FAIL) & {"headers.event-stream", "terminal.success", "terminal.always"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "requirement"),
    [
        ("silent", "headers.event-stream"),
        ("head of an event stream, then silence", "terminal.always"),
    ],
)
def test_silence_is_red(name: str, requirement: str, verdicts_of: Callable[[Key], Verdicts]) -> None:
    found = verdicts_of((name, requirement))
    (detail,) = [check.detail for check in found.checks if check.requirement.id == requirement]
    assert requirement in _ids(found, Verdict.FAIL), detail
    assert "no event within 2 s" in detail


@pytest.mark.parametrize("name", NOT_TESTABLE)
def test_what_cannot_be_tested_is_refused_before_the_test(name: str) -> None:
    """tests/suite/test_preflight.py and tests/integration/test_check.py: it ends each command with exit code 2."""
    answer, says = NOT_TESTABLE[name]
    with answering(answer) as server:
        target = Target(Settings.model_validate(_settings(server.base_url)))
        with pytest.raises(PreflightError) as refused:
            asyncio.run(preflight(target))
    assert says in str(refused.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "requirement"),
    [
        ("a failed run", "terminal.success"),
        ("a cancelled run", "terminal.success"),
        ("a finished run", "auth.missing"),
    ],
)
def test_a_server_with_one_answer_is_red(
    name: str, requirement: str, verdicts_of: Callable[[Key], Verdicts]
) -> None:
    found = verdicts_of((name, requirement))
    assert requirement in _ids(found, Verdict.FAIL)


class EverySecondKeyTaken(RawServer):
    """Takes every second new key for a used one."""

    _new = 0

    def run_for(self, request: Request) -> tuple[Run, int]:
        known = len(self._runs)
        found = super().run_for(request)
        self._new += len(self._runs) - known
        if len(self._runs) > known and self._new % 2:
            raise Refused(409, "Conflict", "the key was used with another body")
        return found


@pytest.mark.slow
def test_a_server_that_rejects_every_second_new_key_is_red() -> None:
    found = _asked(EverySecondKeyTaken(), up_to="terminal.success")
    assert _ids(found, Verdict.FAIL) & {"headers.event-stream", "terminal.success"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["empty 200 event stream", "200 with a 409 event"])
def test_the_exit_code_is_1(name: str, tmp_path: Path) -> None:
    """Of a process that checks some areas: the tests above show that nothing passes in all of them."""
    with SERVERS[name]() as server:
        config = write_config(tmp_path, _settings(server.base_url))
        report = tmp_path / "verdicts.json"
        selection = ("-k", "headers or terminal or conflict", "--json", str(report), "-q")
        done = run("harness", "conformance", "--config", str(config), *selection, folder=tmp_path)
    assert done.code == 1, done.output
    assert done.report(report)["counts"]["pass"] == 0
    assert "INTERNALERROR" not in done.output


@pytest.mark.slow
def test_a_selection_that_decides_no_must_is_not_green(tmp_path: Path) -> None:
    """headers.method is a SHOULD, and 405 with Allow is correct; the MUSTs next to it were not decided."""
    refused = fixed("400 Bad Request", "Content-Type: application/problem+json", body=PROBLEM)
    allowed = fixed("405 Method Not Allowed", "Allow: POST")
    with answering(lambda request: (allowed if request.method == "GET" else refused)(request)) as server:
        config = write_config(tmp_path, _settings(server.base_url))
        report = tmp_path / "verdicts.json"
        selection = ("-k", "wrong_method or charset", "--json", str(report))
        done = run("harness", "conformance", "--config", str(config), *selection, folder=tmp_path)
    assert done.code == 1, done.output
    assert "not sound (exit 1): no MUST could be decided; the first, headers.charset: " in done.output
    assert json.loads(report.read_text())["counts"]["pass"] == 1


@pytest.mark.slow
def test_a_server_that_refuses_everybody_was_not_tested(tmp_path: Path) -> None:
    with answering(NOT_TESTABLE["401"][0]) as server:
        config = write_config(tmp_path, _settings(server.base_url))
        report = tmp_path / "verdicts.json"
        done = run("harness", "conformance", "--config", str(config), "--json", str(report), folder=tmp_path)
    assert done.code == 2, done.output
    assert "rejected the token" in done.output
    document = done.report(report)
    assert {check["verdict"] for check in document["checks"]} == {"inconclusive"}
