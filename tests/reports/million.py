"""Makes the report of a million runs and holds it to its bars: how large, how long, how much memory.

python -m tests.reports.million [--runs N] [--seconds N] [--keep FOLDER]

Prints one line a bar and exits 1 when one is missed. Beside the load the file has a whole conformance suite and
violations with their evidence, so that the page has everything that a page can have.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from harness.results.writer import ResultsWriter
from tests.reports import samples
from tests.results.large_file import write_large_file

MOST_MB, MOST_S, MOST_MEMORY_MB = 3.0, 10.0, 500.0
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
    """What was measured, and what it may be at most. note: what else is to be known of it."""

    what: str
    value: float
    most: float
    unit: str
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether it is held."""
        return self.value <= self.most

    def __str__(self) -> str:
        said = f"{self.what} {self.value:,.2f} {self.unit}, at most {self.most:g} {self.unit}{self.note}"
        return f"{'ok' if self.holds else 'MISSED'}: {said}"


def make_results(path: Path, *, runs: int, seconds: int) -> None:
    """The results file: a large load, a suite with a few failures, violations with evidence."""
    write_large_file(path, runs=runs, seconds=seconds)
    with ResultsWriter(path) as writer:
        writer.set_manifest(settings={"objectives": OBJECTIVES})
        samples.write_conformance(
            writer, {"resume.every-cut": "an event never came", "terminal.last": "more came"}
        )
        samples.write_violations(writer)


def measure(results: Path, page: Path) -> list[Bar]:
    """Make the page in a process of its own, as people do. Raises RuntimeError when that fails."""
    command = [sys.executable, "-m", "harness", "report", str(results), "--out", str(page)]
    began = time.monotonic()
    child = os.posix_spawn(sys.executable, command, os.environ)
    _, status, usage = os.wait4(child, 0)
    took_s = time.monotonic() - began
    if status:
        raise RuntimeError(f"harness report ended with {os.waitstatus_to_exitcode(status)}")
    return [
        Bar("size of the page", page.stat().st_size / 1e6, MOST_MB, "MB"),
        # On a machine that does other things besides, the one is far above the other.
        Bar(
            "time to make it",
            took_s,
            MOST_S,
            "s",
            f" ({usage.ru_utime + usage.ru_stime:.1f} s of processor time)",
        ),
        Bar("memory to make it", usage.ru_maxrss * 1024 / 1e6, MOST_MEMORY_MB, "MB"),
    ]


def main() -> int:
    """Measure, print, and say by the exit code whether every bar holds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--keep", type=Path, help="folder in which results and page stay")
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
    return 0 if all(bar.holds for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
