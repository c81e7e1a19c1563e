"""Whether verdicts are right in spite of the harness's own delays, and how often they are inconclusive because of them.

The latencies of a simulated server are known; the measured ones are longer by delays of the harness, which are written
into the results file as the harness would. The real gate judges each file against limits at known distances from the
true percentile. A verdict that contradicts the true value is wrong; there must be none.

python -m tests.truth.error_bars [--trials 100] [--write]: --write puts the tables into docs/gate.md. It exits with 1 if
a verdict was wrong, a change of the harness alone was called a change of the server, or a slowed server was not found.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.gate.evaluate import evaluate
from harness.gate.objective import parse_objectives
from harness.results.histogram import Histogram, nearest_rank
from harness.results.reader import Results
from harness.results.writer import ResultsWriter
from tests.benchmarks.target import ROOT

PAGE = ROOT / "docs" / "gate.md"
BEGIN, END = "<!-- error bars: begin -->", "<!-- error bars: end -->"
PERCENTILES = {"ttft_p50_ms": 50.0, "ttft_p95_ms": 95.0, "ttft_p99_ms": 99.0}
DISTANCES = (0.5, 0.9, 0.97, 1.03, 1.1, 2.0)
"""Limits, as shares of the true percentile: below 1 the server misses it, above 1 it meets it."""
RESOLUTION = 0.01
"""Of a histogram. A limit this close to the true value may be judged either way."""

_Values = npt.NDArray[np.float64]
Delay = Callable[[np.random.Generator, _Values], _Values]


def _idle(rng: np.random.Generator, true_ms: _Values) -> _Values:
    return rng.exponential(0.15, len(true_ms))


def _busy(rng: np.random.Generator, true_ms: _Values) -> _Values:
    return rng.lognormal(0.0, 1.0, len(true_ms))  # a median of 1 ms, a p99 of 10 ms


def _first_late(rng: np.random.Generator, true_ms: _Values) -> _Values:
    delays_ms = _idle(rng, true_ms)
    delays_ms[0] = 160.0
    return delays_ms


def _pauses(rng: np.random.Generator, true_ms: _Values) -> _Values:
    late = rng.random(len(true_ms)) < 0.03
    return np.where(late, rng.uniform(0, 300.0, len(true_ms)), _idle(rng, true_ms))


def _worst(rng: np.random.Generator, true_ms: _Values) -> _Values:
    """Every slow response was sent late, too: the pairing that lengthens the upper percentiles most."""
    order = np.argsort(np.argsort(true_ms))
    return np.sort(_busy(rng, true_ms))[order]


DELAYS: Mapping[str, Delay] = {
    "idle": _idle,
    "a busy machine: p50 1 ms, p99 10 ms": _busy,
    "the same, the slowest responses were sent last": _worst,
    "the first arrival 160 ms late": _first_late,
    "pauses: 3% late by up to 300 ms": _pauses,
}


@dataclass(frozen=True, slots=True)
class Load:
    """seconds, rate: of an open loop, arrivals per second. ttft_ms: the median of the server."""

    seconds: int
    rate: int
    ttft_ms: float

    def true_ms(self, rng: np.random.Generator, added_ms: float = 0.0) -> _Values:
        return self.ttft_ms * np.exp(rng.normal(0, 0.1, self.seconds * self.rate)) + added_ms

    def write(self, path: Path, true_ms: _Values, delays_ms: _Values, *, net: bool = False) -> Path:
        """The results file of a harness with these delays. net: as the harness writes it, with each stream's own lag
        taken off; without it, only the two distributions are known.
        """
        with ResultsWriter(path) as writer:
            writer.set_manifest(receive_stamp="kernel", load_state="finished")
            for second in range(self.seconds):
                part = slice(second * self.rate, (second + 1) * self.rate)
                measured = {"ttft_ms": true_ms + delays_ms, "schedule_lag_ms": delays_ms}
                if net:
                    measured["net_ttft_ms"] = true_ms
                for metric, values_ms in measured.items():
                    histogram = Histogram()
                    histogram.record_many(values_ms[part])
                    writer.add_histogram(metric, "fresh", second, "w", histogram)
                for counter in ("judged", "runs"):
                    writer.add_rate_counts("w", second, "fresh", counter, self.rate)
                for outcome in ("scheduled", "done"):
                    writer.add_ledger("w", second, "fresh", outcome, self.rate)
        return path


LOADS = {
    "20 s at 2 per second, 20 ms": Load(20, 2, 20.0),
    "60 s at 20 per second, 200 ms": Load(60, 20, 200.0),
}


def verdicts(load: Load, delay: Delay, trials: int) -> Counter[tuple[float, str]]:
    """How often each limit got which verdict: "right", "inconclusive" or "wrong", over all percentiles."""
    tally: Counter[tuple[float, str]] = Counter()
    for seed in range(trials):
        rng = np.random.default_rng([seed, load.seconds, load.rate])
        true_ms = load.true_ms(rng)
        with tempfile.TemporaryDirectory() as folder:
            path = load.write(Path(folder) / "results.sqlite", true_ms, delay(rng, true_ms))
            with Results(path) as results:
                for distance in DISTANCES:
                    tally.update((distance, word) for word in _judged(results, np.sort(true_ms), distance))
    return tally


def _judged(results: Results, ascending_ms: _Values, distance: float) -> Iterator[str]:
    true_ms = {
        key: float(ascending_ms[nearest_rank(percent, len(ascending_ms)) - 1])
        for key, percent in PERCENTILES.items()
    }
    limits = {key: value * distance for key, value in true_ms.items()}
    for row in evaluate(results, parse_objectives(limits)).rows:
        if row.name not in limits:
            continue
        right = "passed" if distance > 1 else "failed"
        yield (
            "right" if row.verdict == right else "inconclusive" if row.verdict == "inconclusive" else "wrong"
        )


def changes(load: Load, delay: Delay, added_ms: float, trials: int) -> Counter[str]:
    """The verdicts on the median of TTFT: an idle harness before, one with these delays now.

    added_ms: by how much the server became slower.
    """
    tally: Counter[str] = Counter()
    for seed in range(trials):
        rng = np.random.default_rng([seed, load.seconds, load.rate, round(added_ms)])
        then_ms, now_ms = load.true_ms(rng), load.true_ms(rng, added_ms)
        with tempfile.TemporaryDirectory() as folder:
            then = load.write(Path(folder) / "then.sqlite", then_ms, _idle(rng, then_ms), net=True)
            now = load.write(Path(folder) / "now.sqlite", now_ms, delay(rng, now_ms), net=True)
            with Results(now) as results, Results(then) as baseline:
                report = evaluate(results, parse_objectives({"error_rate": 0.01}), baseline)
        tally.update(one.verdict for one in report.comparisons if one.key == "ttft_p50_ms")
    return tally


def verdict_table(tallies: Mapping[tuple[str, str], Counter[tuple[float, str]]]) -> list[str]:
    """A Markdown table: the share of inconclusive verdicts by distance, and how many were wrong."""
    lines = [
        f"| load | harness | {' | '.join(f'limit at {distance:.0%}' for distance in DISTANCES)} | wrong |",
        f"| --- | --- {'| ---: ' * (len(DISTANCES) + 1)}|",
    ]
    for (load, delay), tally in tallies.items():
        shares = []
        for distance in DISTANCES:
            total = sum(tally[distance, word] for word in ("right", "inconclusive", "wrong"))
            shares.append(f"{tally[distance, 'inconclusive'] / total:.0%}")
        wrong = sum(tally[distance, "wrong"] for distance in DISTANCES)
        lines.append(f"| {load} | {delay} | {' | '.join(shares)} | {wrong} of {tally.total():,} |")
    return lines


def change_table(tallies: Mapping[tuple[str, float], Counter[str]]) -> list[str]:
    """A Markdown table of the verdicts of comparisons."""
    words = ("worse", "inconclusive", "same", "better")
    lines = [f"| harness now | server | {' | '.join(words)} |", f"| --- | --- {'| ---: ' * len(words)}|"]
    for (delay, added_ms), tally in tallies.items():
        server = f"{added_ms:g} ms slower" if added_ms else "unchanged"
        shares = " | ".join(f"{tally[word] / tally.total():.0%}" for word in words)
        lines.append(f"| {delay} | {server} | {shares} |")
    return lines


def lines_of(trials: int) -> tuple[list[str], bool]:
    """The content of the page between its markers, and whether every verdict was right."""
    judged = {
        (load_name, name): verdicts(load, delay, trials)
        for load_name, load in LOADS.items()
        for name, delay in DELAYS.items()
    }
    short = LOADS["20 s at 2 per second, 20 ms"]
    compared = {
        (name, added_ms): changes(short, delay, added_ms, trials)
        for name, delay in DELAYS.items()
        for added_ms in (0.0, 150.0)
    }
    sound = all(not tally[distance, "wrong"] for tally in judged.values() for distance in DISTANCES)
    sound &= all(
        tally["worse"] == trials if added_ms else tally["worse"] <= 0.05 * trials
        for (_, added_ms), tally in compared.items()
    )
    lines = [
        f"Shares of inconclusive verdicts, by the distance of the limit from the true value ({trials} trials, three "
        "percentiles each):",
        "",
        *verdict_table(judged),
        "",
        f"Verdicts on the median of TTFT against a baseline of an idle harness, 20 s at 2 per second, 20 ms ({trials} "
        "trials):",
        "",
        *change_table(compared),
    ]
    return lines, sound


def write(lines: Sequence[str]) -> None:
    """Put the tables into the page. Raises ValueError if its markers are missing."""
    text = PAGE.read_text(encoding="utf-8")
    before, begun, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not begun or not ended:
        raise ValueError(f"{PAGE} lacks the lines {BEGIN} and {END}, which enclose the tables")
    content = "\n".join(lines)
    PAGE.write_text(f"{before}{BEGIN}\n{content}\n{END}{after}", encoding="utf-8")


def run() -> int:
    """Measure and print the tables. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/gate.md")
    arguments = parser.parse_args()
    lines, sound = lines_of(arguments.trials)
    print("\n".join(lines))
    if arguments.write:
        write(lines)
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(run())
