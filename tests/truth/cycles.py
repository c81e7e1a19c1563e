"""Tests started and stopped repeatedly in one Locust session: nothing is lost or counted twice.

Four independent counts are compared: the server's, which knows each run by its key; each worker's, from Locust's
events; Locust's own table in the master; and the results files. As a program it does twenty cycles in each way and
prints a table.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.config.load_settings import LoadSettings
from harness.results.reader import Results
from tests.benchmarks.target import ROOT
from tests.load.locust_process import Load, Page, wait_for
from tests.load.run_server import RunServer, run_server
from tests.ports import free_port

_LOCUSTFILE = Path(__file__).with_name("cycling.py")
_PAGE_CACHE_S = 2.2
_USERS = 8
_JOURNEYS = {"fresh": 3, "replay": 2, "conflict": 1}
WORKERS = ("worker-0", "worker-1")


@dataclass(frozen=True, slots=True)
class Cycle:
    """The counts of one test: ended streams by worker, as the workers counted them and as in the file.

    keys: of its runs. unsent_keys: of runs in flight, which the server may not have received. without_key: streams
    in flight whose key is unknown.
    """

    number: int
    scheduled: int
    in_flight: int
    done: int
    rejected: int
    by_worker: dict[str, int]
    in_file_by_worker: dict[str, int]
    by_master: int
    failures: int
    keys: frozenset[str]
    unsent_keys: frozenset[str]
    without_key: int
    problems: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether all counts agree and nothing failed."""
        ended = self.scheduled - self.in_flight
        return (
            not self.problems
            and self.by_worker == self.in_file_by_worker
            and sum(self.by_worker.values()) == ended == self.by_master
            and self.failures == 0
            and ended > 0
        )


@dataclass(frozen=True, slots=True)
class Session:
    """All tests of a session, and the server's counts.

    requests, done, rejected: read and answered by the server. keys: of the runs that it started.
    """

    cycles: tuple[Cycle, ...]
    requests: int
    done: int
    rejected: int
    keys: frozenset[str]

    def problems(self) -> Iterator[str]:
        """The counts that do not agree."""
        for cycle in self.cycles:
            if not cycle.agrees:
                yield f"test {cycle.number}: {cycle}"
        streams = sum(cycle.scheduled for cycle in self.cycles)
        in_flight = sum(cycle.in_flight for cycle in self.cycles)
        # A stopped stream may not have reached the server, and its response may not have been read.
        yield from _between("requests", self.requests, streams - in_flight, streams)
        done = sum(cycle.done for cycle in self.cycles)
        yield from _between("runs read to their end", self.done, done, done + in_flight)
        rejected = sum(cycle.rejected for cycle in self.cycles)
        yield from _between("conflicts", self.rejected, rejected, rejected + in_flight)
        recorded = Counter(key for cycle in self.cycles for key in cycle.keys)
        if twice := [key for key, files in recorded.items() if files > 1]:
            yield f"{len(twice)} runs are in the results of two tests"
        if len(self.keys - set(recorded)) > sum(cycle.without_key for cycle in self.cycles):
            yield f"{len(self.keys - set(recorded))} runs of the server are in no results"
        if unknown := set(recorded) - self.keys - {key for cycle in self.cycles for key in cycle.unsent_keys}:
            yield f"{len(unknown)} runs ended that the server does not know"


def _between(what: str, server: int, least: int, most: int) -> Iterator[str]:
    if not least <= server <= most:
        yield f"the server counted {server} {what}, the results say {least} to {most}"


def _read(number: int, file: Path, counts: Sequence[dict[str, object]]) -> Cycle:
    by_process = {str(count["process"]): count for count in counts if count["test"] == number}
    problems = [f"{name} reported nothing" for name in (*WORKERS, "master") if name not in by_process]
    with Results(file) as results:
        ledger, rows = results.ledger(), list(results.streams())
        problems += [] if ledger.adds_up else ["the ledger does not add up"]
        problems += [] if len(rows) == ledger.scheduled else [f"{len(rows)} rows of {ledger.scheduled}"]
        problems += [f"{name} was lost" for name in results.manifest["workers_lost"]]
        problems += [] if results.manifest["state"] == "finished" else [str(results.manifest["state"])]
        problems += [f"{name} is violated" for name in results.violation_counts()]
        failures = results.failures()
    ended = Counter(row.worker for row in rows if row.outcome != "in flight")
    return Cycle(
        number=number,
        scheduled=ledger.scheduled,
        in_flight=ledger["in flight"],
        done=ledger["done"],
        rejected=ledger["rejected"],
        by_worker={name: int(str(by_process[name]["requests"])) for name in WORKERS if name in by_process},
        in_file_by_worker={name: ended[name] for name in WORKERS},
        by_master=int(str(by_process["master"]["requests"])) if "master" in by_process else -1,
        failures=failures + sum(int(str(count["failures"])) for count in by_process.values()),
        keys=frozenset(row.idempotency_key for row in rows if row.idempotency_key),
        unsent_keys=frozenset(
            row.idempotency_key for row in rows if row.idempotency_key and row.outcome == "in flight"
        ),
        without_key=sum(row.idempotency_key is None and row.outcome == "in flight" for row in rows),
        problems=tuple(problems),
    )


