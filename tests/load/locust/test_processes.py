"""Real Locust processes against the tests' own server, whose counts are the truth."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
import tomlkit

from harness.config.load_settings import LoadSettings
from harness.gate.evaluate import evaluate
from harness.load.locust.command import load_command, load_environment, locustfile
from harness.results.reader import Results
from harness.results.records import StreamRecord
from harness.results.schema import ResultsError
from tests.load.run_server import Run, RunServer, config, run_server

pytestmark = pytest.mark.slow

EVERY_JOURNEY = {"fresh": 3, "replay": 2, "resume": 3, "conflict": 2}
ONLY_FRESH = {"fresh": 1, "replay": 0, "resume": 0, "conflict": 0}


def is_group_alive(leader: int) -> bool:
    """Whether a process of that group still runs: a worker that outlives its test goes on with the load."""
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    return True


class Load:
    """One Locust process: its command, what it printed, and what it left."""

    def __init__(
        self, where: Path, base_url: str | None, plan: LoadSettings, *more: str, **budgets: float
    ) -> None:
        given = config(base_url, **plan.model_dump(exclude_none=True))
        given["budgets"] |= budgets
        settings_file = where / "harness.toml"
        settings_file.write_text(tomlkit.dumps(given))
        self.out = where / "out"
        self.command = [*load_command(plan, out=self.out), *more]
        self.environment = load_environment(settings_file)
        self.where = where
        self.printed = ""
        self.code: int | None = None

    @contextmanager
    def started(self, timeout_s: float = 60) -> Iterator[subprocess.Popen[str]]:
        """It runs while the block does; afterwards its output and exit code are known."""
        with (self.where / "printed").open("w+") as printed:
            process = subprocess.Popen(
                self.command,
                env=self.environment,
                cwd=self.where,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            try:
                yield process
                self.code = process.wait(timeout=timeout_s)
                wait_for(lambda: not is_group_alive(process.pid))
            finally:
                if is_group_alive(process.pid):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            printed.seek(0)
            self.printed = printed.read()

    def run(self) -> Load:
        with self.started():
            pass
        return self

    def results(self, name: str = "results.sqlite") -> Results:
        return Results(self.out / name)

    def rows(self) -> list[StreamRecord]:
        with self.results() as results:
            return list(results.streams())

    def counts(self) -> dict[str, int]:
        """The ledger, without zeros, and checked against everything else in the file."""
        with self.results() as results:
            ledger = results.ledger()
            rows = list(results.streams())
            failures = results.failures()
        assert ledger.adds_up, f"{ledger}\n{self.printed}"
        assert len(rows) == ledger.scheduled
        assert failures == sum(row.reason is not None for row in rows)
        counts = {word: count for word, count in ledger.as_dict().items() if count}
        for word, count in counts.items():
            if word != "scheduled":
                assert count == sum(row.outcome == word for row in rows), word
        return counts

    def locusts_count(self) -> tuple[int, int]:
        """Requests and failures as Locust itself adds them up."""
        found = re.search(r"^\s+Aggregated\s+(\d+)\s+(\d+)\(", self.printed, re.MULTILINE)
        assert found is not None, self.printed
        return int(found[1]), int(found[2])


@pytest.mark.parametrize("processes", [1, 2])
def test_the_ledger_is_exact(tmp_path: Path, processes: int) -> None:
    plan = LoadSettings(users=8, duration=3, processes=processes, journeys=EVERY_JOURNEY)
    with run_server(tokens=6, gap_s=0.01) as server:
        load = Load(tmp_path, server.base_url, plan).run()
        truth = server.books.counts
    counts = load.counts()
    assert load.code == 0, load.printed
    assert "Traceback" not in load.printed
    assert counts["scheduled"] == truth["requests"] > 100
    assert counts["rejected"] == truth["conflicts"] > 0
    assert set(counts) == {"scheduled", "done", "rejected", "abandoned"}
    assert load.locusts_count() == (counts["scheduled"], 0)
    rows = load.rows()
    assert truth["runs"] == sum(row.step in {"run", "original", "cut"} for row in rows)
    assert {(row.journey, row.step) for row in rows} == {
        ("fresh", "run"),
        ("replay", "original"),
        ("replay", "retry"),
        ("resume", "cut"),
        ("resume", "resumed"),
        ("conflict", "original"),
        ("conflict", "conflicting"),
    }
    names = {"local"} if processes == 1 else {"worker-0", "worker-1"}
    assert {row.worker for row in rows} == names
    with load.results() as results:
        assert results.histogram("ttft_ms").count == truth["runs"]
        assert results.histogram("duration_ms").count == sum(row.duration_ms is not None for row in rows)
        assert results.histogram("resume_ms").count == sum(row.step == "resumed" for row in rows)
        assert results.histogram("conflict_ms").count == truth["conflicts"]
        assert results.histogram("receive_lag_ms").count > truth["requests"]
        assert results.violation_counts() == {}
        assert results.manifest["state"] == "finished"
        assert results.manifest["workers_lost"] == []
        assert "secret-token" not in json.dumps(results.manifest)
    summary = json.loads((load.out / "summary.json").read_text())
    assert {word: count for word, count in summary["ledger"].items() if count} == counts
    for name in ("TTFT", "run duration", "resume"):
        assert re.search(rf"^SSE\s+{name}\s+\d+", load.printed, re.MULTILINE), load.printed


@pytest.mark.parametrize("processes", [1, 2])
def test_streams_that_are_open_at_the_end_are_in_flight(tmp_path: Path, processes: int) -> None:
    plan = LoadSettings(users=6, duration=3, processes=processes, journeys=ONLY_FRESH)
    with run_server(tokens=500, gap_s=0.02) as server:
        load = Load(tmp_path, server.base_url, plan, "--stop-timeout", "0").run()
        truth = server.books.counts
    counts = load.counts()
    assert counts["in flight"] >= 1
    # Some may have been stopped on their way to the server.
    assert 0 <= counts["scheduled"] - truth["requests"] <= counts["in flight"]
    assert load.locusts_count() == (counts["scheduled"] - counts["in flight"], 0)
    assert load.code == 0, load.printed


def test_a_truncated_stream_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    plan = LoadSettings(users=4, duration=2, processes=2, journeys=ONLY_FRESH)
    with run_server(fault=lambda number: ("truncate", "none", "swap")[number % 3]) as server:
        load = Load(tmp_path, server.base_url, plan).run()
        truth = server.books.counts
    counts = load.counts()
    assert load.code == 1
    assert counts["scheduled"] == truth["runs"]
    assert counts["truncated"] == truth["truncated"] > 0
    swapped = len([number for number in range(truth["runs"]) if number % 3 == 2])
    with load.results() as results:
        assert results.violation_counts()["ids.increasing"] == swapped
        assert results.failures() == truth["truncated"] + swapped
        assert len([one for one in results.violations() if one.requirement == "ids.increasing"]) == min(
            swapped, 20
        )
    assert load.locusts_count() == (truth["runs"], truth["truncated"] + swapped)
    assert "truncated: the server closed the connection before the message's end" in load.printed
    assert "violates ids.increasing" in load.printed


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        base_url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    load = Load(tmp_path, base_url, LoadSettings(users=3, duration=2, journeys=EVERY_JOURNEY)).run()
    counts = load.counts()
    assert counts["refused"] == counts["scheduled"]
    assert 3 <= counts["refused"] <= 3 * 2 / 0.2 + 3
    assert load.code == 1
    with load.results() as results:
        assert results.failures() == counts["refused"]
        assert not results.tested


def test_a_silent_server_times_out(tmp_path: Path) -> None:
    plan = LoadSettings(users=3, duration=2, journeys=ONLY_FRESH)
    with run_server(fault=lambda _: "silent") as server:
        load = Load(tmp_path, server.base_url, plan, first_event=0.3).run()
        truth = server.books.counts
    counts = load.counts()
    assert counts == {"scheduled": truth["requests"], "timed out": truth["requests"]}
    assert {row.reason for row in load.rows()} == {"timed out: no event within 0.6 s"}


def test_the_open_loop_keeps_its_schedule(tmp_path: Path) -> None:
    plan = LoadSettings(rate=40, duration=4, processes=2, journeys=ONLY_FRESH)
    with run_server(tokens=30, gap_s=0.02) as server:
        load = Load(tmp_path, server.base_url, plan).run()
        truth = server.books.counts
    counts = load.counts()
    assert counts == {"scheduled": truth["requests"], "done": truth["requests"]}
    due_ms = sorted(row.intended_ns / 1e6 for row in load.rows())
    gaps_ms = [after - before for before, after in pairwise(due_ms)]
    assert all(abs(gap - 25) < 2 for gap in gaps_ms), gaps_ms
    assert len(due_ms) > 100
    by_worker = [sum(row.worker == name for row in load.rows()) for name in ("worker-0", "worker-1")]
    assert abs(by_worker[0] - by_worker[1]) <= 1
    with load.results() as results:
        assert results.histogram("schedule_lag_ms").count == counts["scheduled"]
    for row in load.rows():
        assert row.ttft_ms is not None
        assert row.service_ttft_ms is not None
        assert row.ttft_ms >= row.service_ttft_ms


def test_an_open_loop_that_lacks_pumps_is_refused(tmp_path: Path) -> None:
    plan = LoadSettings(rate=40, duration=2, processes=2, journeys=ONLY_FRESH)
    with run_server() as server:
        load = Load(tmp_path, server.base_url, plan, "--users", "1").run()
        assert server.books.counts["requests"] == 0
    assert load.code == 2
    assert "an open loop needs a user per worker" in load.printed


def wait_for(what: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("processes", "group"), [(1, False), (2, False), (2, True)])
def test_an_interrupted_test_leaves_what_there_is(
    tmp_path: Path, processes: int, number: signal.Signals, group: bool
) -> None:
    plan = LoadSettings(users=6, duration=60, processes=processes, journeys=EVERY_JOURNEY)
    with run_server(tokens=10, gap_s=0.02) as server:
        load = Load(tmp_path, server.base_url, plan, "--stop-timeout", "1")
        with load.started() as process:
            wait_for(lambda: server.books.counts["requests"] > 60)
            (os.killpg if group else os.kill)(process.pid, number)
        truth = server.books.counts
    counts = load.counts()
    assert counts["scheduled"] == truth["requests"], load.printed
    with load.results() as results:
        assert results.manifest["state"] == "interrupted"
    assert (load.out / "summary.json").is_file()
    assert load.code == 130, load.printed
    assert "Traceback" not in load.printed


def unknown_runs(server: RunServer, results: Results) -> list[Run]:
    """The runs that the server began and the results have no row of; every row is of a run that it began."""
    known = {row.idempotency_key for row in results.streams() if row.idempotency_key is not None}
    assert known <= set(server.runs)
    return [run for key, run in server.runs.items() if key not in known]


def said_of(results: Results) -> tuple[str, set[str]]:
    """The gate's word without objectives, and which rows it says it of."""
    report = evaluate(results, ())
    return report.outcome, {row.name for row in report.rows if row.verdict == report.outcome}


