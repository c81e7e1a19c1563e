"""The search carried out: a headless load for each step, and rest between them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from harness.capacity.idle_wait import IdleWait
from harness.capacity.record import MANIFEST_KEY, CapacityStep, Record
from harness.capacity.search import CapacityResult, SearchPlan, conclude, next_step
from harness.capacity.step_result import measure, void
from harness.commands import output_dir
from harness.commands.processes import ChildProcesses, clean_environment, private_settings
from harness.config.settings import Settings
from harness.exit_codes import FAILED, INTERRUPTED, PASSED
from harness.gate.console import quantity
from harness.gate.objective import Objective
from harness.load.locust.command import load_command, load_environment
from harness.results.reader import Results
from harness.results.schema import ResultsError
from harness.results.writer import ResultsWriter
from harness.suite.preflight import ensure_testable
from harness.terminal.output import Output

CAPACITY_FILE = "capacity.json"
DEFAULT_WARMUP_S = 3.0
"""Left out of each step where nothing else is set: a server at rest is faster than one at work."""

MOST_IN_FLIGHT = 5_000
"""For each process, where nothing else is set: beyond it a process runs out of file descriptors."""

_LOAD_COULD_NOT_BE_DONE = 2
_STARTING_S = 4.0  # what a load takes beside its duration: to start, to end, and to rest


def run_capacity(
    settings: Settings,
    plan: SearchPlan,
    objectives: Iterable[Objective],
    *,
    step_s: float,
    time_budget_s: float,
    out: Path | None,
    screen: Output | None = None,
) -> int:
    """Search for the highest rate at which these objectives and the settings' hold. Returns the exit code.

    settings: their load is that of each step, but for its rate and its duration. step_s: how long arrivals
    count in each, after its warm-up. time_budget_s: no step is begun that would not end within it.

    0: found. 1: not found, or not for sure. 130: interrupted. Raises PreflightError when the target cannot be
    tested, and SettingsError when the folder cannot be used.
    """
    screen = screen or Output()
    console = screen.console
    ensure_testable(settings)
    settings = for_steps(settings, objectives, step_s)
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
        search = _CapacitySearch(settings, record, path, children, screen, time.monotonic() + time_budget_s)
        search.announce()
        answer = search.run()
        report = output_dir.finish(path, interrupted=children.interrupted)
    for sentence in record.sentences():
        console.print(sentence)
    console.print(f"every step: {folder / CAPACITY_FILE}\nresults: {path}\nreport:  {report}")
    code = PASSED if answer.outcome == "found" else FAILED
    if answer.outcome == "interrupted":
        code = INTERRUPTED
    paths = {"results": str(path), "report": str(report)}
    screen.verdict(record.sentences()[0])
    screen.emit_json({"verb": "capacity", "exit_code": code, **record.document(), "paths": paths})
    return code


def for_steps(settings: Settings, objectives: Iterable[Objective], step_s: float) -> Settings:
    """The settings of a step, but for its rate.

    An error rate is always held to: of a server that refuses most streams, the latencies are those of the rest.
    """
    load = settings.load
    warmup_s = load.warmup if "warmup" in load.model_fields_set else DEFAULT_WARMUP_S
    limit = load.max_in_flight or MOST_IN_FLIGHT * load.processes
    update = {"warmup": warmup_s, "duration": warmup_s + step_s, "max_in_flight": limit}
    limits = {one.name: one.limit for one in objectives}
    limits |= {key: limit for key, limit in settings.objectives.items() if key not in limits}
    usual = Settings.model_fields["objectives"].get_default(call_default_factory=True)
    limits.setdefault("error_rate", usual["error_rate"])
    return settings.model_copy(update={"load": load.model_copy(update=update), "objectives": limits})


class _CapacitySearch:
    """One search on its way. What it knows is in its record, and that in files after every step."""

    def __init__(
        self,
        settings: Settings,
        record: Record,
        path: Path,
        children: ChildProcesses,
        screen: Output,
        deadline_s: float,
    ) -> None:
        self._settings = settings
        self._record = record
        self._path = path
        self._children = children
        self._screen = screen
        self._deadline_s = deadline_s
        self._rest = IdleWait(settings, lambda: children.interrupted)

    def announce(self) -> None:
        """Say what is searched for, and how."""
        record, plan = self._record, self._record.plan
        limits = ", ".join(one.expression for one in record.limits())
        self._screen.print(
            f"capacity: the highest rate from {plan.lowest:g} to {plan.highest:g}/s with {limits}"
        )
        self._screen.print(
            f"steps of {record.step_s:g} s after {record.warmup_s:g} s of warm-up, {record.arrivals} arrivals, "
            f"{plan.repeats} runs at either end, to within {plan.precision:.0%}"
        )

    def run(self) -> CapacityResult:
        """Step after step, until there is an answer or something ends the search."""
        self._save()
        self._rest.calibrate()
        answer = self._next()
        while answer is None:
            answer = self._next()
        self._record.answer = answer
        self._record.state = "interrupted" if answer.outcome == "interrupted" else "finished"
        self._save()
        return answer

    def _next(self) -> CapacityResult | None:
        """One step more; or the answer, where it is known or cannot be."""
        record = self._record
        move = next_step(record.trials, record.plan)
        if isinstance(move, CapacityResult):
            return move
        if self._children.interrupted:
            return conclude(record.trials, "interrupted", "")
        took_s = record.steps[-1].duration_s if record.steps else 0.0
        if time.monotonic() + max(took_s, self._settings.load.duration + _STARTING_S) > self._deadline_s:
            return conclude(record.trials, "time", "another step would not end within the time budget")
        if record.steps and not self._rest.wait():
            if self._children.interrupted:
                return conclude(record.trials, "interrupted", "")
            why = (
                f"the server did not come to rest within {self._settings.budgets.run:g} s after the last step"
            )
            return conclude(record.trials, "stopped", why)
        step, load_code = self._step(move.rate)
        record.steps.append(step)
        self._save()
        self._tell(step)
        if load_code == _LOAD_COULD_NOT_BE_DONE:
            why = f"a load could not be done; see {self._path.parent / step.folder / 'load.log'}"
            return conclude(record.trials, "stopped", why)
        return None

    def _step(self, rate: float) -> tuple[CapacityStep, int]:
        """One load at that rate, in a folder of its own, and the load's exit code."""
        number = len(self._record.steps) + 1
        name = f"steps/{number:02d}-{rate:g}"
        started_at, began_s = datetime.now(UTC).isoformat(), time.monotonic()
        path, load_code = self._drive(rate, number, self._path.parent / name)
        took_s = time.monotonic() - began_s
        try:
            with Results(path) as results:
                step = measure(results, self._record.limits(), number, rate, self._record.step_s)
        except ResultsError as problem:
            step = void(number, rate, str(problem))
        if self._children.interrupted:  # what it measured is of less than a step
            step = replace(step, verdict="invalid", why="interrupted")
        elif load_code == _LOAD_COULD_NOT_BE_DONE:
            step = replace(step, verdict="invalid", why="the load could not be done")
        return replace(step, started_at=started_at, duration_s=took_s, folder=name), load_code

    def _drive(self, rate: float, number: int, folder: Path) -> tuple[Path, int]:
        seed = None if self._settings.load.seed is None else (self._settings.load.seed + number) % 2**63
        load = self._settings.load.model_copy(update={"rate": rate, "seed": seed})
        settings = self._settings.model_copy(update={"load": load})
        path = output_dir.begin(folder, settings)
        with ExitStack() as stack:
            settings_file = stack.enter_context(private_settings(settings))
            log = stack.enter_context((folder / "load.log").open("wb"))
            live = settings_file.with_name("live.json")
            title = f"harness capacity, step {number}"
            look = stack.enter_context(
                self._screen.watch(title, live, None, lambda: self._children.interrupted)
            )
            command = load_command(
                load,
                out=folder,
                host=settings.target.base_url,
                run_budget_s=settings.budgets.run,
                live=live,
            )
            environment = load_environment(settings_file, clean_environment())
            return path, self._children.wait(self._children.start(command, environment, log), look)

    def _tell(self, step: CapacityStep) -> None:
        values = [f"{key} {quantity(key, value)}" for key, value in step.values.items()]
        if step.goodput is not None and "goodput" not in step.values:
            values.append(f"goodput {step.goodput:.1%}")
        if step.completed_per_s is not None:
            values.append(f"{step.completed_per_s:.3g} completed/s")
        self._screen.print(f"{step.number:3} {step.rate:>6g}/s {step.verdict:9} {', '.join(values)}")
        if step.verdict in ("saturated", "invalid"):
            self._screen.print(f"    {step.why}")

    def _save(self) -> None:
        document = self._record.document()
        file = self._path.with_name(CAPACITY_FILE)
        fresh = file.with_suffix(".tmp")
        fresh.write_text(f"{json.dumps(document, indent=2, allow_nan=False)}\n", encoding="utf-8")
        fresh.replace(file)
        with ResultsWriter(self._path) as writer:
            writer.set_manifest(**{MANIFEST_KEY: document})
