"""Fuzzes every target for a time: ``python -m tests.fuzz --seconds 600 [NAME …]``; ``make fuzz`` runs it."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from hypothesis import HealthCheck, given, seed, settings
from hypothesis.database import DirectoryBasedExampleDatabase

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).resolve().parents[2] / ".hypothesis" / "fuzz"
"""Where counterexamples are kept, to be tried first the next time."""

_EXAMPLES = 100


def fuzz(name: str, seconds: float, corpus: Path = CORPUS) -> int:
    """Try inputs for a target for that many seconds of CPU time. Returns their number; raises what the check raises."""
    target, tried = TARGETS[name], 0
    end_s = time.process_time() + seconds
    while time.process_time() < end_s:

        @seed(time.time_ns())
        @settings(
            max_examples=_EXAMPLES,
            deadline=None,
            database=DirectoryBasedExampleDatabase(corpus),
            suppress_health_check=list(HealthCheck),
        )
        @given(target.inputs)
        def check(value: object) -> None:
            nonlocal tried
            if tried and time.process_time() >= end_s:
                return  # a hundred results files take longer than a short time
            tried += 1
            target.check(value)

        check()
    return tried


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="CPU time of all targets together")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TARGETS)}; all by default")
    options = parser.parse_args()
    names = options.names or list(TARGETS)
    print(f"counterexamples are kept in {CORPUS}", flush=True)
    for name in names:
        tried = fuzz(name, options.seconds / len(names))
        print(f"{name}: {tried:,} inputs held", flush=True)


if __name__ == "__main__":
    main()
