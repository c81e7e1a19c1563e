"""Writes docs/robustness.md from kept runs of suite and load against hostile servers; with --run makes them, for hours.

    python -m scripts.write_robustness [--run [--jobs N] [--again] [PART OF A NAME ...]]

Without --run it only writes the page. With it, it first runs what is left, what did not hold, and what took long:
without names of all behaviours, otherwise of those whose name contains one of them, and the page says how many. Each
run is kept in tests/hostile/kept_runs.jsonl at its end; commit that file with the page, or the hours are lost with the
machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

from tests.hostile.corpus import CORPUS
from tests.hostile.kept_runs import KeptRuns, alone, sources_digest
from tests.hostile.measure import COMMANDS, EVERY, MOST_BUSY, MOST_MB, MOST_S, Run

_ROOT = Path(__file__).resolve().parents[1]
PAGE = _ROOT / "docs" / "robustness.md"
KEPT = _ROOT / "tests" / "hostile" / "kept_runs.jsonl"
LOCK = _ROOT / "build" / "robustness.lock"
_EARLIER_LOAD = 43.5  # the highest of the runs of which only a page was left, by that page
_OPENSSL = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"

_HEAD = """\
# Robustness

A harness is pointed at servers that misbehave. Limits bound the time and the memory of suite and load, and results say
what was not seen. `make robustness` measures that with the hostile servers of `tests/hostile/`, for hours, and
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
| the suite, with its judging | `limits.suite`, which it states at its start | the rest is *inconclusive* |
| the suite's results file | `limits.results`, 200 MB | evidence is left out, and a note says so |
| an expression of a profile | 1,000 characters, 30 levels, 100 times an event's size | the profile is refused |
| a recorded answer | 64 MiB, 50,000 events, 1,000,000 lines, 1,000 streams | it is refused |

What a limit of the harness hides is *inconclusive*, never passed and never a defect of the server. A stream that is
sound is read and judged as usual while others flood the harness; where the harness was too busy to see its end in time,
its verdict takes that into account.

## An hour

`make soak` loads the embedded server for an hour, kills a worker or restarts the server every five minutes, and fails
if memory or descriptors grow, or if the ledger and the server's own count disagree. On 2026-11-30, with 6 workers
killed and 5 restarts on a busy machine of 2 cores, it passed: 22,827 streams scheduled, every difference from the
server's 22,383 requests explained. After its warm-up a worker of the load grew by 0.7 to 2.0 MB until it was killed, at
3.4 to 11.8 MB per hour, the master by 2.9 MB (limit 12 MB per hour); descriptors did not grow. In 200 tests started and
stopped on one web page (`python -m tests.load.web.cycles --cycles 200`) its process grew by 0.3 MiB from the second to
the last quarter, with at most 9 descriptors.

