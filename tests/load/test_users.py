"""The open loop in real Locust processes: which arrivals start, and how the test ends."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import tomlkit

from harness.config.load_settings import LoadSettings
from harness.load.locust.command import load_environment, locustfile
from harness.load.schedule.arrivals import arrivals_for
from harness.load.schedule.plan import JourneyMix, WorkerShare
from harness.protocol.traceparent import trace_id_of
from tests.forked_process import Started, start
from tests.load.locust_process import Load, Page, wait_for
from tests.load.run_server import config, run_server
from tests.ports import free_port

pytestmark = pytest.mark.slow

FRESH = {"fresh": 1}
MS = 1_000_000


def expected(load: LoadSettings) -> list[tuple[float, str]]:
    """Every arrival of the test: seconds from the start, and journey."""
    arrivals = arrivals_for(load)
    assert arrivals is not None
    assert load.seed is not None
    mix = JourneyMix(load.journeys.model_dump(), load.seed)
    found: list[tuple[float, str]] = []
    for number in WorkerShare(0, 1).arrivals():
        due_s = arrivals.due_s(number)
        if due_s >= load.duration:
            return found
        found.append((due_s, mix.journey(number)))
    raise AssertionError


def begun(load: Load) -> list[tuple[int, str]]:
    """The arrivals that started: due time in ns from the first, and journey."""
    rows = [row for row in load.rows() if row.step in {"run", "original"}]
    found = sorted((row.intended_ns, row.journey) for row in rows)
    return [(due_ns - found[0][0], journey) for due_ns, journey in found]


def is_same(found: list[tuple[int, str]], wanted: list[tuple[float, str]]) -> bool:
    # Epoch times come from two clocks, read one after the other, with a preemption between them on a busy machine.
    return len(found) == len(wanted) and all(
        journey == wanted_journey and abs(due_ns - (due_s - wanted[0][0]) * 1e9) < 15 * MS
        for (due_ns, journey), (due_s, wanted_journey) in zip(found, wanted, strict=True)
    )


@pytest.mark.parametrize(
    ("shape", "processes"),
    [
        ({"rate": 40, "duration": 2.55}, 1),
        ({"rate": 40, "duration": 2.55}, 2),
        ({"ramp": "0:60:2s", "arrivals": "poisson"}, 2),
        ({"steps": "20:500ms,0:1s,40:500ms"}, 2),
    ],
)
def test_exactly_the_schedule_begins(tmp_path: Path, shape: dict[str, Any], processes: int) -> None:
    weights = {"fresh": 2, "replay": 1}
    plan = LoadSettings(**shape, processes=processes, journeys=weights, seed=8)
    with run_server() as server:
        load = Load(tmp_path, server.base_url, plan).run()
    wanted = expected(plan)
    assert is_same(begun(load), wanted), f"{begun(load)}\n{wanted}"
    journeys = Counter(journey for _, journey in wanted)
    streams = journeys["fresh"] + 2 * journeys["replay"]
    assert load.counts() == {"scheduled": streams, "done": streams}
    assert load.code == 0, load.printed
    assert "all scheduled arrivals have ended" in load.printed
    assert "Traceback" not in load.printed
    with load.results() as results:
        assert results.manifest["state"] == "finished"
        assert results.manifest["settings"]["load"]["seed"] == 8
        assert results.histogram("schedule_lag_ms").count == len(wanted)


@pytest.mark.parametrize("on", [True, False])
def test_each_arrival_has_its_own_trace_unless_it_is_switched_off(tmp_path: Path, on: bool) -> None:
    plan = LoadSettings(rate=20, duration=0.5, processes=2, journeys={"replay": 1}, traceparent=on)
    with run_server() as server:
        load = Load(tmp_path, server.base_url, plan).run()
    sent = sorted(trace_id_of(headers.get("traceparent")) or "" for headers in server.received)
    assert sent == sorted(row.trace_id or "" for row in load.rows())
    assert set(Counter(sent).values()) == ({2} if on else {len(sent)})
    assert ("" in sent) is not on


def test_a_random_seed_repeats_the_test(tmp_path: Path) -> None:
    settings = LoadSettings(rate=50, arrivals="poisson", duration=1, processes=2, journeys=FRESH)
    plain = settings.model_dump(exclude={"seed"}, exclude_none=True)
    with run_server() as server:
        load = Load(tmp_path, server.base_url, settings)
        # Without a seed in the settings, every process would draw its own.
        text = (tmp_path / "harness.toml").read_text()
        (tmp_path / "harness.toml").write_text(text.replace(f"seed = {settings.seed}\n", ""))
        load.run()
    with load.results() as results:
        again = LoadSettings(**plain, seed=results.manifest["settings"]["load"]["seed"])
    assert is_same(begun(load), expected(again))


@pytest.mark.parametrize("processes", [1, 2])
def test_streams_longer_than_the_test_are_read_to_their_end(tmp_path: Path, processes: int) -> None:
    plan = LoadSettings(rate=10, duration=1, processes=processes, journeys=FRESH)
    with run_server(tokens=66, gap_s=0.1) as server:  # longer than Locust's stop timeout of 5 s
        load = Load(tmp_path, server.base_url, plan).run()
    assert load.counts() == {"scheduled": 10, "done": 10}
    assert load.code == 0, load.printed


@pytest.mark.parametrize("processes", [1, 2])
def test_streams_without_an_end_are_ended_by_their_budget(tmp_path: Path, processes: int) -> None:
    plan = LoadSettings(rate=10, duration=1, processes=processes, journeys=FRESH)
    with run_server(fault=lambda _: "silent") as server:
        load = Load(tmp_path, server.base_url, plan, first_event=0.3).run()
    assert load.counts() == {"scheduled": 10, "timed out": 10}
    assert load.code == 1


@pytest.mark.parametrize("processes", [1, 2])
def test_arrivals_beyond_max_in_flight_are_dropped_and_counted(tmp_path: Path, processes: int) -> None:
    plan = LoadSettings(rate=40, duration=1, processes=processes, max_in_flight=5, journeys=FRESH)
    with run_server(tokens=40, gap_s=0.1) as server:
        load = Load(tmp_path, server.base_url, plan).run()
        assert server.stats.counts["requests"] == 5
    with load.results() as results:
        ledger = results.ledger()
        assert ledger.adds_up
    counts = {word: count for word, count in ledger.as_dict().items() if count}
    assert counts == {"scheduled": 40, "done": 5, "dropped": 35}


def test_a_limit_that_gives_a_worker_nothing_is_refused(tmp_path: Path) -> None:
    plan = LoadSettings(rate=40, duration=1, processes=2, max_in_flight=1, journeys=FRESH)
    with run_server() as server:
        load = Load(tmp_path, server.base_url, plan).run()
        assert server.stats.counts["requests"] == 0
    assert load.code == 2
    assert (
        "max_in_flight is divided among the workers, and 1 is too few for 2 workers; raise it" in load.printed
    )


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_open_loop_that_is_interrupted(tmp_path: Path, processes: int, number: signal.Signals) -> None:
    plan = LoadSettings(rate=40, duration=60, processes=processes, journeys=FRESH)
    with run_server() as server:
        load = Load(tmp_path, server.base_url, plan)
        with load.started() as process:
            wait_for(lambda: server.stats.counts["requests"] > 20)
            os.kill(process.pid, number)
        truth = server.stats.counts["requests"]
    assert load.counts()["scheduled"] == truth
    assert load.code == 130, load.printed
    with load.results() as results:
        assert results.manifest["state"] == "interrupted"


def test_a_killed_worker_does_not_block_the_end(tmp_path: Path) -> None:
    plan = LoadSettings(rate=40, duration=4, processes=2, journeys=FRESH)
    with run_server() as server:
        load = Load(tmp_path, server.base_url, plan)
        with load.started() as process:
            wait_for(lambda: server.stats.counts["requests"] > 40)
            psutil.Process(process.pid).children()[0].kill()
    with load.results() as results:
        assert len(results.manifest["workers_lost"]) == 1
        assert results.manifest["state"] == "finished"
    assert "all scheduled arrivals have ended" in load.printed
    assert load.code == 1


class Cluster(Load):
    """A master that waits for workers, and workers that are started separately, as on several machines."""

    def __init__(self, where: Path, base_url: str, plan: LoadSettings, expect_workers: int) -> None:
        super().__init__(where, base_url, plan)
        self._port = str(free_port())
        self.command += ["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", self._port]
        self.command += ["--expect-workers", str(expect_workers)]
        self.command += ["--users", str(expect_workers), "--spawn-rate", str(expect_workers)]
        self._base_url = base_url
        self._workers = 0

    @contextmanager
    def worker(self, plan: LoadSettings, file: Path | None = None) -> Iterator[Started]:
        """A worker with its own settings and working directory."""
        self._workers += 1
        where = self.where / f"worker{self._workers}"
        where.mkdir()
        settings_file = where / "harness.toml"
        settings_file.write_text(tomlkit.dumps(config(self._base_url, **plan.model_dump(exclude_none=True))))
        command = [sys.executable, "-m", "locust", "-f", str(file or locustfile()), "--worker"]
        command += ["--master-host", "127.0.0.1", "--master-port", self._port]
        with (where / "printed").open("wb") as printed:
            process = start(
                command, folder=where, environment=load_environment(settings_file), output=printed.fileno()
            )
        try:
            yield process
            process.wait(timeout=120)
        finally:
            process.kill()
            process.wait()


def test_workers_follow_the_masters_schedule(tmp_path: Path) -> None:
    plan = LoadSettings(rate=30, duration=2, arrivals="poisson", journeys=FRESH)
    other = LoadSettings(rate=1, duration=9, journeys=FRESH)
    with run_server() as server:
        load = Cluster(tmp_path, server.base_url, plan, 2)
        with load.started(), load.worker(other), load.worker(other):
            pass
    assert is_same(begun(load), expected(plan))
    assert load.code == 0, load.printed


def test_a_worker_that_cannot_follow_does_not_block_the_end(tmp_path: Path) -> None:
    (tmp_path / "trace").write_text("\n".join(f"{number / 20}" for number in range(20)))
    with run_server() as server, pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        plan = LoadSettings(trace="trace", journeys=FRESH)
        load = Cluster(tmp_path, server.base_url, plan, 1)
        with load.started(), load.worker(LoadSettings(rate=1, journeys=FRESH)):
            pass
        assert server.stats.counts["requests"] == 0
    output = (tmp_path / "worker1" / "printed").read_text()
    assert "this process cannot run the master's load: cannot read the trace trace: No such" in output
    assert "all scheduled arrivals have ended" in load.printed
    assert load.code == 1, load.printed


LATE = """
import gevent
from locust import events

