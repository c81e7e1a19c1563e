"""The kill matrix: the whole suite on every defect of the embedded server.

A mutant is killed when the requirement that its defect breaks is the first, in the catalogue's order of
diagnosis, that is not met. Run as a program it prints the matrix, and exits with 1 unless it is complete.

Servers and suites are forked off this process after its imports, which is a third of the time otherwise.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import tomlkit

import harness.suite.pytest_plugin  # noqa: F401 - imported before the forks
from harness.commands.conformance import SUITE
from harness.commands.processes import clean_environment
from harness.contract.requirements import CATALOGUE, Level
from harness.contract.rules.rule import RULES
from harness.reference.faults.base import FAULTS
from harness.reference.server import serve
from harness.reference.settings import ServerSettings, demo_config

TRIES = 3
UNMET = ("fail", "error", "warn")
BUDGETS = {"first_event": 3, "terminal_close": 1, "heartbeat": 1, "run": 20}


@dataclass(frozen=True)
class Kill:
    """What the suite found on one mutant: unmet requirements in the order of diagnosis."""

    mutant: str
    breaks: str
    unmet: tuple[str, ...]
    exit_code: int
    tries: int = 1

    @property
    def verdict(self) -> str:
        """``killed``, ``wrong kill`` (others came first), ``unrelated`` (only others), or ``survived``."""
        if not self.unmet:
            return "survived"
        if self.breaks not in self.unmet:
            return "unrelated"
        return "killed" if self.unmet[0] == self.breaks else "wrong kill"


def _forked(work: Callable[[], object], log: Path) -> int:
    """Do `work` in a forked process with its output in `log`; returns the process id."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        with log.open("wb") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        code = int(work() or 0)
    finally:
        sys.stdout.flush()
        os._exit(code)


@contextmanager
def _server(fault: str | None, log: Path) -> Any:
    reader, writer = os.pipe()
    pid = _forked(
        lambda: serve(
            ServerSettings(), [fault] if fault else [], on_ready=lambda port: os.write(writer, b"%d\n" % port)
        ),
        log,
    )
    os.close(writer)
    with os.fdopen(reader) as ready:
        port = ready.readline().strip()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)


def run_mutant(fault: str | None) -> Kill:
    """The suite on the embedded server with that defect; None is the correct server."""
    with (
        tempfile.TemporaryDirectory(prefix="mutant-") as name,
        _server(fault, Path(name) / "server.log") as url,
    ):
        folder = Path(name)
        config = {**demo_config(url), "budgets": BUDGETS}
        (folder / "harness.toml").write_text(tomlkit.dumps(config), encoding="utf-8")
        verdicts = folder / "verdicts.json"
        arguments = [str(SUITE), "-q", "--harness-config", str(folder / "harness.toml")]
        arguments += ["--harness-json", str(verdicts), "-p", "no:xdist", "-p", "no:benchmark"]

        def suite() -> int:
            os.environ.clear()
            os.environ.update(clean)
            return int(pytest.main(arguments))

        clean = clean_environment()
        pid = _forked(suite, folder / "suite.log")
        exit_code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if not verdicts.exists():
            raise RuntimeError(f"no verdicts on {fault}: {(folder / 'suite.log').read_text()[-2000:]}")
        found = {check["id"]: check["verdict"] for check in json.loads(verdicts.read_text())["checks"]}
    unmet = tuple(name for name in CATALOGUE if found[name] in UNMET)
    return Kill(fault or "", FAULTS[fault].breaks if fault else "", unmet, exit_code)


def tried_again(kill: Kill) -> Kill:
    """What the suite says of a mutant that was not killed rightly, on a machine that does nothing else.

    Some defects show only within milliseconds, which a busy machine does not always hit. The matrix says
    how many tries it took.
    """
    for tries in range(2, TRIES + 1):
        if kill.verdict == "killed":
            break
        kill = replace(run_mutant(kill.mutant), tries=tries)
    return kill


def kill_matrix(mutants: Iterable[str | None], at_once: int = 3) -> Iterable[Kill]:
    """Run the suite on `mutants`, some at the same time; in their order."""
    with ProcessPoolExecutor(at_once, mp_context=multiprocessing.get_context("fork")) as pool:
        yield from pool.map(run_mutant, mutants)


def uncovered() -> list[str]:
    """The MUSTs that no mutant breaks."""
    broken = {fault.breaks for fault in FAULTS.values()}
    return [
        row.id
        for row in CATALOGUE.values()
        if row.level is Level.MUST and row.id in RULES and row.id not in broken
    ]


def complaints(kills: Iterable[Kill]) -> list[str]:
    """What is wrong with the matrix: a mutant that is not killed rightly, a MUST without a mutant."""
    found = [f"{name}: no mutant breaks this MUST" for name in uncovered()]
    for kill in kills:
        level = CATALOGUE[kill.breaks].level
        if kill.verdict != "killed":
            found.append(f"{kill.mutant}: {kill.verdict}: {', '.join(kill.unmet[:3]) or 'nothing unmet'}")
        elif level is Level.MUST and kill.exit_code != 1:
            found.append(f"{kill.mutant}: breaks a MUST, but the suite's exit code is {kill.exit_code}")
    return found


def _line(kill: Kill) -> str:
    others = (
        f"  (then {', '.join(kill.unmet[1:4])}{', …' if len(kill.unmet) > 4 else ''})"
        if kill.unmet[1:]
        else ""
    )
    first = kill.unmet[0] if kill.unmet else "-"
    mark = "" if kill.verdict == "killed" else f"  <-- {kill.verdict}, wanted {kill.breaks}"
    again = f"  [try {kill.tries}]" if kill.tries > 1 else ""
    return f"{kill.mutant:30} {first:28}{mark}{others}{again}"


def main() -> None:
    """Print the matrix."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mutants", nargs="*", help="only these")
    parser.add_argument("--json", type=Path, help="write the matrix to a file too")
    chosen = parser.parse_args()
    names = chosen.mutants or list(FAULTS)
    kills = []
    for kill in kill_matrix(names):
        kills.append(kill)
        print(_line(kill), flush=True)
    for place, kill in enumerate(kills):
        if kill.verdict != "killed":
            kills[place] = tried_again(kill)
            print(_line(kills[place]), flush=True)
    if chosen.json:
        rows = [
            {
                "mutant": kill.mutant,
                "breaks": kill.breaks,
                "unmet": kill.unmet,
                "tries": kill.tries,
                "verdict": kill.verdict,
            }
            for kill in kills
        ]
        chosen.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    wrong = complaints(kills) if not chosen.mutants else []
    print(
        f"{sum(kill.verdict == 'killed' for kill in kills)} of {len(kills)} mutants killed by what they break"
    )
    for line in wrong:
        print(f"WRONG {line}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
