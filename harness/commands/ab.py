"""Compares two servers in one job: the conformance of both, then alternating blocks of the same load."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from harness.atomic_file import atomic_write_text, open_log
from harness.ci.artifacts import NO_ARTIFACTS, Artifacts, publish
from harness.ci.paired_outcome import Broke, conformance_rows, paired_outcome
from harness.ci.workflow_commands import suspend_workflow_commands
from harness.commands import output_dir
from harness.commands.ab_blocks import SIDES, BlockRunner, Blocks, problems_of
from harness.commands.processes import ChildProcesses, clean_environment, interruptible, private_settings
from harness.commands.server_command import ServerCommand
from harness.commands.suite_process import suite_command, suite_exit_code
from harness.config.settings import GateSettings, Settings
from harness.errors import SettingsError
from harness.exit_codes import ABORTED, FAILED, INTERRUPTED, NOT_TESTED
from harness.formatting import counted, duration
from harness.gate.equivalence import Effects
from harness.gate.objective import parse_objectives
from harness.gate.paired import PAIRED_EFFECTS, confidence_of_pairs, is_required
from harness.gate.report import GateReport, GateRow
from harness.load.bounds.limits import refuse_impossible
from harness.reports.comparison_console import print_comparison
from harness.reports.comparison_page import change_kind, is_must
from harness.reports.html import write_paired
from harness.reports.paired_page import PairedTest, paired_page, violations_of
from harness.results.reader import Results
from harness.suite.preflight import ensure_testable
from harness.terminal.output import Output
from harness.terminal.result_document import verdict_document, verdict_line

PAGE_FILE, RECORD_FILE = "ab.html", "ab.json"

ONE_SIDED_PAIRS = 7
"""A requirement that was violated under load in this many pairs, and only on the target, broke: equal servers have such
a series, at any length of the test, with a probability of 1 in 128."""

_SUITE_ARGS = ("-q", "--no-header", "--no-summary", "--color=no")


@dataclass(frozen=True, slots=True)
class AbPlan:
    """What to do. commands: that start the target and the baseline; None for one that runs already.

    max_duration_s: of the blocks. conformance: whether both run the suite first. max_concurrency, read_only: as of
    run_check.
    """

    commands: tuple[str | None, str | None] = (None, None)
    max_duration_s: float = 900.0
    conformance: bool = True
    max_concurrency: int | None = None
    read_only: bool = False


def run_ab(
    settings: tuple[Settings, Settings],
    plan: AbPlan,
    out: Path | None,
    artifacts: Artifacts = NO_ARTIFACTS,
    output: Output | None = None,
) -> int:
    """Compare the target with the baseline. Returns the exit code.

    settings: of both; they differ in the target only. Exit codes: 0 nothing is worse, and every required metric has a
    verdict; 1 something is worse, a requirement broke, or a required metric is inconclusive; 2 a server cannot be
    tested; 3 a condition aborted a load; 130 interrupted.

    Raises PreflightError if a server cannot be tested, SettingsError for a command that does not start one, for an
    impossible load and for an output folder that cannot be used.
    """
    artifacts.ensure_writable()
    output = output or Output()
    refuse_impossible(settings[0].load)
    folder = out or output_dir.default_folder()
    if (folder / RECORD_FILE).exists() or (folder / "blocks").exists():
        raise SettingsError(
            f"{folder} has the results of an earlier comparison; choose a different --out folder"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise SettingsError(f"cannot write to the folder {folder}: {problem.strerror or problem}") from None
    children = ChildProcesses()
    with ExitStack() as stack:
        stack.enter_context(suspend_workflow_commands(sys.stdout, "harness ab"))
        stack.enter_context(children.signals())
        with interruptible():
            servers = _started(settings, plan, folder, stack)
            for one in settings:
                ensure_testable(one)
        comparison = _Comparison(settings, plan, folder, children, output, servers)
        comparison.run()
        code, problems, gate, broke = comparison.finish()
    return comparison.publish(code, problems, gate, broke, artifacts)


def paired_effects(settings: GateSettings) -> Effects:
    """The smallest effects of the settings; those of a paired comparison where none is set."""
    given = settings.model_fields_set
    effects = settings.terms.effects
    return Effects(
        effects.relative if "smallest_effect" in given else PAIRED_EFFECTS.relative,
        effects.ms if "smallest_effect_ms" in given else PAIRED_EFFECTS.ms,
        effects.share if "smallest_effect_share" in given else PAIRED_EFFECTS.share,
        effects.inter_token_ms
        if "smallest_effect_inter_token_ms" in given
        else PAIRED_EFFECTS.inter_token_ms,
    )


def _started(
    settings: tuple[Settings, Settings], plan: AbPlan, folder: Path, stack: ExitStack
) -> list[ServerCommand]:
    """Start the servers of the plan's commands; they stop with the stack."""
    servers = []
    for option, command, one, side in zip(
        ("--command-a", "--command-b"), plan.commands, settings, SIDES, strict=True
    ):
        if command is not None:
            log = folder / f"{side}-server.log"
            server = ServerCommand(option, command, one.target.base_url or "", log)
            servers.append(stack.enter_context(server))
    return servers