## Measured
"""


def page(runs: Sequence[Run], sources: str) -> str:
    """The page with the figures of these runs. sources: the digest of the present sources."""
    rows = [
        f"| {run.behaviour} | {run.command} | {run.outcome} | {run.seconds:.0f} s | {run.peak_mb:.0f} MB |"
        f"{'' if run.held else f' **{run.problem}**'}"
        for run in runs
    ]
    return "\n".join(
        [
            _HEAD,
            *_counts(runs, sources),
            "",
            "| | runs | held | time at worst | memory at worst |",
            "| --- | ---: | ---: | ---: | ---: |",
            *(_worst(verb, [run for run in runs if run.command == verb]) for verb in COMMANDS),
            "",
            "| kind | behaviours | runs of two for each | held |",
            "| --- | ---: | ---: | ---: |",
            *_by_kind(runs),
            "",
            "| behaviour | command | outcome | time | memory |",
            "| --- | --- | --- | ---: | ---: |",
            *rows,
            "",
        ]
    )


def _counts(runs: Sequence[Run], sources: str) -> list[str]:
    held = sum(run.held for run in runs)
    slow = sum(run.held and run.seconds > MOST_S for run in runs)
    earlier = sum(run.sources != sources for run in runs)
    loads = [_EARLIER_LOAD if run.load is None else run.load for run in runs]
    busiest = max(loads, default=0.0)
    lines = [
        f"The corpus has {len(CORPUS)} behaviours, each for suite and load: {len(CORPUS) * len(COMMANDS)} runs.",
        f"Of these, {len(runs)} were made, and {held} of them held. A run holds if it ends within {MOST_S} s (on a",
        f"busy machine longer, at most {MOST_S * MOST_BUSY} s), its processes together stay below {MOST_MB} MB, no",
        f"exception or fault of the harness shows, and under load, where one request in {EVERY} is answered with",
        "hostility, no other stream fails.",
        "",
        f"The machine was shared, with up to {busiest:.1f} runnable processes per core: times are upper bounds.",
        f"{slow} of the runs that held took more than {MOST_S} s.",
    ]
    if earlier:
        lines.append(f"{earlier} of the runs are older than the newest change of the sources.")
    return lines


def _by_kind(runs: Sequence[Run]) -> Iterator[str]:
    behaviours = Counter(name.partition(":")[0] for name in CORPUS)
    made = Counter(run.behaviour.partition(":")[0] for run in runs)
    held = Counter(run.behaviour.partition(":")[0] for run in runs if run.held)
    for kind, count in behaviours.items():
        yield f"| {kind} | {count} | {made[kind]} | {held[kind]} |"


def _worst(verb: str, runs: Sequence[Run]) -> str:
    seconds = max((run.seconds for run in runs), default=0.0)
    peak_mb = max((run.peak_mb for run in runs), default=0.0)
    return f"| {verb} | {len(runs)} | {sum(run.held for run in runs)} | {seconds:.0f} s | {peak_mb:.0f} MB |"


def write_page(kept: KeptRuns) -> None:
    PAGE.write_text(page(kept.of(CORPUS), sources_digest()), encoding="utf-8")


def run_left(names: Sequence[str], kept: KeptRuns, jobs: int) -> None:
    """Run what is left of these behaviours, `jobs` at a time, and write the page after each."""
    with tempfile.TemporaryDirectory() as where, ThreadPoolExecutor(jobs) as pool:
        certificate = _certificate(Path(where))
        running = [
            pool.submit(_run, name, command, certificate, Path(where) / str(place))
            for place, (name, command) in enumerate(kept.left(names))
        ]
        try:
            for done, future in enumerate(as_completed(running), 1):
                run = future.result()
                kept.add(run)
                write_page(kept)
                figures = f"{done}/{len(running)} {run.seconds:6.1f} s {run.peak_mb:5.0f} MB"
                print(f"{figures} {run.behaviour} [{run.command}] {run.outcome} {run.problem}", flush=True)
        finally:
            pool.shutdown(cancel_futures=True)


def _run(name: str, command: str, certificate: Path, folder: Path) -> Run:
    sources = sources_digest()
    folder.mkdir()
    run = COMMANDS[command](name, folder, certificate)
    shutil.rmtree(folder)
    return replace(run, sources=sources)


def _certificate(folder: Path) -> Path:
    certificate, key = folder / "server.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", *_OPENSSL.split(), "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    certificate.write_text(certificate.read_text() + key.read_text())
    return certificate


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0 if every kept run held, 1 if not, 2 if it cannot begin."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.write_robustness",
        description="Write docs/robustness.md from the kept runs. With --run, make the runs that are left first: "
        "all of them take hours and every core.",
    )
    parser.add_argument(
        "names", nargs="*", help="with --run: only behaviours whose name contains one of these"
    )
    parser.add_argument("--run", action="store_true", help="make the runs that are left; takes hours")
    parser.add_argument("--jobs", type=int, help="with --run: runs at the same time (as many as cores)")
    parser.add_argument("--again", action="store_true", help="with --run: forget the kept runs first")
    given = parser.parse_args(arguments)
    if not given.run and (given.names or given.again or given.jobs is not None):
        parser.error("names, --jobs and --again need --run, which makes runs and takes hours")
    names = [name for name in CORPUS if not given.names or any(part in name for part in given.names)]
    try:
        with alone(LOCK):
            if given.again:
                KEPT.unlink(missing_ok=True)
            kept = KeptRuns(KEPT)
            if given.run:
                run_left(names, kept, given.jobs or os.cpu_count() or 1)
            elif not kept.of(CORPUS):
                print(
                    f"{KEPT} has no runs for the page: make them with --run, which takes hours.",
                    file=sys.stderr,
                )
                return 2
            write_page(kept)
    except BlockingIOError:
        print(f"Another process measures here ({KEPT.parent}): wait for it, or end it.", file=sys.stderr)
        return 2
    return 0 if all(run.held for run in kept.of(CORPUS)) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
