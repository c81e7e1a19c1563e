"""The blocks of an interleaved comparison: short loads, alternately on either server, until the comparison is decided.

The order is ABBA: of two pairs of blocks, the first begins with the target and the second with the baseline, so
that a machine that becomes steadily slower or faster favours neither. Both blocks of a pair have the same seed, so the
same arrivals and journeys; each pair has its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from harness.commands import output_dir
from harness.commands.load_process import run_load_process
from harness.commands.processes import ChildProcesses
from harness.config.settings import Settings
from harness.exit_codes import ABORTED, NOT_TESTED
from harness.gate.equivalence import Effects
from harness.gate.objective import Objective
from harness.gate.paired import (
    LEAST_PAIRS,
    Pair,
    PairedComparison,
    compare_pairs,
    is_decided,
    measure_block,
    paired_objectives,
)
from harness.results.reader import Results
from harness.results.writer import ResultsWriter
from harness.run_clock import RUN_CLOCK
from harness.terminal.output import Output

PAIRS_PER_ROUND = 2
"""One ABBA. The comparison is evaluated after each."""

SIDES = ("target", "baseline")
"""The names of both servers in folders, tables and pages: the one that is judged, and the one it is compared with."""


@dataclass(slots=True)
class Blocks:
    """All blocks of a comparison, and what they came to.

    paths: results files of each side, by pair. problem: why the blocks ended early, as a sentence; empty if they did
    not. exit_code: of a load that could not run (NOT_TESTED) or was aborted (ABORTED); 0 otherwise. ended_by:
    "decided", "time", "interrupted" or "problem". pair_s: mean duration of a pair.
    """

    paths: tuple[list[Path], list[Path]] = field(default_factory=lambda: ([], []))
    pairs: list[Pair] = field(default_factory=list)
    objectives: list[Objective] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    comparisons: list[PairedComparison] = field(default_factory=list)
    problem: str = ""
    exit_code: int = 0
    ended_by: str = "decided"
    pair_s: float = 0.0

    @property
    def longer_s(self) -> float | None:
        """About how much longer it would take to decide what is inconclusive; None if more time would not."""
        needed = [
            paired.pairs_needed for paired in self.comparisons if paired.comparison.verdict == "inconclusive"
        ]
        known = [pairs for pairs in needed if pairs is not None]
        if not known:
            return None
        return max(1, max(known) - len(self.pairs)) * self.pair_s


class BlockRunner:
    """Runs the blocks.

    settings: of the target and of the baseline; they differ in the target only. objectives: to compare in addition to
    the usual metrics. max_duration_s: no ABBA starts that would end after it. all_required: see is_decided.
    server_problem: asked after each pair for a sentence that ends the test; empty while the servers run.
    """

    def __init__(
        self,
        settings: tuple[Settings, Settings],
        folder: Path,
        children: ChildProcesses,
        output: Output,
        *,
        objectives: Sequence[Objective],
        effects: Effects,
        max_duration_s: float,
        all_required: bool = False,
        server_problem: Callable[[], str] = lambda: "",
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._children = children
        self._output = output
        self._wanted = objectives
        self._effects = effects
        self._max_duration_s = max_duration_s
        self._all_required = all_required
        self._server_problem = server_problem

    def run(self) -> Blocks:
        """Run one ABBA after another until the comparison is decided, or another would not end in time."""
        blocks = Blocks()
        began_s = time.monotonic()
        while True:
            for _ in range(PAIRS_PER_ROUND):
                if not self._run_pair(blocks):
                    self._compare(blocks)
                    return blocks
            elapsed_s = time.monotonic() - began_s
            blocks.pair_s = elapsed_s / len(blocks.pairs)
            self._compare(blocks)
            self._print(blocks)
            most_pairs = self._max_duration_s / blocks.pair_s
            if len(blocks.pairs) >= LEAST_PAIRS and is_decided(
                blocks.comparisons, most_pairs=most_pairs, all_required=self._all_required
            ):
                return blocks
            if elapsed_s + PAIRS_PER_ROUND * blocks.pair_s > self._max_duration_s:
                blocks.ended_by = "time"
                return blocks

    def _run_pair(self, blocks: Blocks) -> bool:
        """Run the blocks of the next pair. Returns whether there may be another."""
        number = len(blocks.pairs)
        order = (0, 1) if number % 2 == 0 else (1, 0)
        paths: dict[int, Path] = {}
        for place, side in enumerate(order):
            name = f"{2 * number + place + 1:03d}-{SIDES[side]}"
            paths[side] = output_dir.subfolder(self._folder, "blocks", name)
            paths[side], blocks.exit_code, problem = self._run_block(side, number, paths[side])
            if self._children.interrupted:
                blocks.ended_by, blocks.problem = "interrupted", "the test was interrupted"
                return False
            if blocks.exit_code or problem:
                blocks.ended_by = "problem"
                blocks.problem = f"block {name} {problem}"
                return False
        files = [paths[side] for side in (0, 1)]
        with ExitStack() as stack:
            results = [stack.enter_context(Results(path)) for path in files]
            if not blocks.pairs:
                blocks.objectives, blocks.notes = paired_objectives(self._wanted, results)
            target, against = (measure_block(file, blocks.objectives) for file in results)
        blocks.pairs.append((target, against))
        for side in (0, 1):
            blocks.paths[side].append(files[side])
        if ended := self._server_problem():
            blocks.ended_by, blocks.problem = "problem", ended
            return False
        return True

    def _run_block(self, side: int, number: int, folder: Path) -> tuple[Path, int, str]:
        """Run one load. Returns its results file, the exit code that ends the comparison or 0, and why it does."""
        load = self._settings[side].load.reseeded(number)
        settings = self._settings[side].model_copy(update={"load": load})
        title = f"harness ab, pair {number + 1}: {SIDES[side]}"
        ended = run_load_process(title, settings, folder, self._children, self._output)
        path, code = ended.path, ended.exit_code
        with ResultsWriter(path) as writer:
            writer.set_manifest(
                state="finished" if code >= 0 else "interrupted", ended_at=RUN_CLOCK.now().isoformat()
            )
        if code == ABORTED:
            with Results(path) as results:
                return path, ABORTED, f"was aborted: {results.load_aborted}"
        if code == NOT_TESTED or ended.problem:
            log = folder / output_dir.LOAD_LOG
            return path, NOT_TESTED, f"could not run: {ended.problem or 'see its log'} ({log})"
        if code < 0:
            return path, NOT_TESTED, f"was killed by signal {-code}"
        return path, 0, ""

    def _compare(self, blocks: Blocks) -> None:
        blocks.comparisons = [
            compare_pairs(objective, blocks.pairs, self._effects, comparisons=len(blocks.objectives))
            for objective in blocks.objectives
        ]

    def _print(self, blocks: Blocks) -> None:
        verdicts = [paired.comparison.verdict for paired in blocks.comparisons]
        counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(verdicts))
        left_out = sum(any(block.problem for block in pair) for pair in blocks.pairs)
        left = f", {left_out} not usable" if left_out else ""
        self._output.print(f"{len(blocks.pairs):3} pairs{left}: {counts or 'nothing was measured'}")


def problems_of(pairs: Sequence[Pair]) -> dict[str, int]:
    """Why blocks cannot be used, and how many."""
    problems: dict[str, int] = {}
    for block in (block for pair in pairs for block in pair if block.problem):
        problems[block.problem] = problems.get(block.problem, 0) + 1
    return problems