class _Comparison:
    """One comparison in its course."""

    def __init__(
        self,
        settings: tuple[Settings, Settings],
        plan: AbPlan,
        folder: Path,
        children: ChildProcesses,
        output: Output,
        servers: list[ServerCommand],
    ) -> None:
        self._settings = settings
        self._plan = plan
        self._folder = folder
        self._children = children
        self._output = output
        self._servers = servers
        self._effects = paired_effects(settings[0].gate)
        self._suites: list[Path] = []
        self._suite_codes: list[int] = []
        self.blocks = Blocks()

    def run(self) -> None:
        """Run the suite on both servers, and then the blocks."""
        load = self._settings[0].load
        self._output.console.print(
            f"blocks of {load.duration:g} s ({load.describe}), alternately on both servers, for at most "
            f"{duration(self._plan.max_duration_s * 1000)}",
            markup=False,
        )
        for side in (0, 1) if self._plan.conformance else ():
            if not self._children.interrupted:
                self._run_suite(side)
        if self._children.interrupted:
            self.blocks.ended_by, self.blocks.problem = "interrupted", "the test was interrupted"
            return
        runner = BlockRunner(
            self._settings,
            self._folder,
            self._children,
            self._output,
            objectives=parse_objectives(self._settings[0].objectives),
            effects=self._effects,
            max_duration_s=self._plan.max_duration_s,
            all_required=self._settings[0].gate.inconclusive == "fail",
            server_problem=lambda: next((server.end for server in self._servers if server.end), ""),
        )
        self.blocks = runner.run()

    def _run_suite(self, side: int) -> None:
        folder = output_dir.subfolder(self._folder, SIDES[side])
        path = output_dir.begin(folder, self._settings[side], has_suite=True, has_load=False)
        arguments = list(_SUITE_ARGS)
        if self._plan.max_concurrency is not None:
            arguments += ["--harness-max-concurrency", str(self._plan.max_concurrency)]
        if self._plan.read_only:
            arguments.append("--harness-read-only")
        self._output.print(f"conformance of the {SIDES[side]} (log: {folder / output_dir.SUITE_LOG})")
        with (
            private_settings(self._settings[side].private_text()) as settings_file,
            open_log(folder / output_dir.SUITE_LOG) as log,
        ):
            command = suite_command(settings_file, results_file=path, pytest_args=arguments)
            child = self._children.start(command, clean_environment(), log)
            self._suite_codes.append(suite_exit_code(self._children.wait(child)))
        output_dir.finish(path, interrupted=self._children.interrupted)
        self._suites.append(path)

    def finish(self) -> tuple[int, tuple[str, ...], GateReport, Broke]:
        """Write the page and the record, and print both. Returns what `publish` needs."""
        broke, unfinished = self._broke()
        blocks = self.blocks
        gate = GateReport(
            (*conformance_rows(broke, unfinished), *self._undecided()),
            tuple(paired.comparison for paired in blocks.comparisons),
            tested=bool(blocks.comparisons),
            notes=tuple(self._notes()),
            inconclusive_fails=self._settings[0].gate.inconclusive == "fail",
            confidence=confidence_of_pairs(len(blocks.objectives)),
        )
        code, problems = self._exit_code(gate)
        page = paired_page(
            PairedTest(
                names=(SIDES[0], SIDES[1]),
                folder=self._folder,
                conformance=(self._suites[0], self._suites[1]) if len(self._suites) == len(SIDES) else None,
                blocks=blocks.paths,
                pairs=blocks.pairs,
                objectives=blocks.objectives,
                comparisons=blocks.comparisons,
                effects=self._effects,
                under_load=dict.fromkeys(broke.under_load or {}, "broke"),
                notes=(*gate.notes, *problems),
                took_s=blocks.pair_s * len(blocks.pairs),
            )
        )
        written = write_paired(page, self._folder / PAGE_FILE)
        print_comparison(page, self._output.console)
        self._output.console.print(f"page: {written}", markup=False)
        return code, problems, gate, broke

    def publish(
        self, code: int, problems: tuple[str, ...], gate: GateReport, broke: Broke, artifacts: Artifacts
    ) -> int:
        """Write the record and the CI artifacts, and print the verdict. Returns the exit code."""
        for problem in problems:
            self._output.print(f"harness: {problem}")
        with ExitStack() as stack:
            suite = stack.enter_context(Results(self._suites[0])) if self._suites else None
            page = self._folder / PAGE_FILE
            outcome = paired_outcome(
                suite, self.blocks.paths[0], gate, broke, code, problems=problems, page=page
            )
        code = publish(outcome, artifacts, out=self._output.for_ci)
        document = {
            **verdict_document("ab", outcome, code),
            "baseline": self._settings[1].target.base_url,
            "pairs": len(self.blocks.pairs),
            "ended_by": self.blocks.ended_by,
            "longer_s": self.blocks.longer_s,
        }
        atomic_write_text(self._folder / RECORD_FILE, f"{json.dumps(document, indent=2, allow_nan=False)}\n")
        self._output.verdict(verdict_line(outcome, code))
        self._output.emit_json(document)
        return code

    def _broke(self) -> tuple[Broke, list[str]]:
        """What broke, and the servers whose suite did not end."""
        under_load = {
            name: f"violated under load in {pairs} pairs on the target, and never on the baseline"
            for name, pairs in self._one_sided()
        }
        if len(self._suites) < len(SIDES):
            return Broke((), under_load), []
        with Results(self._suites[0]) as target, Results(self._suites[1]) as against:
            now, then = ({check.id: check for check in file.checks()} for file in (target, against))
            unfinished = [
                side
                for side, file in zip(SIDES, (target, against), strict=True)
                if file.manifest.get("suite_state") != "finished"
            ]
        by_suite = tuple(name for name, check in now.items() if change_kind(then.get(name), check) == "broke")
        return Broke(by_suite, under_load), unfinished

    def _one_sided(self) -> list[tuple[str, int]]:
        """MUSTs that were violated under load on the target only, in enough pairs."""
        never = violations_of(self.blocks.paths[1])
        pairs: dict[str, int] = {}
        for path in self.blocks.paths[0]:
            for name in filter(is_must, violations_of([path])):
                pairs[name] = pairs.get(name, 0) + 1
        return [
            (name, count) for name, count in pairs.items() if count >= ONE_SIDED_PAIRS and not never[name]
        ]

    def _undecided(self) -> Iterator[GateRow]:
        """The gate's row about required metrics without a verdict. Other metrics are not waited for if one is worse."""
        comparisons = [paired.comparison for paired in self.blocks.comparisons]
        if any(comparison.verdict == "worse" for comparison in comparisons):
            return
        names = [one.key for one in comparisons if one.verdict == "inconclusive" and is_required(one.key)]
        if names:
            yield GateRow(
                "undecided", float(len(names)), 0.0, "inconclusive", f"not decided: {', '.join(names)}"
            )

    def _notes(self) -> list[str]:
        blocks = self.blocks
        notes = list(blocks.notes)
        notes += [
            f"{counted(count, 'block')} cannot be used: {problem}"
            for problem, count in problems_of(blocks.pairs).items()
        ]
        undecided = [paired for paired in blocks.comparisons if paired.comparison.verdict == "inconclusive"]
        if (
            blocks.ended_by in ("time", "decided")
            and undecided
            and not any(paired.comparison.verdict == "worse" for paired in blocks.comparisons)
        ):
            longer_s = blocks.longer_s
            if longer_s is None:
                notes.append("more time would not decide what is inconclusive")
            else:
                notes.append(f"about {duration(longer_s * 1000)} more would decide what is inconclusive")
        return notes

    def _exit_code(self, gate: GateReport) -> tuple[int, tuple[str, ...]]:
        """The exit code, and the problems that explain one that differs from the gate's."""
        blocks = self.blocks
        if self._children.interrupted:
            return INTERRUPTED, ("the test was interrupted; its results until then are kept",)
        problems = [blocks.problem] if blocks.problem else []
        code = gate.exit_code
        if NOT_TESTED in self._suite_codes:
            side = SIDES[self._suite_codes.index(NOT_TESTED)]
            problems.append(
                f"the conformance suite could not run on the {side}; see "
                f"{self._folder / side / output_dir.SUITE_LOG}"
            )
            code = NOT_TESTED
        if blocks.exit_code in (ABORTED, NOT_TESTED):
            code = blocks.exit_code
        elif blocks.problem:
            code = code or FAILED
        return code, tuple(problems)
