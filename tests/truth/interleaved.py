"""How often `harness ab` calls equal servers worse, and how often it finds a server whose TTFT is 5% longer.

Measured with real blocks of load on the reference server, on a machine that does other work at the same time:
python -m tests.truth.interleaved --measure 20 runs rounds of three blocks, one on each of two equal servers and one on
a slowed one, and keeps their values in measured_blocks.json.

A trial draws pairs from the measured rounds, with replacement, and evaluates them as `harness ab` does: after each two
pairs, until it is decided or the time is over. So the noise is that of the machine, and its trials are not independent:
more rounds would tell more. --trials 200 --write puts the table into docs/gate.md. Exits with 1 if it does not meet its
targets.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.commands.ab import paired_effects
from harness.commands.ab_blocks import PAIRS_PER_ROUND, BlockRunner
from harness.commands.processes import ChildProcesses
from harness.config.settings import GateSettings, Settings
from harness.config.sources import load_settings
from harness.gate.objective import Objective
from harness.gate.paired import (
    LEAST_PAIRS,
    BlockValue,
    LoadBlock,
    Pair,
    compare_pairs,
    is_decided,
    is_required,
    measure_block,
    paired_objectives,
)
from harness.reference.settings import demo_config
from harness.results.reader import Results
from harness.terminal.output import Output, OutputMode
from tests.benchmarks.machine import machine
from tests.benchmarks.target import ROOT
from tests.truth.false_alarms import LEAST_FOUND, MOST_FALSE_ALARMS, PAGE
from tests.truth.real_runs import DELAY_S, serving

BLOCKS = ROOT / "tests" / "truth" / "measured_blocks.json"
BEGIN, END = "<!-- interleaved: begin -->", "<!-- interleaved: end -->"
SERVERS = {"target": 1.0, "equal": 1.0, "slowed": 1.05}
"""The servers of a round, by the factor on the delay of their first token."""
BLOCK_S, WARMUP_S, RATE = 10.0, 1.0, 10.0
OVERHEAD_S = 7.0
"""What a block took in addition to its load on the busy machine: the start and the end of its processes."""
MOST_PAIRS = int(900 / (2 * (BLOCK_S + WARMUP_S + OVERHEAD_S)))
"""What fits into the default --max-duration."""
KEY = "ttft_p50_ms"


@dataclass(frozen=True, slots=True)
class Measured:
    """Blocks that were measured: the objectives that are compared, and rounds of a block per server."""

    objectives: tuple[str, ...]
    rounds: tuple[dict[str, LoadBlock], ...]
    where: str

    def write(self, path: Path) -> None:
        lines = ",\n".join(
            json.dumps(
                {
                    name: {
                        "problem": block.problem,
                        "values": {key: asdict(one) for key, one in block.values.items()},
                    }
                    for name, block in of_round.items()
                }
            )
            for of_round in self.rounds
        )
        head = json.dumps({"where": self.where, "objectives": self.objectives})
        path.write_text(f'{head[:-1]}, "rounds": [\n{lines}\n]}}\n')

    @classmethod
    def read(cls, path: Path) -> Measured:
        document = json.loads(path.read_text())
        rounds = tuple(
            {
                name: LoadBlock(
                    {key: BlockValue(**one) for key, one in block["values"].items()}, block["problem"]
                )
                for name, block in of_round.items()
            }
            for of_round in document["rounds"]
        )
        return cls(tuple(document["objectives"]), rounds, document["where"])


def measure(rounds: int, folder: Path) -> Measured:
    """Run rounds of blocks: forwards, then backwards, as ABBA."""
    host = machine()
    where = f"{host['date']} on {host['processor']}, {host['cores']} cores, {host['kernel']}, Python {host['python']}"
    found: list[dict[str, LoadBlock]] = []
    objectives: list[Objective] = []
    with ExitStack() as stack:
        urls = [stack.enter_context(serving(DELAY_S * factor)) for factor in SERVERS.values()]
        output = stack.enter_context(Output(OutputMode.QUIET))
        runners: dict[str, Any] = {
            name: BlockRunner(
                (_settings(url, folder),) * 2,
                folder,
                ChildProcesses(),
                output,
                objectives=(),
                effects=paired_effects(GateSettings()),
                max_duration_s=0.0,
            )
            for name, url in zip(SERVERS, urls, strict=True)
        }
        for number in range(rounds):
            order = list(SERVERS)
            paths = {}
            for name in order if number % 2 == 0 else order[::-1]:
                block = folder / f"{number:03d}-{name}"
                paths[name], code, problem = runners[name]._run_block(0, number, block)
                if code or problem:
                    raise RuntimeError(f"a block could not run: {problem}")
            with ExitStack() as files:
                results = {name: files.enter_context(Results(paths[name])) for name in SERVERS}
                if not objectives:
                    objectives, _ = paired_objectives((), list(results.values()))
                found.append({name: measure_block(file, objectives) for name, file in results.items()})
            print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
            Measured(tuple(one.name for one in objectives), tuple(found), where).write(BLOCKS)
    return Measured.read(BLOCKS)


def _settings(url: str, folder: Path) -> Settings:
    import tomlkit

    document = demo_config(url)
    document["load"] = {
        "rate": RATE,
        "duration": BLOCK_S + WARMUP_S,
        "warmup": WARMUP_S,
        "arrivals": "poisson",
        "seed": 1,
    }
    file = folder / "harness.toml"
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(tomlkit.dumps(document))
    return load_settings(file)


@dataclass(slots=True)
class Trials:
    """What trials came to. outcomes: of the whole test. found: how often the metric KEY was worse. pairs: used."""

    outcomes: Counter[str]
    found: int = 0
    trials: int = 0
    pairs: int = 0

    def share(self, outcome: str) -> float:
        return self.outcomes[outcome] / self.trials


def trial(measured: Measured, target: str, rng: np.random.Generator) -> tuple[str, bool, int]:
    """One `harness ab` of a server against the equal one: its outcome, whether KEY was worse, and its pairs."""
    objectives = [Objective(key, 0.0) for key in measured.objectives]
    pairs: list[Pair] = []
    while True:
        for _ in range(PAIRS_PER_ROUND):
            drawn = measured.rounds[rng.integers(len(measured.rounds))]
            pair = drawn[target], drawn["equal"]
            # Of two equal servers, either may be called the target.
            pairs.append(pair[::-1] if target == "target" and rng.random() < 0.5 else pair)
        compared = [compare_pairs(one, pairs, comparisons=len(objectives)) for one in objectives]
        verdicts = {paired.comparison.key: paired.comparison.verdict for paired in compared}
        ends = len(pairs) >= LEAST_PAIRS and is_decided(compared, most_pairs=MOST_PAIRS, all_required=False)
        if ends or len(pairs) + PAIRS_PER_ROUND > MOST_PAIRS:
            undecided = [name for name, verdict in verdicts.items() if verdict == "inconclusive"]
            outcome = "inconclusive" if any(map(is_required, undecided)) else "passed"
            if "worse" in verdicts.values():
                outcome = "worse"
            return outcome, verdicts[KEY] == "worse", len(pairs)


def simulate(measured: Measured, target: str, trials: int) -> Trials:
    total = Trials(Counter())
    for number in range(trials):
        outcome, found, pairs = trial(measured, target, np.random.default_rng([number, len(target)]))
        total.outcomes[outcome] += 1
        total.found += found
        total.trials += 1
        total.pairs += pairs
    return total


def lines_of(measured: Measured, equal: Trials, slowed: Trials) -> list[str]:
    """The Markdown lines with the result."""
    lines = [
        f"Blocks measured {measured.where}, while other programs used both cores: {len(measured.rounds)} rounds of "
        f"{BLOCK_S:g} s at {RATE:g} arrivals per second. {equal.trials} trials per row, each with pairs drawn from "
        f"these rounds, and at most {MOST_PAIRS} pairs (15 minutes):",
        "",
        "| target | worse | inconclusive | passed | median of TTFT worse | pairs used |",
        f"| --- {'| ---: ' * 5}|",
    ]
    for name, total in (("equal to the baseline", equal), ("TTFT 5% longer", slowed)):
        shares = " | ".join(f"{total.share(outcome):.1%}" for outcome in ("worse", "inconclusive", "passed"))
        lines.append(
            f"| {name} | {shares} | {total.found / total.trials:.1%} | {total.pairs / total.trials:.1f} |"
        )
    good = meets(equal, slowed)
    targets = (
        f"at most {MOST_FALSE_ALARMS:.0%} false alarms, TTFT longer by 5% found in at least {LEAST_FOUND:.0%}"
    )
    return [*lines, "", f"This {'meets' if good else '**does not meet**'} the targets ({targets})."]


def meets(equal: Trials, slowed: Trials) -> bool:
    return equal.share("worse") <= MOST_FALSE_ALARMS and slowed.found / slowed.trials >= LEAST_FOUND


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--measure", type=int, metavar="ROUNDS", help="measure blocks first")
    parser.add_argument(
        "--folder", type=Path, default=Path("harness-results/interleaved"), help="for the blocks"
    )
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    options = parser.parse_args(arguments)
    measured = (
        measure(options.measure, options.folder.absolute()) if options.measure else Measured.read(BLOCKS)
    )
    equal, slowed = (simulate(measured, target, options.trials) for target in ("target", "slowed"))
    lines = lines_of(measured, equal, slowed)
    print("\n".join(lines))
    if options.write:
        from tests.truth.false_alarms import write

        write(lines, BEGIN, END)
    return 0 if meets(equal, slowed) else 1


if __name__ == "__main__":
    sys.exit(main())
