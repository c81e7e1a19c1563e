"""Runs suite and load against hostile servers, and writes docs/robustness.md.

Without arguments it runs all; otherwise those whose name contains one of them, and the page says how many.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.hostile.corpus import CORPUS
from tests.hostile.measure import EVERY, MOST_MB, MOST_S, Run, main

PAGE = Path(__file__).resolve().parents[1] / "docs" / "robustness.md"
_OPENSSL = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"

_HEAD = """\
# Robustness

A harness is pointed at servers that misbehave. Limits bound the time and the memory of suite and load, and results say
what was not seen. `python -m scripts.write_robustness` measures that with the hostile servers of `tests/hostile/`, and
writes this page; `make hostile` runs all of them as tests.

## What is bounded

| what | limit | beyond it |
| --- | --- | --- |
| one response | `limits.response`, 32 MiB, as received and decompressed | it is cut, and its evidence says so |
| one event | 8 MiB, 50,000 lines | the same |
| events, lines, reads of one response | 50,000, 1,000,000, 250,000 | the same |
| all responses in a process | `limits.memory`, 96 MiB; each may hold 256 KiB | the same |
| a response head | 256 KiB, 2,000 fields | it is malformed |
| chunk extensions or trailer fields | 64 KiB without a byte of the body | it is malformed |
| a TLS handshake | 1 MiB | the connection counts as refused |
| an exchange | `budgets` | it has timed out |
| the suite | `limits.suite`, which it states at its start | the rest is *inconclusive* |
| the suite's results file | `limits.results`, 200 MB | evidence is left out, and a note says so |

What a limit of the harness hides is *inconclusive*, never passed and never a defect of the server. A stream that is
sound is read and judged as usual while others flood the harness; where the harness was too busy to see its end in time,
its verdict takes that into account.

## Measured
"""


def page(runs: Sequence[Run]) -> str:
    """The page with the figures of these runs."""
    rows = [
        f"| {run.behaviour} | {run.command} | {run.outcome} | {run.seconds:.0f} s | {run.peak_mb:.0f} MB |"
        f"{'' if run.held else f' **{run.problem}**'}"
        for run in runs
    ]
    tried = len({run.behaviour for run in runs})
    held = sum(run.held for run in runs)
    return "\n".join(
        [
            _HEAD,
            f"Of the {len(CORPUS)} behaviours in the corpus {tried} were run against suite and load: {len(runs)} runs,",
            f"of which {held} held. A run holds if it ends within {MOST_S} s (on a busy machine longer), its processes",
            f"together stay below {MOST_MB} MB, no exception shows, and under load, where one request in {EVERY} is",
            "answered with hostility, no other stream fails.",
            "",
            "| | time | memory of all processes |",
            "| --- | ---: | ---: |",
            *(_worst(verb, [run for run in runs if run.command == verb]) for verb in ("conformance", "load")),
            "",
            "| behaviour | command | outcome | time | memory |",
            "| --- | --- | --- | ---: | ---: |",
            *rows,
            "",
        ]
    )


def _worst(verb: str, runs: Sequence[Run]) -> str:
    seconds = max((run.seconds for run in runs), default=0.0)
    peak_mb = max((run.peak_mb for run in runs), default=0.0)
    return f"| {verb}, at worst | {seconds:.0f} s | {peak_mb:.0f} MB |"


def run_all(wanted: Sequence[str]) -> list[Run]:
    """Run these behaviours, one after the other."""
    names = [name for name in CORPUS if not wanted or any(part in name for part in wanted)]
    with tempfile.TemporaryDirectory() as folder:
        certificate = Path(folder) / "server.pem"
        key = certificate.with_name("key.pem")
        subprocess.run(
            ["openssl", *_OPENSSL.split(), "-keyout", str(key), "-out", str(certificate)],
            check=True,
            capture_output=True,
        )
        certificate.write_text(certificate.read_text() + key.read_text())
        runs = []
        for run in main(names, certificate, Path(folder)):
            figures = f"{run.seconds:6.1f} s {run.peak_mb:5.0f} MB"
            print(f"{figures} {run.behaviour} [{run.command}] {run.outcome} {run.problem}", flush=True)
            runs.append(run)
            PAGE.write_text(page(runs), encoding="utf-8")
    return runs


if __name__ == "__main__":
    sys.exit(0 if all(run.held for run in run_all(sys.argv[1:])) else 1)
