"""pytest's side of the suite: options, markers, the ``judge`` and ``runner`` fixtures, verdicts in all reports.

It stays out of the way of any test run that has no test with a ``requirement`` marker.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Generator, Iterable
from pathlib import Path
from typing import Any

import pytest

from harness.config.settings import Settings
from harness.config.sources import load_settings, read_token
from harness.contract.expectations import Expectations
from harness.contract.finding import Verdict
from harness.contract.requirements import CATALOGUE, RULES, Level, areas, find
from harness.contract.rules.rule import Rule
from harness.contract.verdicts import Check, CheckOutcome, Verdicts, fails
from harness.errors import SettingsError
from harness.exit_codes import INTERRUPTED, NOT_TESTED
from harness.suite.evidence_store import Evaluated, EvidenceStore, store_verdicts
from harness.suite.known_failures import load_known_failures, update_known_failures
from harness.suite.preflight import PreflightError, preflight
from harness.suite.progress import Progress
from harness.suite.scenario import Limits, NotApplicable, ScenarioContext, ScenarioRunner
from harness.suite.terminal_report import explain, write_summary

MARKER = "harness_requirement"
"""Carries the id of the requirement that a test of the suite decides."""
_SESSION = "harness-session"
_CAME_TO_ITS_END = frozenset(
    {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED}
)
_SHOWN_AS = {
    Verdict.WARN: ("warned", "W", ("WARNED", {"yellow": True})),
    Verdict.INCONCLUSIVE: ("inconclusive", "?", ("INCONCLUSIVE", {"yellow": True})),
    Verdict.NOT_APPLICABLE: ("not applicable", "-", ("NOT APPLICABLE", {"cyan": True})),
    Verdict.INFO: ("info", "i", ("INFO", {"cyan": True})),
    Verdict.KNOWN: ("known", "k", ("KNOWN", {"yellow": True})),
}

CheckFunction = Callable[..., None]


def decides(rule: Rule) -> pytest.MarkDecorator:
    """Marks a test of the suite with the rule that decides it; its ``check`` fixture applies that rule."""
    return getattr(pytest.mark, MARKER)(rule.requirement.id)  # type: ignore[no-any-return]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("harness", "agent-run conformance")
    group.addoption(
        "--harness-target", metavar="URL", help="server under test, for example http://127.0.0.1:8080"
    )
    group.addoption("--harness-path", metavar="PATH", help="path of the endpoint")
    group.addoption("--harness-organization", metavar="ORG", help="the token's organization")
    group.addoption("--harness-config", metavar="FILE", help="settings file (harness.toml)")
    group.addoption("--harness-token-file", metavar="FILE", help="file that holds the bearer token")
    group.addoption("--harness-json", metavar="FILE", help="write the verdicts as JSON")
    group.addoption(
        "--harness-results", metavar="FILE", help="write verdicts and evidence into a results file"
    )
    group.addoption("--harness-progress", metavar="FILE", help="keep this file up to date with the progress")
    group.addoption("--harness-baseline", metavar="FILE", help="list of known failures (known.toml)")
    group.addoption("--harness-baseline-update", action="store_true", help="write that list from this run")
    group.addoption("--harness-strict", action="store_true", help="warnings and inconclusive MUSTs fail too")
    group.addoption(
        "--harness-max-concurrency", type=int, metavar="N", help="at most N connections to the target at once"
    )
    group.addoption(
        "--harness-read-only", action="store_true", help="no races, no hostile input: for shared targets"
    )
    group.addoption(
        "--harness-level", choices=["must", "should", "info"], help="only requirements of this level"
    )
    group.addoption(
        "--harness-area",
        action="append",
        metavar="AREA",
        choices=areas(),
        help=f"only this area (may be repeated): {', '.join(areas())}",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", f"{MARKER}(id): the requirement of the catalogue that the test decides"
    )
    for name in (*areas(), *(str(level).lower() for level in Level)):
        config.addinivalue_line(
            "markers", f"{name.replace('-', '_')}: set on the suite's tests by the catalogue"
        )


def _requirement_of(item: pytest.Item) -> str | None:
    marker = item.get_closest_marker(MARKER)
    return str(marker.args[0]) if marker is not None else None


def _mark(item: pytest.Item, requirement_id: str) -> None:
    """Give `item` its area and its level as markers, for -m, and its id, for -k.

    Raises pytest.UsageError for an id that the catalogue lacks.
    """
    try:
        row = find(requirement_id)
    except KeyError as problem:
        raise pytest.UsageError(f"{item.nodeid}: {problem.args[0]}") from None
    item.add_marker(row.area.replace("-", "_"))
    item.add_marker(str(row.level).lower())
    item.extra_keyword_matches.add(requirement_id)


def _wanted(config: pytest.Config, requirement_id: str) -> bool:
    row = find(requirement_id)
    level, chosen = config.getoption("harness_level"), config.getoption("harness_area")
    return (not level or str(row.level).lower() == level) and (not chosen or row.area in chosen)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None, None, None]:
    """Mark what -m and -k select by before it selects; choose by level and area, and sort, what it has left."""
    cited = {item: _requirement_of(item) for item in items}
    for item, requirement_id in cited.items():
        if requirement_id is not None:
            _mark(item, requirement_id)
    yield
    if any(cited.values()):
        select_target(config)
    dropped = [item for item in items if (name := cited.get(item)) and not _wanted(config, name)]
    order = {name: place for place, name in enumerate(CATALOGUE)}
    kept = [item for item in items if item not in set(dropped)]
    items[:] = sorted(kept, key=lambda item: order.get(cited.get(item) or "", -1))
    if dropped:
        config.hook.pytest_deselected(items=dropped)


def select_target(config: pytest.Config) -> None:
    """Make this a session that judges a target, if it is none yet.

    A suite's conftest calls it where pytest configures itself: a session that distributes its tests (xdist)
    collects none itself, and one whose selection is empty has none, but both have verdicts to write.
    """
    if not config.pluginmanager.has_plugin(_SESSION):
        config.pluginmanager.register(_Session(config), _SESSION)


def flags_of(config: pytest.Config) -> dict[str, Any]:
    """The settings that the command line gives."""
    target: dict[str, Any] = {
        "base_url": config.getoption("harness_target"),
        "path": config.getoption("harness_path"),
        "organization_id": config.getoption("harness_organization"),
    }
    token_file = config.getoption("harness_token_file")
    if token_file:
        target["token"] = read_token(Path(token_file))
    return {"target": {name: value for name, value in target.items() if value is not None}}


class _Session:
    """One test session that judges a target."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.verdicts = Verdicts()
        self.documents: dict[str, Any] = {}
        self.runner: ScenarioRunner | None = None
        self.settings: Settings | None = None
        self.progress: Progress | None = None
        self.interrupted = False
        self.judges = True
        self._selected_nothing = False

    @property
    def _is_worker(self) -> bool:
        return hasattr(self.config, "workerinput")

    @property
    def _distributes(self) -> bool:
        return bool(self.config.getoption("numprocesses", None)) and not self._is_worker

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        self.judges = not session.items or any(map(_requirement_of, session.items))
        if self.config.option.collectonly or not self.judges:
            return
        try:
            if baseline := _path(self.config.getoption("harness_baseline")):
                self._take_baseline(baseline)
            self.settings = load_settings(
                _path(self.config.getoption("harness_config")), flags_of(self.config)
            )
            limits = Limits(
                self.config.getoption("harness_max_concurrency"), self.config.getoption("harness_read_only")
            )
            runner = ScenarioRunner(self.settings, limits)
            runner.__enter__()
            self.runner = runner
            runner.run(preflight(runner.context.target))
        except (SettingsError, PreflightError) as problem:
            self.verdicts.untested = str(problem)
            self._finish(interrupted=True)
            pytest.exit(f"harness: {problem}", returncode=NOT_TESTED)
        file = _path(self.config.getoption("harness_progress"))
        if file is not None and not self._is_worker:
            self.progress = Progress(file, sum(1 for item in session.items if _requirement_of(item)))
        keeps = bool(self.config.getoption("harness_results"))
        archive = EvidenceStore(self.settings, f"{_worker_name(self.config)}exchange-", keeps, {})
        self.config.stash[_EVIDENCE] = archive
        self.config.stash[_RUNNER] = runner
        if not self._is_worker and not self._distributes:
            runner.begin(self.config.stash.get(SCENARIOS, ()))

    def _take_baseline(self, path: Path) -> None:
        if path.exists() or not self.config.getoption("harness_baseline_update"):
            self.verdicts.known = {name: one.says() for name, one in load_known_failures(path).items()}

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        self.interrupted = isinstance(excinfo.value, KeyboardInterrupt)  # pytest.exit comes here too

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        raised = call.excinfo.value if call.excinfo is not None else None
        if isinstance(raised, NotApplicable):
            call.excinfo = _plainly_skipped(raised)
        report = yield
        requirement_id = _requirement_of(item)
        if requirement_id is None or (call.when != "call" and raised is None):
            return report
        self._carry(report, item, call, requirement_id, raised)
        return report

    def _carry(
        self,
        report: pytest.TestReport,
        item: pytest.Item,
        call: pytest.CallInfo[None],
        requirement_id: str,
        raised: BaseException | None,
    ) -> None:
        """Turn what the test came to into a verdict, and put that on the report."""
        judged = item.stash.get(_EVALUATED, None)
        documents: dict[str, Any] = {}
        evidence: list[dict[str, Any]] = []
        packed = None
        row = find(requirement_id)
        if raised is None and judged is not None:
            archive = self.config.stash[_EVIDENCE]
            finding = judged.finding
            verdict, detail = self.verdicts.accept(requirement_id, finding.verdict, finding.detail)
            evidence = archive.references(judged, item.name, documents)
            if fails(verdict, row.level, strict=self.config.getoption("harness_strict")):
                report.outcome = "failed"
                report.longrepr = explain(finding, row, archive.settings)
            elif verdict is not Verdict.PASS:
                _as_skip(report, item, f"{verdict}: {detail}")
            packed = archive.pack(judged, item.name, documents)
        elif isinstance(raised, NotApplicable):
            verdict, detail = Verdict.NOT_APPLICABLE, str(raised)
            _as_skip(report, item, f"{verdict}: {detail}")
        elif raised is not None:
            verdict, detail = Verdict.ERROR, f"the harness itself failed: {type(raised).__name__}: {raised}"
        else:
            verdict, detail = Verdict.ERROR, "the test checked nothing"
            report.outcome = "failed"
            report.longrepr = detail
        result = CheckOutcome(
            requirement_id, verdict, detail, item.name, call.duration, tuple(evidence), packed
        )
        report.harness = {"result": result.to_json(), "documents": documents}  # type: ignore[attr-defined]
        item.user_properties += [
            ("requirement", requirement_id),
            ("verdict", str(verdict)),
        ]  # JUnit's, at teardown

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        carried = getattr(report, "harness", None)
        if carried is not None:
            result = CheckOutcome.from_json(carried["result"])
            self.verdicts.add(result)
            if self.progress is not None:
                self.progress.count(result.requirement, result.verdict)
            self.documents.update(carried["documents"])

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, Any] | None:
        carried = getattr(report, "harness", None)
        if carried is None or report.outcome != "skipped":
            return None
        return _SHOWN_AS.get(Verdict(carried["result"]["verdict"]))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if self._is_worker or self.config.option.collectonly or not self.judges:
            self._close_stage()
            return
        self._finish(interrupted=self.interrupted or exitstatus not in _CAME_TO_ITS_END)
        if self.interrupted:
            session.exitstatus = INTERRUPTED
        elif exitstatus == pytest.ExitCode.OK and self.stale:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        elif (
            exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}
            and not self.verdicts.tested
        ):
            self._selected_nothing = exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED
            session.exitstatus = NOT_TESTED

    @property
    def stale(self) -> list[Check]:
        """What the baseline lists though it passes; none when the baseline is just being written."""
        if self.config.getoption("harness_baseline_update"):
            return []
        return [check for check in self.verdicts.checks if check.verdict is Verdict.STALE]

    def _write_baseline(self, path: Path) -> None:
        checks = self.verdicts.checks
        failing = [
            check.requirement.id
            for check in checks
            if check.verdict in {Verdict.FAIL, Verdict.WARN, Verdict.KNOWN}
        ]
        undecided = {Verdict.INCONCLUSIVE, Verdict.NOT_APPLICABLE, Verdict.ERROR}
        update_known_failures(
            path, failing, {check.requirement.id: check.verdict not in undecided for check in checks}
        )

    def _close_stage(self) -> None:
        if self.runner is not None:
            self.runner.__exit__()
            self.runner = None

    def _finish(self, *, interrupted: bool) -> None:
        self._close_stage()
        target = {}
        if self.settings is not None:
            target = self.settings.target.model_dump(
                mode="json", include={"base_url", "path", "organization_id"}
            )
        baseline = _path(self.config.getoption("harness_baseline"))
        if baseline and self.config.getoption("harness_baseline_update") and self.verdicts.tested:
            self._write_baseline(baseline)
        if json_file := self.config.getoption("harness_json"):
            path = Path(json_file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(self.verdicts.to_json(target), indent=2) + "\n", encoding="utf-8")
        if results_file := self.config.getoption("harness_results"):
            store_verdicts(Path(results_file), self.verdicts, self.documents, interrupted=interrupted)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.verdicts.results:
            write_summary(terminalreporter, self.verdicts)
        elif self._selected_nothing:
            terminalreporter.write_line("harness: nothing was tested: no check of the suite is selected")