def has_rows_of(load: Load, workers: set[str]) -> bool:
    try:
        return {row.worker for row in load.rows()} >= workers
    except ResultsError:  # it is not there yet, or is just being made
        return False


LONG = {"tokens": 20, "gap_s": 0.05}
"""Runs that last so long that every user has one open whenever somebody looks."""


@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_test_leaves_a_readable_file(tmp_path: Path, processes: int) -> None:
    plan = LoadSettings(users=4, duration=60, processes=processes, journeys=ONLY_FRESH)
    names = {"local"} if processes == 1 else {"worker-0", "worker-1"}
    with run_server(**LONG) as server:
        load = Load(tmp_path, server.base_url, plan)
        with load.started() as process:
            wait_for(lambda: has_rows_of(load, names))
            os.killpg(process.pid, signal.SIGKILL)
            requests = server.books.counts["requests"]
    with load.results() as results:
        ledger = results.ledger()
        assert ledger.adds_up, ledger
        assert 0 < ledger["in flight"] <= 4  # what was open when it was last told of
        assert ledger["done"] == len(list(results.streams())) > 0
        assert ledger["lost"] == 0
        assert ledger.scheduled <= requests
        assert len(unknown_runs(server, results)) >= ledger["in flight"]
        assert said_of(results) == ("inconclusive", {"load"})
        assert results.manifest["state"] == results.manifest["load_state"] == "running"


