"""Runs the shipped suite on a target: in this process, which is fast, or in a separate pytest, as users do.

In this process, the suite's scenarios and test functions are called without pytest. The pytest side is tested in
tests/suite/test_pytest_plugin.py.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pkgutil
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import islice, product
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar
from unittest import mock

import pytest
import tomlkit

import harness.conformance
from harness.config.settings import Settings
from harness.conformance.conftest import REPLAYS, SCENARIOS, STREAMS
from harness.conformance.scenarios import cuts, hostile, key_pairs, race, resume
from harness.conformance.scenarios import input as scenarios_of_input
from harness.conformance.scenarios.costs import COSTS
from harness.conformance.scenarios.runs import TIMED
from harness.contract.finding import Finding, Verdict
from harness.contract.requirements import CATALOGUE, RULES
from harness.contract.rules.rule import Need
from harness.contract.verdicts import CheckOutcome, Verdicts
from harness.errors import LocalResourceError
from harness.suite.pytest_plugin import MARKER
from harness.suite.request_budget import total
from harness.suite.scenario import NotApplicable, ScenarioRunner, Undecided
from tests.forked import run_module

SUITE = Path(harness.conformance.__file__).resolve().parent
_PARAMETERS = {"stream": STREAMS, "replayed": REPLAYS}
#: Installed for this project's own tests, and slow to import.
OTHER_PLUGINS = ("schemathesis", "benchmark", "anyio", "locust", "hypothesispytest")
#: What one server that the tests do not restart cannot offer; the rules that need it are not applicable.
NOT_OFFERED_ALONE = frozenset({Need.REPLICAS, Need.RESTART})
_FIXTURES = frozenset({"check", "scenario_runner"})
_AT_ONCE = 3
_EXAMPLES = 10
_TOO_LARGE_BYTES = 3_000_000
#: Found by key_pairs._hash_families.
SAME_HASHES = {
    "what 32 bits of MD5 hide": ["k6850cd96996d-65526", "k6850cd96996d-71062"],
    "what 32 bits of SHA-1 hide": ["k59ded03cb4f9-54191", "k59ded03cb4f9-70085"],
    "what 32 bits of SHA-256 hide": ["k76d8a7346cde-103", "k76d8a7346cde-26456"],
}


def _few_families() -> dict[str, list[str]]:
    return dict(islice(_ALL_FAMILIES().items(), 3))


#: How long a server keeps a key may depend on the number of runs that all other scenarios had before.
_LAST = "retained_key"
_ALL_FAMILIES = key_pairs._families
#: Numbers of scenarios that repeat a situation, for a suite with fewer repeats, and the scenarios that use them.
FEWER: tuple[tuple[ModuleType, dict[str, object], frozenset[str]], ...] = (
    (
        cuts,
        {"MAX_CUTS": 5},
        frozenset(
            {
                "cut_runs",
                "cut_runs_by_id",
                "resumed_after_each_id",
                "resumed_between_ids",
                "runs_cut_and_resumed_by_id_elsewhere",
                "runs_cut_and_resumed_elsewhere",
            }
        ),
    ),
    (resume, {"_JOINS": 5}, frozenset({"run_joined_at_moments", "runs_joined_elsewhere"})),
    (resume, {"_RACES": 4}, frozenset({"retries_at_the_end", "retries_at_the_end_elsewhere"})),
    (
        race,
        {"ROUNDS": 1, "PARTIES": 6},
        frozenset(
            {
                "different_bodies_at_all_replicas",
                "different_bodies_together",
                "equal_requests_at_all_replicas",
                "equal_requests_together",
                "interleaved_runs",
            }
        ),
    ),
    (key_pairs, {"_LENGTHS": (64,), "_families": _few_families}, frozenset({"similar_keys"})),
)

K = TypeVar("K")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Case:
    """One test of the suite. arguments: the scenario for each parameter. fixtures: what else it takes."""

    requirement: str
    test: Callable[..., None]
    arguments: dict[str, str]
    fixtures: frozenset[str]


@cache
def cases() -> tuple[Case, ...]:
    """Every test of the suite, once for each of its parameters."""
    return tuple(_cases())


def _cases() -> Iterator[Case]:
    for module in pkgutil.iter_modules([str(SUITE)]):
        if not module.name.startswith("test_"):
            continue
        for name, test in vars(importlib.import_module(f"harness.conformance.{module.name}")).items():
            if not name.startswith("test_"):
                continue
            (requirement,) = [mark.args[0] for mark in test.pytestmark if mark.name == MARKER]
            parameters = inspect.signature(test).parameters
            names = [name for name in parameters if name not in _FIXTURES]
            for scenarios in product(*(_PARAMETERS.get(name, (name,)) for name in names)):
                arguments = dict(zip(names, scenarios, strict=True))
                yield Case(requirement, test, arguments, _FIXTURES & parameters.keys())


def verdicts_on(
    settings: Settings,
    up_to: str | None = None,
    areas: Collection[str] = (),
    only: Collection[str] = (),
) -> Verdicts:
    """Run every scenario on the target, and every test on its outcome.

    up_to: only the tests of this requirement and of those before it in the catalogue, and only their scenarios. areas:
    only requirements of these areas. only: only these requirements.

    The runs whose times are judged come first: on a busy machine the load of all other scenarios makes the server late.
    """
    order = list(CATALOGUE)
    selected = set(order[: order.index(up_to) + 1] if up_to else order)
    if areas:
        selected = {name for name in selected if CATALOGUE[name].area in areas}
    if only:
        selected &= set(only)
    verdicts = Verdicts()
    with ScenarioRunner(settings) as runner:
        runner.run(runner.context.find_queue())
        chosen = [case for case in cases() if case.requirement in selected]
        lacking = {
            case.requirement: runner.context.not_applicable(CATALOGUE[case.requirement]) for case in chosen
        }
        for case in chosen:
            if reason := lacking[case.requirement]:
                name = case.test.__name__
                verdicts.add(CheckOutcome(case.requirement, Verdict.NOT_APPLICABLE, reason, name))
        chosen = [case for case in chosen if not lacking[case.requirement]]
        needed = {name for case in chosen for name in case.arguments.values()}
        timed = [scenario for scenario in TIMED if scenario.__name__ in needed]
        runner.begin(timed)
        runner.run(runner.context.ended(timed))
        runner.begin([scenario for name, scenario in SCENARIOS.items() if name in needed])
        for case in chosen:
            verdicts.add(_outcome(case, runner))
    return verdicts


def asked_again(verdicts: Verdicts, settings: Settings, names: Collection[str]) -> Verdicts:
    """The verdicts, with new ones on these requirements, whose scenarios run again without the others."""
    again = verdicts_on(settings, only=names)
    return Verdicts([*(one for one in verdicts.results if one.requirement not in names), *again.results])


def _outcome(case: Case, runner: ScenarioRunner) -> CheckOutcome:
    findings: list[Finding] = []

    def check(*evidence: Any) -> None:
        findings.append(RULES[case.requirement](*evidence, expect=runner.context.expect))

    try:
        needs = RULES[case.requirement].requirement.needs
        if needs is not None:
            runner.context.require(needs)
        outcomes = {name: runner.outcome(SCENARIOS[scenario]) for name, scenario in case.arguments.items()}
        fixtures = {"check": check, "scenario_runner": runner}
        case.test(**{name: fixtures[name] for name in case.fixtures}, **outcomes)
        (finding,) = findings
    except NotApplicable as reason:
        return CheckOutcome(case.requirement, Verdict.NOT_APPLICABLE, str(reason), case.test.__name__)
    except (Undecided, LocalResourceError) as reason:
        return CheckOutcome(case.requirement, Verdict.INCONCLUSIVE, str(reason), case.test.__name__)
    except Exception as problem:  # noqa: BLE001 - an error verdict, as in the plugin
        return CheckOutcome(case.requirement, Verdict.ERROR, repr(problem), case.test.__name__)
    assert finding.requirement == case.requirement
    return CheckOutcome(case.requirement, finding.verdict, finding.detail, case.test.__name__)


def together(jobs: Sequence[Callable[[], Verdicts]]) -> list[Verdicts]:
    """Run several suites, some concurrently: they mostly wait."""
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return [job.result() for job in [threads.submit(job) for job in jobs]]


@contextmanager
def in_advance(
    job: Callable[[K], T], keys: Iterable[K], executor: Executor | None = None
) -> Iterator[Callable[[K], T]]:
    """A function that waits for `job(key)`; these jobs run several at a time, in the order of `keys`.

    For a module of tests that mostly wait, each for its own job. What is not asked for any more is not begun.
    """
    with executor or ThreadPoolExecutor(_AT_ONCE) as workers:
        begun = {key: workers.submit(job, key) for key in keys}
        try:
            yield lambda key: begun[key].result()
        finally:
            workers.shutdown(cancel_futures=True)


def parameters_of(request: pytest.FixtureRequest, test: Callable[..., None]) -> list[dict[str, Any]]:
    """The parameters of each case of a test function that was selected."""
    return [
        dict(item.callspec.params)
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.function is test
    ]


@contextmanager
def lighter_requests() -> Iterator[None]:
    """Less CPU time for the suites of this process, each of which must have its own server.

    They do not search for keys with equal hashes, which must be new to a server, generate a few bodies, and send a
    smaller oversized body: the servers here take a megabyte. tests/conformance/test_replicas.py and the processes of
    tests/integration/test_check.py send all.
    """
    hostile._generated_values.cache_clear()
    with (
        mock.patch.object(key_pairs, "_hash_families", return_value=SAME_HASHES),
        mock.patch.object(hostile, "EXAMPLES", _EXAMPLES),
        mock.patch.object(scenarios_of_input, "TOO_LARGE_BYTES", _TOO_LARGE_BYTES),
    ):
        yield
    hostile._generated_values.cache_clear()


@contextmanager
def fewer_repeats(besides: str | None = None) -> Iterator[None]:
    """Each situation a few times only, but as often as users have it in what decides the requirement `besides`.

    For all suites of this process. `make mutants`, random styles in tests/conformance/test_must_not_flag.py, the
    processes of tests/integration/test_check.py and tests/conformance/test_replicas.py have the suite's own numbers.
    """
    own = {name for case in cases() if case.requirement == besides for name in case.arguments.values()}
    in_full = set(total(COSTS, own).needs)
    with ExitStack() as patched:
        for module, numbers, scenarios in FEWER:
            if not scenarios & in_full and _LAST not in in_full:
                patched.enter_context(mock.patch.multiple(module, **numbers))
        yield


@pytest.fixture(scope="module")
def light() -> Iterator[None]:
    with lighter_requests():
        yield


@pytest.fixture
def few() -> Iterator[None]:
    with fewer_repeats():
        yield


def write_config(folder: Path, values: dict[str, Any]) -> Path:
    """A settings file."""
    path = folder / "harness.toml"
    path.write_text(tomlkit.dumps(values), encoding="utf-8")
    return path


@dataclass(frozen=True, slots=True)
class Ran:
    """A finished process."""

    code: int
    output: str

    def report(self, path: Path) -> dict[str, Any]:
        """The JSON report that it wrote."""
        assert path.is_file(), self.output
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return document


def run(*command: str, folder: Path, **environment: str) -> Ran:
    """Run a Python module as a user would, in `folder`, with only the given settings.

    Without the pytest plugins that only this project's own tests use: loading them takes half a second.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HARNESS_", "PYTEST_"))}
    kept["PYTEST_ADDOPTS"] = " ".join(
        [*(f"-p no:{plugin}" for plugin in OTHER_PLUGINS), "-W ignore::pytest.PytestAssertRewriteWarning"]
    )
    done = run_module(
        command, folder=folder, environment={**kept, **environment}, timeout_s=180, merge_output=True
    )
    return Ran(done.returncode, done.stdout)
