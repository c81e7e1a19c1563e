"""Runs a capacity search: one headless load per step, with a pause between steps until the server is idle."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from harness.atomic_file import atomic_write_text
from harness.capacity.idle_wait import IdleWait
from harness.capacity.record import MANIFEST_KEY, CapacityStep, Record
from harness.capacity.search import CapacityResult, SearchPlan, conclude, next_step
from harness.capacity.step_result import invalid_step, measure
from harness.commands import output_dir
from harness.commands.load_process import FinishedLoad, run_load_process
from harness.commands.processes import ChildProcesses
from harness.config.settings import Settings
from harness.exit_codes import ABORTED, FAILED, INTERRUPTED, NOT_TESTED, PASSED
from harness.formatting import number, percent, shown_path
from harness.gate.console import format_value
from harness.gate.objective import Objective
from harness.load.bounds.limits import refuse_impossible
from harness.results.reader import Results
from harness.results.schema import ResultsError
from harness.results.summary import write_summary
from harness.results.writer import ResultsWriter
from harness.suite.preflight import ensure_testable
from harness.terminal.output import Output

CAPACITY_FILE = "capacity.json"
DEFAULT_WARMUP_S = 3.0
"""Excluded from each step, because an idle server is faster than a busy one."""

MAX_IN_FLIGHT_PER_PROCESS = 5_000
"""The default limit. With more streams a process runs out of file descriptors."""

_STEP_OVERHEAD_S = 4.0  # the time that a step takes in addition to its duration


def run_capacity(
    settings: Settings,
    plan: SearchPlan,
    objectives: Iterable[Objective],
    *,
    step_s: float,
    time_budget_s: float,
    out: Path | None,
    output: Output | None = None,
) -> int:
    """Search for the highest rate that meets these objectives and those of the settings. Returns the exit code.

    settings: their load, except for rate and duration, is the load of each step. step_s: the duration of a step after
    its warm-up. time_budget_s: no step starts that would end after it.

    Exit codes: 0 found, 1 not found or not with enough confidence, 3 aborted by a condition, 130 interrupted. Raises
    PreflightError if the target cannot be tested, and SettingsError if the output folder cannot be used or the highest
    rate is impossible.
    """
    output = output or Output()
    refuse_impossible(settings.load.model_copy(update={"rate": plan.highest}))
    ensure_testable(settings)
    settings = step_settings(settings, objectives, step_s)
    folder = out or output_dir.default_folder()
    path = output_dir.begin(folder, settings)
    record = Record(
        plan=plan,
        objectives=dict(settings.objectives),
        step_s=step_s,
        warmup_s=settings.load.warmup,
        arrivals=settings.load.arrivals,
    )
    children = ChildProcesses()
    with children.signals():
        search = _CapacitySearch(settings, record, path, children, output, time.monotonic() + time_budget_s)
        search.announce()
        answer = search.run()
        report = output_dir.finish(path, interrupted=children.interrupted)
    for sentence in record.sentences():
        output.console.print(sentence)
    output.console.print(
        f"every step: {shown_path(folder / CAPACITY_FILE)}\nresults: {shown_path(path)}\nreport:  {shown_path(report)}"
    )
    code = {"found": PASSED, "interrupted": INTERRUPTED}.get(answer.outcome, FAILED)
    if search.aborted:
        code = ABORTED
    paths = {"results": str(path), "report": str(report)}
    output.verdict(record.sentences()[0])
    output.emit_json({"verb": "capacity", "exit_code": code, **record.document(), "paths": paths})
    return code


def step_settings(settings: Settings, objectives: Iterable[Objective], step_s: float) -> Settings:
    """The settings of every step; each step sets its own rate.

    There is always an objective for the error rate: a server that refuses most streams can serve the others quickly.
    """
    load = settings.load
    warmup_s = load.warmup if "warmup" in load.model_fields_set else DEFAULT_WARMUP_S
    max_in_flight = load.max_in_flight or MAX_IN_FLIGHT_PER_PROCESS * load.processes
    update = {"warmup": warmup_s, "duration": warmup_s + step_s, "max_in_flight": max_in_flight}
    limits = {objective.name: objective.limit for objective in objectives}
    limits |= {key: limit for key, limit in settings.objectives.items() if key not in limits}
    defaults = Settings.model_fields["objectives"].get_default(call_default_factory=True)
    limits.setdefault("error_rate", defaults["error_rate"])
    return settings.model_copy(update={"load": load.model_copy(update=update), "objectives": limits})


class _CapacitySearch:
    """One search. Its record is saved after every step."""

    def __init__(
        self,
        settings: Settings,
        record: Record,
        path: Path,
        children: ChildProcesses,
        output: Output,
        deadline_s: float,
    ) -> None:
        self._settings = settings
        self._record = record
        self._path = path
        self._children = children
        self._output = output
        self._deadline_s = deadline_s
        self.aborted = False  # a condition of abort_on ended a step
        self._idle_wait = IdleWait(settings, lambda: children.interrupted)

    def announce(self) -> None:
        """Print the plan of the search."""
        record, plan = self._record, self._record.plan
        limits = ", ".join(objective.expression for objective in record.limits())
        self._output.print(
            f"capacity: the highest rate from {plan.lowest:g} to {plan.highest:g}/s with {limits}"
        )
        self._output.print(
            f"steps of {record.step_s:g} s after {record.warmup_s:g} s of warm-up, {record.arrivals} arrivals, "
            f"{plan.repeats} runs at each end, to within {percent(plan.precision)}"
        )

    def run(self) -> CapacityResult:
        """Run step after step until the search has a result or is stopped."""
        self._save()
        self._idle_wait.calibrate()
        answer = self._advance()
        while answer is None:
            answer = self._advance()
        self._record.answer = answer
        self._record.state = "interrupted" if answer.outcome == "interrupted" else "finished"
        self._save()
        return answer

    def _advance(self) -> CapacityResult | None:
        """Run the next step, or return the result that ends the search."""
        record = self._record
        move = next_step(record.trials, record.plan)
        if isinstance(move, CapacityResult):
            return move
        if self._children.interrupted:
            return conclude(record.trials, "interrupted", "")
        last_step_s = record.steps[-1].duration_s if record.steps else 0.0
        next_step_s = max(last_step_s, self._settings.load.duration + _STEP_OVERHEAD_S)
        if time.monotonic() + next_step_s > self._deadline_s:
            return conclude(record.trials, "time", "another step would not end within the time budget")
        if record.steps and not self._idle_wait.wait():
            if self._children.interrupted:
                return conclude(record.trials, "interrupted", "")
            why = f"the server was not idle within {self._settings.budgets.run:g} s after the last step"
            return conclude(record.trials, "stopped", why)
        step, load_code = self._run_step(move.rate)
        record.steps.append(step)
        self._save()
        self._print_step(step)
        if load_code == ABORTED:
            self.aborted = True
            return conclude(record.trials, "stopped", step.why)
        if load_code == NOT_TESTED:
            why = f"a load could not run; see {self._path.parent / step.folder / output_dir.LOAD_LOG}"
            return conclude(record.trials, "stopped", why)
        return None

    def _run_step(self, rate: float) -> tuple[CapacityStep, int]:
        """Run one load in its own folder and measure it. Returns the step and the load's exit code."""
        step_number = len(self._record.steps) + 1
        name = f"steps/{step_number:02d}-{rate:g}"
        started_at, start_s = datetime.now(UTC).isoformat(), time.monotonic()
        load = self._run_load(rate, step_number, output_dir.subfolder(self._path.parent, *name.split("/")))
        duration_s = time.monotonic() - start_s
        try:
            with Results(load.path) as results:
                step = measure(results, self._record.limits(), step_number, rate, self._record.step_s)
            write_summary(load.path)
        except ResultsError as problem:
            step = invalid_step(step_number, rate, str(problem))
        if self._children.interrupted:  # the step is incomplete
            step = replace(step, verdict="invalid", why="interrupted")
        elif load.exit_code == ABORTED:
            with Results(load.path) as results:
                step = replace(step, verdict="invalid", why=results.load_aborted)
        elif load.exit_code == NOT_TESTED or load.problem:
            why = f"the load could not run: {load.problem}" if load.problem else "the load could not run"
            step = replace(step, verdict="invalid", why=why)
        elif load.exit_code < 0:
            step = replace(step, verdict="invalid", why=f"the load was killed by signal {-load.exit_code}")
        return replace(step, started_at=started_at, duration_s=duration_s, folder=name), load.exit_code

    def _run_load(self, rate: float, step_number: int, folder: Path) -> FinishedLoad:
        load = self._settings.load.reseeded(step_number).model_copy(update={"rate": rate})
        settings = self._settings.model_copy(update={"load": load})
        return run_load_process(
            f"harness capacity, step {step_number}", settings, folder, self._children, self._output
        )

    def _print_step(self, step: CapacityStep) -> None:
        values = [f"{key} {format_value(key, value)}" for key, value in step.values.items()]
        if step.goodput is not None and "goodput" not in step.values:
            values.append(f"goodput {percent(step.goodput)}")
        if step.completed_per_s is not None:
            values.append(f"{number(step.completed_per_s)} completed/s")
        self._output.print(f"{step.number:3} {step.rate:>6g}/s {step.verdict:9} {', '.join(values)}")
        if step.verdict in ("saturated", "invalid"):
            self._output.print(f"    {step.why}")

    def _save(self) -> None:
        document = self._record.document()
        atomic_write_text(
            self._path.with_name(CAPACITY_FILE), f"{json.dumps(document, indent=2, allow_nan=False)}\n"
        )
        with ResultsWriter(self._path) as writer:
            writer.set_manifest(**{MANIFEST_KEY: document})