def test_the_workers_of_a_killed_master_stop(tmp_path: Path) -> None:
    plan = LoadSettings(users=4, duration=60, processes=2, journeys=ONLY_FRESH)
    with run_server(**LONG) as server:
        load = Load(tmp_path, server.base_url, plan)
        with load.started() as process:
            wait_for(lambda: has_rows_of(load, {"worker-0", "worker-1"}))
            workers = psutil.Process(process.pid).children()
            process.kill()
            process.wait()
            psutil.wait_procs(workers, timeout=20)
            before = server.books.counts["requests"]
            time.sleep(1)
            assert server.books.counts["requests"] == before
    with load.results() as results:
        ledger = results.ledger()
        assert ledger.adds_up, ledger
        assert 0 < ledger["in flight"] <= 4
        assert ledger["done"] == len(list(results.streams())) > 0
        assert len(unknown_runs(server, results)) >= ledger["in flight"]
        assert said_of(results) == ("inconclusive", {"load"})


def test_a_killed_worker_is_named_and_what_it_had_open_is_lost(tmp_path: Path) -> None:
    plan = LoadSettings(users=8, duration=12, processes=2, journeys=ONLY_FRESH)
    with run_server(**LONG) as server:
        load = Load(tmp_path, server.base_url, plan)
        with load.started() as process:
            wait_for(lambda: has_rows_of(load, {"worker-0", "worker-1"}))
            psutil.Process(process.pid).children()[0].kill()
            killed_at_s = time.time()
        requests = server.books.counts["requests"]
    with load.results() as results:
        manifest, ledger = results.manifest, results.ledger()
        (lost,) = manifest["workers_lost"]
        assert lost in {"worker-0", "worker-1"}
        assert ledger.adds_up, ledger
        assert 0 < ledger["lost"] <= 4  # a stream for each of its users
        assert ledger["done"] == len([row for row in results.streams() if row.outcome == "done"])
        # The server's own count is the ledger's, but for what the worker began after it last told of itself.
        told_at_s = datetime.fromisoformat(manifest["counted_until"][lost]).timestamp()
        assert killed_at_s - 10 < told_at_s <= killed_at_s + 1  # it tells every three seconds
        unknown = unknown_runs(server, results)
        assert len(unknown) == requests - ledger.scheduled + ledger["lost"]
        ahead_s = time.time() - time.monotonic()
        before = [run for run in unknown if run.started + ahead_s < told_at_s - 1]
        assert len(before) <= ledger["lost"], "more are missing than its last interval had"
        assert said_of(results) == ("inconclusive", {"lost"})
        (row,) = [row for row in evaluate(results, ()).rows if row.name == "lost"]
        assert row.value == ledger["lost"]
        assert lost in row.detail
        assert manifest["state"] == manifest["load_state"] == "finished"
    assert f"the last counts of {lost} are missing" in load.printed
    assert load.code == 1