@events.init.add_listener
def be_slow(**_):
    gevent.sleep(2)

from agent_runs import AgentRuns
"""


def test_a_worker_that_gets_users_before_it_is_ready_runs_them(tmp_path: Path) -> None:
    """One that joins a running test is told of its users as soon as it is connected."""
    plan = LoadSettings(users=2, duration=20, journeys=FRESH)
    (tmp_path / "late.py").write_text(LATE)
    with run_server(gap_s=0.1) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "PYTHONPATH", os.pathsep.join([str(locustfile().parent), os.environ.get("PYTHONPATH", "")])
        )
        load = Cluster(tmp_path, server.base_url, plan, 1)
        load.command += ["--users", "6", "--spawn-rate", "6", "--enable-rebalancing"]
        with load.started(), load.worker(plan):
            wait_for(lambda: server.stats.counts["requests"] > 10)
            with load.worker(plan, tmp_path / "late.py"):
                pass
    assert {row.worker for row in load.rows()} == {"worker-0", "worker-1"}


def test_a_worker_that_joins_during_the_test_has_no_share(tmp_path: Path) -> None:
    # Long enough for the second worker to start on a busy machine, and for Locust to stop a user that it moves there.
    plan = LoadSettings(rate=8, duration=12, journeys=FRESH)
    with run_server() as server:
        load = Cluster(tmp_path, server.base_url, plan, 1)
        with load.started(), load.worker(plan):
            wait_for(lambda: server.stats.counts["requests"] > 10)
            with load.worker(plan):
                pass
    assert load.printed.count("joined during the test and gets no share of the arrivals") == 1
    assert is_same(begun(load), expected(plan))
    assert {row.worker for row in load.rows()} == {"worker-0"}
    assert load.code == 0, load.printed


def test_an_open_loop_on_the_web_page_ends_itself(tmp_path: Path) -> None:
    port = free_port()
    plan = LoadSettings(rate=40, duration=1, processes=2, journeys=FRESH)
    with run_server() as server:
        load = Load(tmp_path, server.base_url, plan)
        drop = {"--headless", "--only-summary"}
        load.command = [part for part in load.command if part not in drop]
        start = load.command.index("--users")
        del load.command[start : start + 6]
        load.command += ["--web-port", str(port), "--web-host", "127.0.0.1"]
        page = Page(port)
        with load.started() as process:
            wait_for(page.is_up)
            for name in ("summary.json", "summary-2.json"):
                wait_for(lambda: page.workers() == ["ready"] * 2)
                page.swarm(host=server.base_url)
                wait_for((load.out / name).is_file)
                wait_for(lambda: page.get("/stats/requests")["state"] == "stopped")
            os.kill(process.pid, signal.SIGTERM)
    for name in ("results.sqlite", "results-2.sqlite"):
        with load.results(name) as results:
            assert results.ledger()["done"] == results.ledger().scheduled == 40
            assert results.manifest["state"] == "finished"
