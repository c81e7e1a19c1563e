"""The kill matrix: the whole suite on every defect of the embedded server.

A mutant is killed if the requirement that its defect violates is the first violated one in the order of the catalogue.
As a program it prints the matrix, and exits with 1 unless all mutants are killed.

Servers and suites are forked from this process after its imports, which would take a third of the time otherwise.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import Any

import hypothesis  # noqa: F401 - imported before the forks
import pytest
import tomlkit

import harness.suite.pytest_plugin  # noqa: F401 - imported before the forks
from harness.commands.processes import clean_environment
from harness.commands.suite_process import SUITE
from harness.contract.requirements import CATALOGUE, RULES, Level
from harness.profiles import library
from harness.profiles.profile import WORKFLOW_ACTIONS
from harness.reference.apis import APIS
from harness.reference.faults.base import FAULTS
from harness.reference.replicas import restart_command, serve_replicas
from harness.reference.server import serve
from harness.reference.settings import ServerSettings, demo_config
from tests.reference.redis_server import new_database, redis_server

TRIES = 3
AT_ONCE = 2 * (os.cpu_count() or 2)  # half of the time a suite waits
UNMET = ("fail", "error", "warn")
#: On a busy machine, a sound server may get no CPU time for seconds.
BUDGETS = {"first_event": 15, "terminal_close": 15, "heartbeat": 5, "run": 60, "restart": 6}
#: For mutants that break a requirement about time, or let streams wait until a budget is used up.
SHORT_BUDGETS = {
    "first_event": 3,
    "terminal_close": 3,
    "heartbeat": 1,
    "run": 8,
    "cancel": 1,
    "restart": 6,
}
WAITING = frozenset(
    {
        "cancel-misses-reader",
        "cancel-stops-only-the-action",
        "rejoin-never-ends",
        "silent-hangs",
        "stays-open",
        "unfinished-for-ever",
        "unknown-last-event-id-hangs",
        "waits-after-cancelled",
        "waits-after-terminal",
    }
)


@dataclass(frozen=True)
class Kill:
    """The result of the suite on one mutant. unmet: the violated requirements, in catalogue order."""

    mutant: str
    breaks: str
    unmet: tuple[str, ...]
    exit_code: int
    tries: int = 1

    @property
    def verdict(self) -> str:
        """``killed``, ``wrong kill`` (others first), ``unrelated`` (only others), or ``survived`` (none)."""
        if not self.unmet:
            return "survived"
        if self.breaks not in self.unmet:
            return "unrelated"
        return "killed" if self.unmet[0] == self.breaks else "wrong kill"


def budgets_for(mutant: str | None) -> dict[str, float]:
    """The time budgets of the suite on this mutant; None for the correct server."""
    is_timed = mutant is not None and (mutant in WAITING or FAULTS[mutant].breaks.startswith("liveness."))
    return {**(SHORT_BUDGETS if is_timed else BUDGETS)}


def _forked(work: Callable[[], object], log: Path) -> int:
    """Run `work` in a forked process with its output in `log`; returns the process id."""
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
def serving(
    fault: str | None, log: Path, profile: str = WORKFLOW_ACTIONS, *, shared: bool = False, redis: str = ""
) -> Iterator[dict[str, Any]]:
    """The settings for the embedded server with this fault, in a forked process.

    shared: two replicas with a store, as for each fault that shows only there. redis: where the store is, in a new
    database; empty: SQLite.
    """
    reader, writer = os.pipe()
    faults = [fault] if fault else []

    def listens(*ports: int) -> None:
        os.write(writer, " ".join(map(str, ports)).encode() + b"\n")

    def serve_shared() -> None:
        store = new_database(redis) if redis else f"sqlite:{log}.db"
        serve_replicas(ServerSettings(store=store), 2, faults, on_ready=listens)

    def serve_one() -> None:
        serve(ServerSettings(profile=profile), faults, on_ready=listens)

    shared = shared or (fault is not None and FAULTS[fault].shared)
    pid = _forked(serve_shared if shared else serve_one, log)
    os.close(writer)
    with os.fdopen(reader) as ready:
        urls = [f"http://127.0.0.1:{port}" for port in ready.readline().split()]
    more: dict[str, Any] = {}
    if shared:
        more = {"replicas": urls, "own": True, "restart_command": restart_command(pid)}
    try:
        yield demo_config(urls[0], profile, **more)
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)


def run_mutant(fault: str | None, redis: str = "") -> Kill:
    """Run the suite on the embedded server with this fault; None for the correct server. redis: as in `serving`."""
    profile = FAULTS[fault].profile if fault else WORKFLOW_ACTIONS
    with (
        tempfile.TemporaryDirectory(prefix="mutant-") as name,
        serving(fault, Path(name) / "server.log", profile, redis=redis) as demo,
    ):
        folder = Path(name)
        config = {**demo, "budgets": budgets_for(fault)}
        (folder / "harness.toml").write_text(tomlkit.dumps(config), encoding="utf-8")
        verdicts = folder / "verdicts.json"
        arguments = ["--disable-plugin-autoload", "-p", "harness", str(SUITE), "-q"]
        arguments += ["--harness-config", str(folder / "harness.toml"), "--harness-json", str(verdicts)]

        def suite() -> int:
            os.environ.clear()
            os.environ.update(clean)
            return int(pytest.main(arguments))

        clean = clean_environment()
        pid = _forked(suite, folder / "suite.log")
        exit_code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if not verdicts.exists():
            raise RuntimeError(f"no verdicts on {fault}: {(folder / 'suite.log').read_text()[-2000:]}")
        verdict_by_id = {
            check["id"]: check["verdict"] for check in json.loads(verdicts.read_text())["checks"]
        }
    unmet = tuple(name for name in CATALOGUE if verdict_by_id[name] in UNMET)
    return Kill(fault or "", FAULTS[fault].breaks if fault else "", unmet, exit_code)


def retried(kill: Kill, redis: str = "") -> Kill:
    """Run a mutant that was not killed again, with nothing else running; returns the last result.

    Some defects show only within milliseconds, which a busy machine does not always hit. The matrix shows the number
    of tries.
    """
    for tries in range(2, TRIES + 1):
        if kill.verdict == "killed":
            break
        kill = replace(run_mutant(kill.mutant, redis), tries=tries)
    return kill


def kill_matrix(mutants: Iterable[str | None], at_once: int = AT_ONCE, redis: str = "") -> Iterable[Kill]:
    """Run the suite on `mutants`, `at_once` at the same time; results in order. redis: as in `serving`."""
    with ProcessPoolExecutor(at_once, mp_context=multiprocessing.get_context("fork")) as pool:
        yield from pool.map(run_mutant, mutants, repeat(redis))


def uncovered() -> list[str]:
    """The MUST requirements that no mutant violates, of those about the APIs of the embedded server."""
    broken = {fault.breaks for fault in FAULTS.values()}
    apis = [library.load(name) for name in APIS]
    return [
        row.id
        for row in CATALOGUE.values()
        if row.level is Level.MUST
        and row.id in RULES
        and row.id not in broken
        and any(row.not_promised(api) is None for api in apis)
    ]


def problems_of(kills: Iterable[Kill]) -> list[str]:
    """What is wrong with the matrix: a mutant that is not killed, a MUST without a mutant."""
    problems = [f"{name}: no mutant breaks this MUST" for name in uncovered()]
    for kill in kills:
        level = CATALOGUE[kill.breaks].level
        if kill.verdict != "killed":
            problems.append(f"{kill.mutant}: {kill.verdict}: {', '.join(kill.unmet[:3]) or 'nothing unmet'}")
        elif level is Level.MUST and kill.exit_code != 1:
            problems.append(f"{kill.mutant}: breaks a MUST, but the suite's exit code is {kill.exit_code}")
    return problems


def _line(kill: Kill) -> str:
    others = (
        f"  (then {', '.join(kill.unmet[1:4])}{', …' if len(kill.unmet) > 4 else ''})"
        if kill.unmet[1:]
        else ""
    )
    first = kill.unmet[0] if kill.unmet else "-"
    mark = "" if kill.verdict == "killed" else f"  <-- {kill.verdict}, expected {kill.breaks}"
    tries = f"  [try {kill.tries}]" if kill.tries > 1 else ""
    return f"{kill.mutant:30} {first:28}{mark}{others}{tries}"


def main() -> None:
    """Print the matrix."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mutants", nargs="*", help="only these faults")
    parser.add_argument("--json", type=Path, help="also write the matrix to this file")
    parser.add_argument("--redis", action="store_true", help="only faults of replicas, with a store in Redis")
    options = parser.parse_args()
    names = options.mutants or [name for name, fault in FAULTS.items() if fault.shared or not options.redis]
    kills = []
    with redis_server() if options.redis else nullcontext("") as redis:
        for kill in kill_matrix(names, redis=redis):
            kills.append(kill)
            print(_line(kill), flush=True)
        for place, kill in enumerate(kills):
            if kill.verdict != "killed":
                kills[place] = retried(kill, redis)
                print(_line(kills[place]), flush=True)
    if options.json:
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
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    problems = [] if options.mutants else problems_of(kills)
    print(
        f"{sum(kill.verdict == 'killed' for kill in kills)} of {len(kills)} mutants killed by what they break"
    )
    for line in problems:
        print(f"WRONG {line}")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