def test_a_worker_that_is_told_to_leave_loses_nothing(tmp_path: Path) -> None:
    plan = LoadSettings(users=8, duration=9, processes=2, journeys=EVERY_JOURNEY)
    with run_server(gap_s=0.02) as server:
        load = Load(tmp_path, server.base_url, plan)
        with load.started() as process:
            wait_for(lambda: has_rows_of(load, {"worker-0", "worker-1"}))
            psutil.Process(process.pid).children()[0].terminate()
        requests = server.books.counts["requests"]
    counts = load.counts()
    assert counts["scheduled"] == requests
    with load.results() as results:
        assert results.manifest["workers_lost"] == []
        assert unknown_runs(server, results) == []
        assert said_of(results)[0] == "passed"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"target": {"token": "t"}}, "error: no target is given: "),
        ({"target": {"organisation_id": "x"}}, "did you mean 'organization_id'?"),
        ({"load": {"users": 1, "rate": 1}}, "exclude each other"),
    ],
)
def test_wrong_settings_are_one_sentence(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    (tmp_path / "harness.toml").write_text(tomlkit.dumps(change))
    command = [sys.executable, "-m", "locust", "-f", str(locustfile()), "--headless", "-t", "1s"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if "/INFO/" not in line]
    assert len(errors) == 1, done.stderr
    assert sentence in errors[0]


def test_a_results_file_is_not_added_to(tmp_path: Path) -> None:
    with run_server() as server:
        load = Load(tmp_path, server.base_url, LoadSettings(users=1, duration=1)).run()
        before = load.counts()
        again = Load(tmp_path, server.base_url, LoadSettings(users=1, duration=1, processes=2)).run()
    assert again.code == 2
    assert "holds an earlier load test; choose another directory" in again.printed
    assert load.counts() == before


class Page:
    """Locust's web page, as its own script uses it."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> Any:
        return self._ask(path, None)

    def post(self, path: str, **form: str) -> Any:
        return self._ask(path, urllib.parse.urlencode(form).encode())

    def _ask(self, path: str, data: bytes | None) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}", data, timeout=20) as answer:  # our own loopback
            text = answer.read().decode()
        return json.loads(text) if text.startswith("{") else text

    def is_up(self) -> bool:
        try:
            return "locust" in self.get("/").lower()
        except OSError:
            return False

    def rows(self) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in self.get("/stats/requests")["stats"]}

    def workers(self) -> list[str]:
        return [one["state"] for one in self.get("/stats/requests").get("workers", [])]

    def swarm(self, **form: str) -> None:
        def accepted() -> bool:
            return bool(self.post("/swarm", user_count="4", spawn_rate="4", **form)["success"])

        wait_for(accepted)


@pytest.mark.parametrize("processes", [1, 2])
def test_the_web_page(tmp_path: Path, processes: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    plan = LoadSettings(users=4, processes=processes, journeys=EVERY_JOURNEY)
    with run_server(gap_s=0.01) as server:
        # Host and users come from the page, as one would start it by hand.
        load = Load(tmp_path, None, plan)
        drop = {"--headless", "--only-summary"}
        load.command = [part for part in load.command if part not in drop]
        start = load.command.index("--users")
        del load.command[start : start + 6]
        load.command += ["--web-port", str(port), "--web-host", "127.0.0.1"]
        page = Page(port)
        with load.started() as process:
            wait_for(page.is_up)
            seen = []
            for _ in range(2):
                wait_for(lambda: page.workers() == (["ready"] * processes if processes > 1 else []))
                seen.append(_start_and_stop(page, server))
                # Locust keeps the page's numbers for two seconds; what was in flight never was a request.
                wait_for(lambda: 0 <= seen[-1] - page.rows()["Aggregated"]["num_requests"] <= 8)
                rows = page.rows()
                assert rows["TTFT"]["num_requests"] > 0
                assert rows["TTFT"]["method"] == "SSE"
                assert rows["/agent/workflow-actions [fresh: run]"]["num_failures"] == 0
            os.kill(process.pid, signal.SIGTERM)
    assert [load.results(name).ledger().scheduled for name in ("results.sqlite", "results-2.sqlite")] == seen
    for name in ("results.sqlite", "results-2.sqlite"):
        with load.results(name) as results:
            assert results.ledger().adds_up
            assert results.manifest["state"] == "finished"
    assert (load.out / "summary-2.json").is_file()
    assert "Traceback" not in load.printed


def _start_and_stop(page: Page, server: RunServer) -> int:
    """One test on the page, for as long as it takes to see all rows; returns how many requests it made."""
    before = server.books.counts["requests"]
    page.swarm(host=server.base_url)
    wait_for(lambda: server.books.counts["requests"] > before + 100)
    wait_for(lambda: {"TTFT", "run duration", "resume"} <= set(page.rows()))
    page.post("/stop")
    wait_for(lambda: page.get("/stats/requests")["state"] == "stopped")
    return server.books.counts["requests"] - before
