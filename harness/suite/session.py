"""A pytest session that tests a target: starts the scenarios, collects the verdicts, and writes the reports."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from harness.atomic_file import ensure_writable, write_text
from harness.config.settings import Settings
from harness.config.sources import load_settings, read_token
from harness.contract.evidence.redaction import Redactor
from harness.contract.finding import Verdict
from harness.contract.requirements import find
from harness.contract.verdicts import Check, CheckOutcome, Verdicts, fails
from harness.errors import FileWriteError, LocalResourceError, SettingsError
from harness.exit_codes import INTERRUPTED, NOT_TESTED
from harness.profiles.capability import Capability
from harness.results.schema import ResultsError
from harness.suite.evidence_store import Evaluated, EvidenceStore, shortened_note, store_verdicts
from harness.suite.freed_memory import return_freed_memory
from harness.suite.judging import JudgingLimit
from harness.suite.known_failures import load_known_failures, update_known_failures
from harness.suite.not_decided import NotApplicable, Undecided
from harness.suite.preflight import PreflightError, preflight
from harness.suite.progress import Progress
from harness.suite.report_verdicts import (
    attach,
    attached,
    clean,
    show_as_failed,
    show_as_skipped,
    skip_without_source,
    status,
)
from harness.suite.request_budget import Cost, total
from harness.suite.scenario import Limits, ScenarioContext, ScenarioRunner
from harness.suite.selection import requirement_of
from harness.suite.terminal_report import explain, write_summary


@dataclass(frozen=True, slots=True)
class NeededScenario:
    """A scenario that selected tests need. requirements: the ids of what they decide."""

    play: Callable[[ScenarioContext], Coroutine[Any, Any, Any]]
    requirements: frozenset[str]


_PLUGIN_NAME = "harness-session"
_COMPLETED = frozenset({pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED})

#: The scenarios that the selected tests need, set by the suite, so that all of them can start at once.
SCENARIOS: pytest.StashKey[Iterable[NeededScenario]] = pytest.StashKey()
#: What each scenario of the suite sends, by its name, so that the session can tell it in advance.
COSTS: pytest.StashKey[Mapping[str, Cost]] = pytest.StashKey()
RUNNER: pytest.StashKey[ScenarioRunner] = pytest.StashKey()
#: On a test: its finding and evidence.
EVALUATED: pytest.StashKey[Evaluated] = pytest.StashKey()
_EVIDENCE: pytest.StashKey[EvidenceStore] = pytest.StashKey()


def select_target(config: pytest.Config) -> None:
    """Make this a session that tests a target, unless it is one already.

    A suite's conftest calls it in pytest_configure: a session that distributes its tests (xdist) collects none itself,
    and one with an empty selection has none, but both have verdicts to write.
    """
    if not hasattr(config.option, "harness_target"):
        raise pytest.UsageError(
            "the suite needs the harness's pytest plugin: remove -p no:harness, or add -p harness.suite.pytest_plugin"
        )
    if not config.pluginmanager.has_plugin(_PLUGIN_NAME):
        config.pluginmanager.register(TargetSession(config), _PLUGIN_NAME)


def settings_from_options(config: pytest.Config) -> dict[str, Any]:
    """The settings given as command-line options."""
    target: dict[str, Any] = {
        "base_url": config.getoption("harness_target"),
        "profile": config.getoption("harness_profile"),
        "variables": dict(config.getoption("harness_var") or ()) or None,
        "path": config.getoption("harness_path"),
        "organization_id": config.getoption("harness_organization"),
    }
    token_file = config.getoption("harness_token_file")
    if token_file:
        target["token"] = read_token(Path(token_file))
    limits = {"budget_requests": config.getoption("harness_budget_requests")}
    return {
        section: {name: value for name, value in values.items() if value is not None}
        for section, values in (("target", target), ("limits", limits))
    }


def show_paths_of_the_suite(config: pytest.Config) -> None:
    """Make pytest print the tests' files relative to the suite, if it is outside the working directory.

    Relative to the working directory, as pytest prints them, they would be `../../../…`.
    """
    parameters = config.invocation_params
    suite = (parameters.dir / config.args[0].split("::")[0]).resolve()
    if suite.is_relative_to(parameters.dir.resolve()):
        return
    folder = suite.parent if suite.is_dir() else suite.parent.parent
    original, shown = config.cwd_relative_nodeid, replace(parameters, dir=folder)

    def relative_to_suite(nodeid: Any) -> Any:
        config.invocation_params = (
            shown  # only for this call: pytest changes the working directory to its folder
        )
        try:
            return original(nodeid)
        finally:
            config.invocation_params = parameters

    config.cwd_relative_nodeid = relative_to_suite  # type: ignore[method-assign]
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.startpath = folder


class TargetSession:
    """Plugin for a session that tests a target. With xdist there is one in the controller and one in each worker."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.verdicts = Verdicts()
        self.documents: dict[str, Any] = {}
        self.runner: ScenarioRunner | None = None
        self.settings: Settings | None = None
        self.redact = Redactor(())
        self.progress: Progress | None = None
        self.interrupted = False
        self.unsound: str | None = None
        self.queue_note = ""
        self.budget_note = ""
        self.has_suite_tests = True
        self._selected_nothing = False
        self._not_written = ""  # which file could not be written, and why

    @property
    def _is_worker(self) -> bool:
        return hasattr(self.config, "workerinput")

    @property
    def _distributes(self) -> bool:
        return bool(self.config.getoption("numprocesses", None)) and not self._is_worker

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        self.has_suite_tests = not session.items or any(map(requirement_of, session.items))
        if self.config.option.collectonly or not self.has_suite_tests:
            return
        show_paths_of_the_suite(self.config)
        try:
            self._ensure_writable()
            runner = self._start()
        except (SettingsError, PreflightError, FileWriteError) as problem:
            self.verdicts.untested = str(problem)
            with suppress(FileWriteError, ResultsError):  # `problem` is reported
                self._finish(interrupted=True)
            pytest.exit(f"harness: {problem}", returncode=NOT_TESTED)
        progress_file = self._path_option("harness_progress")
        if progress_file is not None and not self._is_worker:
            self.progress = Progress(progress_file, sum(1 for item in session.items if requirement_of(item)))
        if not self._is_worker and not self._distributes:
            runner.begin(self._needed())

    def _needed(
        self, *, offered: bool = False
    ) -> list[Callable[[ScenarioContext], Coroutine[Any, Any, Any]]]:
        """The scenarios of the selected tests whose requirements apply to the target's API.

        offered: only if the target offers what a requirement needs; without it, the scenario sends nothing.
        """
        needed = self.config.stash.get(SCENARIOS, ())
        return [one.play for one in needed if any(self._applies(name, offered) for name in one.requirements)]

    def _applies(self, requirement_id: str, offered: bool) -> bool:
        if self.runner is None:
            return False
        context, requirement = self.runner.context, find(requirement_id)
        offers = not offered or requirement.needs is None or context.offers(requirement.needs)
        return offers and context.not_applicable(requirement) is None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Before any fixture, so that no request of a rule is sent that does not apply. Raises NotApplicable."""
        requirement_id = requirement_of(item)
        if requirement_id is not None and self.runner is not None:
            reason = self.runner.context.not_applicable(find(requirement_id))
            if reason is not None:
                raise NotApplicable(reason)

    def _ensure_writable(self) -> None:
        """Check the files to write before the test. Raises FileWriteError."""
        if self._is_worker:
            return
        names = ["harness_json", "harness_results"]
        if self.config.getoption("harness_update_known_failures"):
            names.append("harness_known_failures")
        for path in filter(None, map(self._path_option, names)):
            ensure_writable(path)

    def _start(self) -> ScenarioRunner:
        """Load the known failures and the settings, and check that the target can be tested.

        Raises SettingsError or PreflightError.
        """
        if known_failures := self._path_option("harness_known_failures"):
            self._load_known_failures(known_failures)
        self.settings = load_settings(self._path_option("harness_config"), settings_from_options(self.config))
        self.redact = Redactor(self.settings.secrets())
        limits = Limits(
            self.config.getoption("harness_max_concurrency"),
            self.config.getoption("harness_read_only"),
            alone=not self._is_worker,
            terminal=self.config.getoption("harness_restart"),
            tells_restart=self._path_option("harness_restarts"),
        )
        if self.settings.limits.budget_requests is not None and (self._is_worker or self._distributes):
            raise SettingsError("limits.budget_requests needs the suite in one process: leave out -n")
        return_freed_memory()
        runner = ScenarioRunner(self.settings, limits)
        runner.__enter__()
        self.runner = runner
        started_run = runner.run(self._preflight(runner.context))
        runner.context.throttle.accepted()
        self._announce(runner.context)
        if started_run:  # else nothing would begin here either
            with suppress(Undecided):  # then the budget is used up, and no scenario sends anything
                runner.run(runner.context.find_queue())
        self.queue_note = runner.context.queue_note
        stores_documents = bool(self.config.getoption("harness_results"))
        limit = runner.context.time_limit
        self.config.pluginmanager.register(JudgingLimit(limit))
        self.config.stash[_EVIDENCE] = EvidenceStore(
            self.settings, f"{_worker_prefix(self.config)}exchange-", stores_documents, limit
        )
        self.config.stash[RUNNER] = runner
        return runner

    def _announce(self, context: ScenarioContext) -> None:
        """Tell how long the suite takes and what it sends, before it sends more than the preflight."""
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is None:
            return
        costs = self.config.stash.get(COSTS, None)
        if costs is not None and not self._is_worker:
            played = [play.__name__ for play in self._needed(offered=True)]
            cost = context.cost_of(total(costs, played))
            keyed = context.target.promises(Capability.IDEMPOTENCY_KEY)
            reporter.write_line(
                f"harness: the suite sends {context.requests.announcement(cost, keyed=keyed)}"
            )
        reporter.write_line(f"harness: the suite takes {context.time_limit.announcement()}")

    @staticmethod
    async def _preflight(context: ScenarioContext) -> bool:
        """Whether the target starts a run. Raises PreflightError if it cannot be tested."""
        try:
            response = await preflight(context.target, client=context.client)
            for replica in context.target.replicas:
                await preflight(context.target, replica, context.client)
        except Undecided as reason:
            raise PreflightError(f"nothing was tested: {reason}") from None
        return response.started_run

    def _load_known_failures(self, path: Path) -> None:
        if path.exists() or not self.config.getoption("harness_update_known_failures"):
            self.verdicts.known = {
                name: entry.describe() for name, entry in load_known_failures(path).items()
            }

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        self.interrupted = isinstance(excinfo.value, KeyboardInterrupt)  # pytest.exit calls this hook too

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        raised = call.excinfo.value if call.excinfo is not None else None
        if isinstance(raised, NotApplicable | Undecided | LocalResourceError):
            call.excinfo = skip_without_source(raised)
        report = yield
        requirement_id = requirement_of(item)
        if requirement_id is not None and (call.when == "call" or raised is not None):
            self._attach_verdict(report, item, call, requirement_id, raised)
        clean(report, self.redact)
        return report

    def _attach_verdict(
        self,
        report: pytest.TestReport,
        item: pytest.Item,
        call: pytest.CallInfo[None],
        requirement_id: str,
        raised: BaseException | None,
    ) -> None:
        """Turn the test's finding, or what it raised, into a verdict on its report."""
        evaluated = item.stash.get(EVALUATED, None)
        if evaluated is not None:
            del item.stash[EVALUATED]  # pytest keeps the test to the end; its events may have megabytes
        documents: dict[str, Any] = {}
        evidence: list[dict[str, Any]] = []
        packed = None
        if raised is None and evaluated is not None:
            store = self.config.stash[_EVIDENCE]
            finding = evaluated.finding
            detail = self.redact.sentence(finding.detail)
            verdict, detail = self.verdicts.accept(requirement_id, finding.verdict, detail)
            evidence = store.references(evaluated, item.name, documents)
            requirement = find(requirement_id)
            if fails(verdict, requirement.level, strict=self.config.getoption("harness_strict")):
                show_as_failed(report, explain(finding, requirement, store.settings))
            elif verdict is not Verdict.PASS:
                show_as_skipped(report, item, f"{verdict}: {detail}")
            packed = store.pack(evaluated, item.name, documents)
        elif isinstance(raised, NotApplicable):
            verdict, detail = Verdict.NOT_APPLICABLE, self.redact.sentence(str(raised))
            show_as_skipped(report, item, f"{verdict}: {detail}")
        elif isinstance(raised, Undecided | LocalResourceError):
            verdict, detail = Verdict.INCONCLUSIVE, self.redact.sentence(str(raised))
            show_as_skipped(report, item, f"{verdict}: {detail}")
        elif raised is not None:
            what = self.redact.sentence(f"{type(raised).__name__}: {raised}")
            verdict, detail = Verdict.ERROR, f"the harness itself failed: {what}"
        else:
            verdict, detail = Verdict.ERROR, "the test checked nothing"
            show_as_failed(report, detail)
        outcome = CheckOutcome(
            requirement_id, verdict, detail, item.name, call.duration, tuple(evidence), packed
        )
        ends_test = isinstance(raised, LocalResourceError) or getattr(raised, "ends_test", False)
        attach(report, outcome, documents, unsound=detail if ends_test else None)
        item.user_properties += [("requirement", requirement_id), ("verdict", str(verdict))]  # for JUnit XML

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if (value := attached(report)) is None:
            return
        outcome, documents, unsound = value
        self.unsound = self.unsound or unsound
        self.verdicts.add(outcome)
        if self.progress is not None:
            self.progress.count(outcome.requirement, outcome.verdict)
        self.documents.update(documents)

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, Any] | None:
        return status(report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if self._is_worker or self.config.option.collectonly or not self.has_suite_tests:
            self._stop_runner()
            return
        if self.verdicts.tested:
            self.unsound = self.unsound or self.verdicts.all_musts_undecided
        try:
            self._finish(interrupted=self.interrupted or exitstatus not in _COMPLETED)
        except (FileWriteError, ResultsError) as problem:
            self._not_written = str(problem)
            session.exitstatus = NOT_TESTED
            return
        if self.interrupted:
            session.exitstatus = INTERRUPTED
        elif exitstatus == pytest.ExitCode.OK and (self.stale or self.unsound):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        elif (
            exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}
            and not self.verdicts.tested
        ):
            self._selected_nothing = exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED
            session.exitstatus = NOT_TESTED

    @property
    def stale(self) -> list[Check]:
        """Requirements that pass although they are listed as known failures; none if the list is being updated."""
        if self.config.getoption("harness_update_known_failures"):
            return []
        return [check for check in self.verdicts.checks if check.verdict is Verdict.STALE]

    @property
    def notes(self) -> list[str]:
        """What limits the verdicts, in sentences."""
        queue_note = self.redact.sentence(self.queue_note)
        notes = [f"{queue_note}, so the suite sent no more at once."] if queue_note else []
        notes += filter(None, [shortened_note(self.documents), self.budget_note])
        return [*notes, f"The test is not sound (exit 1): {self.unsound}."] if self.unsound else notes

    def _update_known_failures(self, path: Path) -> None:
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

    def _stop_runner(self) -> None:
        if self.runner is not None:
            requests = self.runner.context.requests
            self.budget_note = f"{requests.reason().capitalize()}." if requests.is_used_up else ""
            self.runner.__exit__()
            self.runner = None

    def _finish(self, *, interrupted: bool) -> None:
        """Stop the scenarios, and write every requested file. Raises FileWriteError or ResultsError."""
        self._stop_runner()
        target = {}
        if self.settings is not None:
            target = self.redact.own_value(
                self.settings.target.model_dump(mode="json", include={"base_url", "path", "organization_id"})
            )
        known_failures = self._path_option("harness_known_failures")
        if known_failures and self.config.getoption("harness_update_known_failures") and self.verdicts.tested:
            self._update_known_failures(known_failures)
        if json_file := self._path_option("harness_json"):
            write_text(json_file, json.dumps(self.verdicts.to_json(target), indent=2) + "\n")
        if results_file := self._path_option("harness_results"):
            store_verdicts(
                results_file, self.verdicts, self.documents, interrupted=interrupted, notes=self.notes
            )

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.verdicts.results:
            tests = len(self.verdicts.results)
            write_summary(terminalreporter, self.verdicts.checks, tests, self.notes)
        elif self._selected_nothing:
            terminalreporter.write_line("harness: nothing was tested: no test of the suite is selected")
        if self._not_written:
            terminalreporter.write_line(f"harness: {self._not_written}")

    def _path_option(self, name: str) -> Path | None:
        value = self.config.getoption(name)
        return Path(value) if value else None


def _worker_prefix(config: pytest.Config) -> str:
    workerinput = getattr(config, "workerinput", None)
    return f"{workerinput['workerid']}-" if workerinput else ""
