"""Runs the shipped suite on a target: in this process, which is fast, or as its users do, in a pytest of its own.

In this process the suite's own scenarios are played and its own tests are called, with all that pytest
would do left out; what pytest does is tested apart, in test_plugin.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pkgutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import tomlkit

import harness.conformance
from harness.config.settings import Settings
from harness.conformance.conftest import REPLAYS, SCENARIOS, STREAMS
from harness.contract.finding import Finding, Verdict
from harness.contract.requirements import RULES
from harness.contract.verdicts import CheckOutcome, Verdicts
from harness.suite.pytest_plugin import MARKER
from harness.suite.scenario import NotApplicable, ScenarioRunner

SUITE = Path(harness.conformance.__file__).resolve().parent
_PARAMETERS = {"stream": STREAMS, "replayed": REPLAYS}
_OWN = {"check", "scenario_runner"}
_BESIDE = 3


@dataclass(frozen=True, slots=True)
class Case:
    """One test of the suite, with the scenarios that its arguments name."""

    requirement: str
    test: Callable[..., None]
    arguments: dict[str, str]


def cases() -> Iterator[Case]:
    """Every test of the suite, once for each of its parameters."""
    for module in pkgutil.iter_modules([str(SUITE)]):
        if not module.name.startswith("test_"):
            continue
        for name, test in vars(importlib.import_module(f"harness.conformance.{module.name}")).items():
            if not name.startswith("test_"):
                continue
            (cited,) = [mark.args[0] for mark in test.pytestmark if mark.name == MARKER]
            names = [one for one in inspect.signature(test).parameters if one not in _OWN]
            for chosen in product(*(_PARAMETERS.get(one, (one,)) for one in names)):
                yield Case(cited, test, dict(zip(names, chosen, strict=True)))


def verdicts_on(settings: Settings) -> Verdicts:
    """Play every scenario on the target and judge it."""
    found = Verdicts()
    with ScenarioRunner(settings) as runner:
        runner.begin(SCENARIOS.values())
        for case in cases():
            found.add(_result(case, runner))
    return found


def _result(case: Case, runner: ScenarioRunner) -> CheckOutcome:
    findings: list[Finding] = []

    def check(*evidence: Any) -> None:
        findings.append(RULES[case.requirement](*evidence, expect=runner.context.expect))

    try:
        needs = RULES[case.requirement].requirement.needs
        if needs is not None:
            runner.context.require(needs)
        given = {name: runner.outcome(SCENARIOS[scenario]) for name, scenario in case.arguments.items()}
        own = {"check": check, "scenario_runner": runner}
        wanted = {
            name: value for name, value in own.items() if name in inspect.signature(case.test).parameters
        }
        case.test(**wanted, **given)
        (finding,) = findings
    except NotApplicable as reason:
        return CheckOutcome(case.requirement, Verdict.NOT_APPLICABLE, str(reason), case.test.__name__)
    except Exception as problem:  # noqa: BLE001 - what the plugin calls an error, this does too
        return CheckOutcome(case.requirement, Verdict.ERROR, repr(problem), case.test.__name__)
    assert finding.requirement == case.requirement
    return CheckOutcome(case.requirement, finding.verdict, finding.detail, case.test.__name__)


def together(jobs: Sequence[Callable[[], Verdicts]]) -> list[Verdicts]:
    """Several runs of the suite, some beside each other: most of each is waiting."""
    with ThreadPoolExecutor(_BESIDE) as threads:
        return [job.result() for job in [threads.submit(job) for job in jobs]]


def write_config(folder: Path, values: dict[str, Any]) -> Path:
    """A settings file."""
    path = folder / "harness.toml"
    path.write_text(tomlkit.dumps(values), encoding="utf-8")
    return path


@dataclass(frozen=True, slots=True)
class Ran:
    """A process that has ended."""

    code: int
    output: str

    def report(self, path: Path) -> dict[str, Any]:
        """The JSON report that it wrote."""
        assert path.is_file(), self.output
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return document


def run(*command: str, folder: Path, **environment: str) -> Ran:
    """Run a Python module as a user would, in `folder`, with no settings but those given.

    Without the pytest plugins that only this checkout's own tests use: loading them takes half a second each time.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HARNESS_", "PYTEST_"))}
    kept["PYTEST_ADDOPTS"] = "-p no:schemathesis -p no:benchmark -p no:anyio"
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={**kept, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
        check=False,
    )
    return Ran(done.returncode, done.stdout)