#: The suite says here which scenarios the selected tests ask for, so that all can begin at once.
SCENARIOS: pytest.StashKey[Iterable[Callable[[ScenarioContext], Coroutine[Any, Any, Any]]]] = (
    pytest.StashKey()
)
_EVIDENCE: pytest.StashKey[EvidenceStore] = pytest.StashKey()
_RUNNER: pytest.StashKey[ScenarioRunner] = pytest.StashKey()
_EVALUATED: pytest.StashKey[Evaluated] = pytest.StashKey()


def _path(value: str | None) -> Path | None:
    return Path(value) if value else None


def _worker_name(config: pytest.Config) -> str:
    workerinput = getattr(config, "workerinput", None)
    return f"{workerinput['workerid']}-" if workerinput else ""


def _plainly_skipped(raised: NotApplicable) -> pytest.ExceptionInfo[BaseException]:
    """The same as a skip, of which pytest prints no source.

    To print source it parses that, and so does Hypothesis in the thread of a scenario; CPython 3.11 raises
    SystemError when two threads do so at once (gh-106905), which would end the whole session.
    """
    skipped = pytest.skip.Exception(str(raised))
    return pytest.ExceptionInfo.from_exception(skipped.with_traceback(raised.__traceback__))


def _as_skip(report: pytest.TestReport, item: pytest.Item, reason: str) -> None:
    report.outcome = "skipped"
    report.longrepr = (str(item.path), (item.location[1] or 0) + 1, reason)


@pytest.fixture(scope="session")
def scenario_runner(pytestconfig: pytest.Config) -> ScenarioRunner:
    """Where scenarios are played."""
    return pytestconfig.stash[_RUNNER]


@pytest.fixture(scope="session")
def expectations(scenario_runner: ScenarioRunner) -> Expectations:
    """What the target declares, and the budgets."""
    return scenario_runner.context.expect


@pytest.fixture
def check(
    request: pytest.FixtureRequest, scenario_runner: ScenarioRunner, expectations: Expectations
) -> CheckFunction:
    """Applies the test's rule to its evidence; the finding becomes the test's verdict.

    Raises NotApplicable when the target does not offer what the rule needs.
    """
    rule = RULES[_requirement_of(request.node) or ""]
    if rule.requirement.needs is not None:
        scenario_runner.context.require(rule.requirement.needs)

    def apply(*evidence: Any) -> None:
        if _EVALUATED in request.node.stash:
            raise AssertionError("a test checks its rule once; this one did so twice")
        request.node.stash[_EVALUATED] = Evaluated(rule(*evidence, expect=expectations), evidence)

    return apply
