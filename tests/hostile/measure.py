"""Runs suite and load against hostile behaviours, and measures the time and memory of all their processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import tomlkit

from harness.contract.finding import Verdict
from harness.results.reader import Results

from .server import serving

MOST_MB = 600
MOST_S = 100
EVERY = 20
SPARED = 2  # the preflights of the command and of the suite
RATE = 20
DURATION_S = 5
_ACTION = {"toolId": "t", "toolName": "T", "aiDescription": "d", "runtimeScope": "test"}
_SAMPLE_S = 0.1
_SAMPLES_PER_FAMILY = 5
_KILLED = -2
MOST_BUSY = 6  # a machine with other tests takes longer


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one command. peak_mb: of all its processes together. files_mb: what it wrote.

    load: runnable processes per core when it ended (the minute's average). sources: a digest of what was measured.
    code, files_mb and load are None for the runs of which only a page was left.
    """

    behaviour: str
    command: str
    code: int | None
    seconds: float
    peak_mb: float
    files_mb: float | None
    output: str
    outcome: str
    problem: str
    load: float | None = 0.0
    sources: str = ""

    @property
    def held(self) -> bool:
        return not self.problem


def settings(base_url: str) -> dict[str, Any]:
    return {
        "target": {
            "base_url": base_url,
            "token": "t0ken",
            "organization_id": "org-1",
            "verify_tls": False,
            "actions": {"success": _ACTION, "long": _ACTION},
        },
        "budgets": {"first_event": 2, "terminal_close": 2, "heartbeat": 1.5, "run": 6},
        "load": {"rate": RATE, "duration": DURATION_S, "journeys": {"fresh": 1}},
    }


def run_suite(name: str, folder: Path, certificate: Path, area: str = "") -> Run:
    """The suite on a server that is hostile to every request but the preflights. area: the only one; "" for all."""
    with (
        serving(name, spared=SPARED, certificate=certificate) as url,
        _command(folder, url, "conformance", *(("-k", area) if area else ())) as ran,
    ):
        pass
    outcome, problem = _suite_outcome(folder, ran)
    return _run(name, "conformance", ran, folder, outcome, problem)


def run_load(name: str, folder: Path, certificate: Path, duration_s: float = DURATION_S) -> Run:
    """A load on a server that is hostile to each twentieth request."""
    with (
        serving(name, every=EVERY, spared=1, certificate=certificate) as url,
        _command(folder, url, "load", "--duration", f"{duration_s:g}s") as ran,
    ):
        pass
    outcome, problem = _load_outcome(folder, ran)
    return _run(name, "load", ran, folder, outcome, problem)


@dataclass(slots=True)
class _Ran:
    code: int = -1
    seconds: float = 0.0
    peak_mb: float = 0.0
    output: str = ""


def _run(name: str, command: str, ran: _Ran, folder: Path, outcome: str, problem: str) -> Run:
    files_mb = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    problem = problem or _common_problem(ran, files_mb)
    return Run(
        name, command, ran.code, ran.seconds, ran.peak_mb, files_mb, ran.output, outcome, problem, _per_core()
    )


def _common_problem(ran: _Ran, files_mb: float) -> str:
    if ran.code == _KILLED:
        return f"not ended within {MOST_S * MOST_BUSY} s"
    if ran.code not in {0, 1, 2}:
        return f"exit code {ran.code}"
    if "Traceback" in ran.output or "the harness itself failed" in ran.output:
        return "a traceback"
    if ran.peak_mb > MOST_MB:
        return f"{ran.peak_mb:.0f} MB"
    if files_mb > 200:
        return f"{files_mb:.0f} MB of files"
    if ran.seconds > MOST_S * _busy_factor():
        return f"{ran.seconds:.0f} s"
    return ""


def _busy_factor() -> float:
    """How much longer a command may take here: other tests run at the same time."""
    return min(MOST_BUSY, max(1.0, _per_core()))


def _per_core() -> float:
    return os.getloadavg()[0] / (os.cpu_count() or 1)


@contextmanager
def _command(folder: Path, url: str, verb: str, *more: str) -> Iterator[_Ran]:
    config = folder / "harness.toml"
    config.write_text(tomlkit.dumps(settings(url)))
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("HARNESS_", "PYTEST_"))
    }
    ran, began_s = _Ran(), time.monotonic()
    with (folder / "output").open("w+b") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "harness", verb),
                *("--config", str(config), "--out", str(folder / "out"), *more),
            ],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        watching = threading.Thread(target=_watch, args=(process.pid, ran), daemon=True)
        watching.start()
        try:
            ran.code = process.wait(timeout=MOST_S * MOST_BUSY)
        except subprocess.TimeoutExpired:
            ran.code = _KILLED
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait()
        watching.join()
        ran.seconds = time.monotonic() - began_s
        output.seek(0)
        ran.output = output.read().decode(errors="replace")
    yield ran


def _watch(pid: int, ran: _Ran) -> None:
    with suppress(psutil.NoSuchProcess):
        leader = psutil.Process(pid)
        while leader.is_running() and leader.status() != psutil.STATUS_ZOMBIE:
            family = [leader, *leader.children(recursive=True)]  # costs more than the memory of all of them
            for _ in range(_SAMPLES_PER_FAMILY):
                ran.peak_mb = max(ran.peak_mb, sum(map(_memory_mb, family)))
                time.sleep(_SAMPLE_S)


def _memory_mb(process: psutil.Process) -> float:
    try:
        memory = process.memory_full_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0.0
    return float(getattr(memory, "pss", memory.rss)) / 1e6


def _suite_outcome(folder: Path, ran: _Ran) -> tuple[str, str]:
    path = folder / "out" / "results.sqlite"
    if not path.exists():
        said = ran.output.strip().splitlines()
        return f"not tested: {said[-1][:120] if said else ''}", "nothing was tested"
    with Results(path) as results:
        checks = list(results.checks())
    counts = {verdict: sum(check.verdict == verdict for check in checks) for verdict in Verdict}
    outcome = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    if counts[Verdict.ERROR]:
        detail = next(check.detail for check in checks if check.verdict == Verdict.ERROR)
        return outcome, f"the harness failed: {detail[:200]}"
    return outcome, ""


def _load_outcome(folder: Path, ran: _Ran) -> tuple[str, str]:
    path = folder / "out" / "results.sqlite"
    if not path.exists():
        said = ran.output.strip().splitlines()
        return f"not tested: {said[-1][:120] if said else ''}", "no results file"
    with Results(path) as results:
        ledger = results.ledger()
        counts = {word: count for word, count in ledger.as_dict().items() if count}
        failed = results.failures()
        faults = results.harness_faults
    outcome = ", ".join(f"{count} {word}" for word, count in counts.items())
    if not ledger.adds_up:
        return outcome, "the ledger does not add up"
    if not ledger.scheduled:
        return outcome, "no stream was sent"
    defects = [fault for fault in faults if "a limit of the harness was reached" not in fault]
    if defects:
        return outcome, f"harness fault: {defects[0][:200]}"
    hostile = ledger.scheduled // EVERY + 1
    if failed > hostile:
        return outcome, f"{failed} streams failed, and only {hostile} were hostile"
    return outcome, ""


COMMANDS: dict[str, Callable[[str, Path, Path], Run]] = {"conformance": run_suite, "load": run_load}