def _session(load: Load, server: RunServer, cycles: int) -> Session:
    assert "Traceback" not in load.printed, load.printed
    counts = [
        json.loads(line) for file in load.where.glob("*.jsonl") for line in file.read_text().splitlines()
    ]
    names = ["results.sqlite", *(f"results-{number}.sqlite" for number in range(2, cycles + 1))]
    cycles_read = tuple(_read(number, load.out / name, counts) for number, name in enumerate(names, 1))
    assert not (load.out / f"results-{cycles + 1}.sqlite").exists()
    served = server.stats.counts
    return Session(
        cycles_read, served["requests"], served["terminals sent"], served["conflicts"], frozenset(server.runs)
    )


@contextmanager
def _prepared(where: Path, stop_timeout: int, more: dict[str, str]) -> Iterator[tuple[Load, RunServer]]:
    plan = LoadSettings(users=_USERS, duration=1, processes=2, journeys=_JOURNEYS)
    with run_server(tokens=5, gap_s=0.02) as server:
        load = Load(where, server.base_url, plan, "--stop-timeout", str(stop_timeout))
        load.command[load.command.index("-f") + 1] = str(_LOCUSTFILE)
        load.environment |= {"TRUTH_CYCLES": str(where), "PYTHONPATH": str(ROOT), **more}
        yield load, server


def _without(command: list[str], *options: str, flags: Sequence[str] = ()) -> list[str]:
    """The command without options that take a value, and without flags."""
    kept: list[str] = []
    skip = False
    for argument in command:
        if not skip and argument not in options and argument not in flags:
            kept.append(argument)
        skip = not skip and argument in options
    return kept


def by_api(where: Path, cycles: int, *, stop_timeout: int, cycle_s: float = 0.8) -> Session:
    """The master's runner starts and stops each test."""
    more = {"TRUTH_CYCLE_S": str(cycle_s), "TRUTH_CYCLE_COUNT": str(cycles)}
    with _prepared(where, stop_timeout, more) as (load, server):
        load.command = _without(load.command, "--run-time")
        with load.started(timeout_s=60 + cycles * (10 + stop_timeout)):
            pass
        assert load.code == 0, load.printed
        return _session(load, server, cycles)


def by_web(where: Path, cycles: int, *, stop_timeout: int) -> Session:
    """Requests to the web page start and stop each test."""
    port = free_port()
    with _prepared(where, stop_timeout, {}) as (load, server):
        options = ("--users", "--spawn-rate", "--run-time")
        load.command = _without(load.command, *options, flags=("--headless", "--only-summary"))
        load.command += ["--web-port", str(port), "--web-host", "127.0.0.1"]
        page = Page(port)
        with load.started() as process:
            wait_for(page.is_up)
            for _ in range(cycles):
                wait_for(lambda: page.workers() == ["ready"] * 2)
                before = server.stats.counts["requests"]
                page.swarm(host=server.base_url)
                wait_for(lambda before=before: server.stats.counts["requests"] > before + 20)  # type: ignore[misc]
                page.post("/stop")
                wait_for(lambda: page.get("/stats/requests")["state"] == "stopped")
                time.sleep(_PAGE_CACHE_S)  # until then it may show stopping workers as ready
            os.kill(process.pid, signal.SIGTERM)
        return _session(load, server, cycles)


def main() -> None:
    """Twenty cycles in each way; exit with 1 unless all counts agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=20)
    cycles: int = parser.parse_args().cycles
    ways: dict[str, Callable[[Path], Session]] = {
        "runner, --stop-timeout 0": lambda where: by_api(where, cycles, stop_timeout=0),
        "runner, --stop-timeout 2": lambda where: by_api(where, cycles, stop_timeout=2),
        "web page, --stop-timeout 0": lambda where: by_web(where, cycles, stop_timeout=0),
        "web page, --stop-timeout 2": lambda where: by_web(where, cycles, stop_timeout=2),
    }
    wrong = 0
    print(
        f"{'started by':28}{'cycles':>7}{'scheduled':>10}{'in flight':>10}{'workers':>9}{'master':>8}{'server':>8}"
    )
    for name, way in ways.items():
        with tempfile.TemporaryDirectory(prefix="cycles-") as where:
            session = way(Path(where))
        tests = session.cycles
        numbers = (
            f"{sum(test.scheduled for test in tests):10}{sum(test.in_flight for test in tests):10}"
            f"{sum(sum(test.by_worker.values()) for test in tests):9}{sum(test.by_master for test in tests):8}"
        )
        print(
            f"{name:28}{sum(test.agrees for test in tests):4}/{len(tests):2}{numbers}{session.requests:8}",
            flush=True,
        )
        for problem in session.problems():
            wrong += 1
            print(f"  {problem}", flush=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
