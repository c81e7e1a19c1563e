"""A long load whose workers are killed and whose server is restarted: ``python -m tests.soak.soak --minutes 60``.

In turn, a worker of the load is killed and replaced, and the server is stopped, or killed, and started again. At the
end the ledger must agree with the server's own count, and the memory and descriptors of every process must be flat.
Exit codes: 0, 1 if something is wrong.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import tomlkit
from rich.console import Console
from rich.table import Table

from harness.commands.reference_process import LISTENING
from harness.config.settings import CONFIG_VARIABLE
from harness.load.locust.command import locustfile
from harness.parent_process import ParentPipe
from harness.reference.settings import demo_config
from harness.results.reader import Results
from tests.ports import free_port
from tests.soak.growth import MASTER_WARM_UP_S, WARM_UP_S, Watched
from tests.soak.reconciliation import Reconciliation, reconcile
from tests.soak.server import requests

USERS, PROCESSES = 4, 2
JOURNEYS = {"fresh": 3, "replay": 1, "resume": 4, "conflict": 1, "join": 1, "abandon": 1}
DISTURB_EVERY_S = 300.0
DISTURBANCES = 6  # in a soak of less than half an hour; half of them kill a worker
LEAST_APART_S = (
    60.0  # unless the soak is shorter than three of these: Locust moves the users of a dead worker then
)
SAMPLE_EVERY_S = 5.0
END_WITHIN_S = 90.0
_LOCUST = "harness.load.locust.main"


@dataclass
class Soak:
    """One soak of `seconds`. watched: every process that took part."""

    folder: Path
    seconds: float
    port: int = field(default_factory=free_port)
    worker_kills: list[float] = field(default_factory=list)
    restarts: list[tuple[float, float]] = field(default_factory=list)
    watched: dict[int, Watched] = field(default_factory=dict)
    code: int | None = None
    _pipe: ParentPipe = field(default_factory=ParentPipe)
    _replacements: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def run(self) -> Soak:
        """Run it to its end."""
        self._write_settings()
        with ExitStack() as stack:
            stack.callback(self._pipe.close)
            stack.callback(self._stop_all)
            self._server = self._start_server()
            command = [
                *(sys.executable, "-m", "harness", "load", "--config", str(self.settings)),
                *("--duration", f"{self.seconds:.0f}s", "--out", str(self.folder / "out"), "--quiet"),
            ]
            output = stack.enter_context((self.folder / "load.txt").open("wb"))
            self._load = subprocess.Popen(command, cwd=self.folder, stdout=output, stderr=output)
            self._wait_for_workers()
            self._disturb_until_the_end()
            self.code = self._load.wait(END_WITHIN_S)
        return self

    @property
    def settings(self) -> Path:
        return self.folder / "harness.toml"

    @property
    def counts(self) -> Path:
        return self.folder / "counts"

    def _write_settings(self) -> None:
        document = demo_config(f"http://127.0.0.1:{self.port}")
        document["load"] = {"users": USERS, "processes": PROCESSES, "journeys": JOURNEYS}
        self.settings.write_text(tomlkit.dumps(document), encoding="utf-8")

    def _start_server(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.soak.server", str(self.port), str(self.counts)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        if LISTENING not in server.stdout.readline():
            raise RuntimeError("the embedded server did not start")
        server.stdout.close()
        self._watch(f"server {len(self.restarts) + 1}", server.pid)
        return server

    def _watch(self, name: str, pid: int, warm_up_s: float = WARM_UP_S) -> None:
        self.watched[pid] = Watched(name, psutil.Process(pid), warm_up_s)

    def _wait_for_workers(self) -> None:
        """The load's processes: the command, its master, and the master's workers."""
        self._watch("harness load", self._load.pid)
        deadline = time.monotonic() + END_WITHIN_S
        while True:
            masters = [one for one in psutil.Process(self._load.pid).children() if _LOCUST in one.cmdline()]
            workers = masters[0].children() if masters else []
            if len(workers) == PROCESSES and len(requests(self.counts)) >= USERS:
                break
            if time.monotonic() > deadline or self._load.poll() is not None:
                raise RuntimeError(f"the load did not start: {(self.folder / 'load.txt').read_text()}")
            time.sleep(0.2)
        self._master = masters[0]
        self._watch("master", self._master.pid, MASTER_WARM_UP_S)
        self._workers = [worker.pid for worker in workers]
        for number, pid in enumerate(self._workers, 1):
            self._watch(f"worker {number}", pid)

    def _disturb_until_the_end(self) -> None:
        began_s = time.monotonic()
        apart_s = max(self.seconds / (DISTURBANCES + 1), min(self.seconds / 3, LEAST_APART_S))
        every_s = min(DISTURB_EVERY_S, apart_s)
        due_s, number = began_s + every_s, 0
        while self._load.poll() is None and self._master.is_running():
            now_s = time.monotonic()
            for watched in self.watched.values():
                watched.sample(now_s)
            if now_s >= due_s and due_s - began_s < self.seconds - every_s / 2:
                if number % 2 == 0:
                    self._replace_a_worker(number // 2)
                else:
                    self._restart_server(signal.SIGTERM if number % 4 == 1 else signal.SIGKILL)
                due_s, number = due_s + every_s, number + 1
            if now_s - began_s > self.seconds + END_WITHIN_S:
                raise RuntimeError("the load did not end")
            time.sleep(min(SAMPLE_EVERY_S, max(0.1, due_s - now_s)))

    def _replace_a_worker(self, number: int) -> None:
        pid = self._workers.pop(0)
        self.worker_kills.append(time.time())
        os.kill(pid, signal.SIGKILL)
        options = self._master.cmdline()
        port = options[options.index("--master-bind-port") + 1]
        command = [
            *(sys.executable, "-m", _LOCUST, "-f", str(locustfile()), "--worker"),
            *("--master-host", "127.0.0.1", "--master-port", port),
        ]
        output = (self.folder / f"worker-{number}.txt").open("wb")
        worker = subprocess.Popen(
            command,
            env={**os.environ, CONFIG_VARIABLE: str(self.settings), **self._pipe.environment()},
            pass_fds=(self._pipe.descriptor,),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        output.close()
        self._replacements.append(worker)
        self._workers.append(worker.pid)
        self._watch(f"worker {PROCESSES + number + 1}", worker.pid)

    def _restart_server(self, number: signal.Signals) -> None:
        stopped = time.time()
        self._server.send_signal(number)
        self._server.wait(END_WITHIN_S)
        restart = len(self.restarts)
        self.restarts.append((stopped, stopped))
        self._server = self._start_server()
        self.restarts[restart] = (stopped, time.time())

    def _stop_all(self) -> None:
        for process in (self._server, getattr(self, "_load", None), *self._replacements):
            if process is not None and process.poll() is None:
                process.terminate()
                process.wait(END_WITHIN_S)

    def reconcile(self) -> tuple[Reconciliation, dict[str, int], bool]:
        """The two counts, the ledger, and whether it adds up."""
        with Results(self.folder / "out" / "results.sqlite") as results:
            ledger = results.ledger()
            found = reconcile(
                requests(self.counts),
                results.streams(),
                worker_kills=self.worker_kills,
                restarts=self.restarts,
            )
        return found, {name: count for name, count in ledger.as_dict().items() if count}, ledger.adds_up

    def problems(self) -> list[str]:
        """Everything that is wrong, in sentences."""
        found, ledger, adds_up = self.reconcile()
        problems = [problem for watched in self.watched.values() for problem in watched.problems]
        problems += found.unexplained
        if not adds_up:
            problems.append(f"the ledger does not add up: {ledger}")
        if not found.agrees:
            problems.append(f"the ledger and the server's count do not agree: {found}")
        if self.code not in (0, 1):  # 1: the gate, which reports lost workers and streams that a restart cut
            problems.append(f"harness load ended with {self.code}")
        if not self.worker_kills or not self.restarts:
            problems.append("no worker was killed, or no server restarted")
        return problems

    def table(self) -> Table:
        """Memory and descriptors of every process."""
        table = Table("process", "watched s", "MB", "MB/h", "MB in all", "files", "/h")
        for watched in self.watched.values():
            seconds = watched.samples[-1][0] - watched.samples[0][0] if watched.samples else 0.0
            memory, descriptors = watched.growth(1), watched.growth(2)
            cells = ["-"] * 5
            if memory is not None and descriptors is not None:
                cells = [f"{memory.middle:.1f}", f"{memory.per_hour:+.2f}", f"{memory.total:+.2f}"]
                cells += [f"{descriptors.middle:.0f}", f"{descriptors.per_hour:+.1f}"]
            elif watched.samples:
                cells[0], cells[3] = f"{watched.samples[-1][1]:.1f}", f"{watched.samples[-1][2]}"
            table.add_row(watched.name, f"{seconds:.0f}", *cells)
        return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--folder", type=Path, help="kept; otherwise temporary")
    options = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="soak-") as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        soak = Soak(folder, options.minutes * 60).run()
        found, ledger, _ = soak.reconcile()
        console.print(soak.table())
        console.print(
            f"{len(soak.worker_kills)} workers killed, server restarted {len(soak.restarts)} times\n"
            f"ledger: {ledger}\n"
            f"server counted {found.counted} requests, {found.unreported} of them of killed workers and "
            f"{found.before} before the load; "
            f"{found.sent} streams were sent, {found.unread} of them to a server that was being restarted"
        )
        problems = soak.problems()
        for problem in problems:
            console.print(problem, markup=False)
    console.print("soak: " + ("failed" if problems else "passed"))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
