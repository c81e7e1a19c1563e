"""Makes the report of an hour with a million runs and checks its size, time and memory against their limits.

python -m tests.reports.million [--runs N] [--seconds N] [--keep FOLDER]

Prints one line per limit and exits with 1 if one is exceeded. The results file also has a complete conformance suite
and violations with evidence, so that the page has every kind of content.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from harness.results.totals import store_totals
from harness.results.writer import ResultsWriter
from tests.reports import samples
from tests.results.large_file import write_large_file

MOST_MB, MOST_S, MOST_MEMORY_MB = 3.0, 6.0, 300.0
OBJECTIVES = {
    "ttft_p95_ms": 800,
    "ttft_p99_ms": 1200,
    "inter_token_p99_ms": 400,
    "stall_p99_ms": 400,
    "duration_p99_ms": 20000,
    "error_rate": 0.01,
}


@dataclass(frozen=True, slots=True)
class Bar:
    """A measured value and its limit. note: appended to the line."""

    what: str
    value: float
    most: float
    unit: str
    note: str = ""

    @property
    def is_met(self) -> bool:
        """Whether the value is at most its limit."""
        return self.value <= self.most

    def __str__(self) -> str:
        values = f"{self.value:,.2f} {self.unit}, at most {self.most:g} {self.unit}"
        return f"{'ok' if self.is_met else 'MISSED'}: {self.what} {values}{self.note}"


def make_results(path: Path, *, runs: int, seconds: int) -> None:
    """Write a results file as at a test's end: a large load, a suite with two failures, violations with evidence."""
    write_large_file(path, runs=runs, seconds=seconds)
    with ResultsWriter(path) as writer:
        writer.set_manifest(settings={"objectives": OBJECTIVES})
        samples.write_conformance(
            writer, {"resume.every-cut": "an event never came", "terminal.last": "more came"}
        )
        samples.write_violations(writer)
    store_totals(path)


def measure(results: Path, page: Path) -> list[Bar]:
    """Make the page with the command line in a new process. Raises RuntimeError if that fails."""
    command = [sys.executable, "-m", "harness", "report", str(results), "--out", str(page)]
    began = time.monotonic()
    child = os.posix_spawn(sys.executable, command, os.environ)
    _, status, usage = os.wait4(child, 0)
    took_s = time.monotonic() - began
    if status:
        raise RuntimeError(f"harness report exited with {os.waitstatus_to_exitcode(status)}")
    return [
        Bar("size of the page", page.stat().st_size / 1e6, MOST_MB, "MB"),
        # On a busy machine the elapsed time is far above the CPU time.
        Bar(
            "time to make it",
            took_s,
            MOST_S,
            "s",
            f" ({usage.ru_utime + usage.ru_stime:.1f} s of CPU time)",
        ),
        Bar("memory to make it", usage.ru_maxrss * 1024 / 1e6, MOST_MEMORY_MB, "MB"),
    ]


def main() -> int:
    """Measure and print; returns 0 if every limit is met, else 1."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--keep", type=Path, help="folder for the results file and the page, kept afterwards")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        results = folder / "results.sqlite"
        if not results.exists():
            make_results(results, runs=options.runs, seconds=options.seconds)
        print(
            f"{options.runs:,} runs in {options.seconds:,} s: {results.stat().st_size / 1e6:,.0f} MB of results"
        )
        bars = measure(results, folder / "report.html")
    for bar in bars:
        print(bar)
    return 0 if all(bar.is_met for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
