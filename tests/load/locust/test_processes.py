"""Real Locust processes against the test server, whose counts are the truth."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import sys
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
import tomlkit

from harness.config.load_settings import LoadSettings
from harness.gate.evaluate import evaluate
from harness.load.locust import process as process_module
from harness.load.locust.command import locustfile
from harness.results.reader import Results
from harness.results.schema import ResultsError
from tests.forked_process import ROOT, run
from tests.forked_process import server as server_of_forks
from tests.load.locust_process import Load, Page, wait_for
from tests.load.run_server import Run, RunServer, run_server
from tests.ports import free_port

pytestmark = pytest.mark.slow

EVERY_JOURNEY = {"fresh": 3, "replay": 2, "resume": 3, "conflict": 2}
ONLY_FRESH = {"fresh": 1, "replay": 0, "resume": 0, "conflict": 0}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--processes", "10000"], "10,000 processes are more than this machine can use"),
        (["--users", "1000000000"], "1,000,000,000 users are more than 1 process of this machine can hold"),
        (["--users", "1000000000", "--master"], "1,000,000,000 users are more than 100 processes can hold"),
        (["--harness-rate", "1e15"], "1e+15 arrivals per second are far more than"),
    ],
)
def test_plain_locust_refuses_what_this_machine_cannot_do(
    tmp_path: Path, options: list[str], sentence: str
) -> None:
    load = Load(tmp_path, "http://127.0.0.1:9", LoadSettings(users=1, duration=1), *options).run()
    assert load.code == 2, load.printed
    assert sentence in load.printed
    assert "Traceback" not in load.printed
    assert not load.out.exists()


@pytest.mark.parametrize("processes", [1, 2])
def test_the_ledger_is_exact(tmp_path: Path, processes: int) -> None:
    plan = LoadSettings(users=4, duration=2, processes=processes, journeys=EVERY_JOURNEY)
    with run_server(tokens=6, gap_s=0.01) as server:
        load = Load(tmp_path, server.base_url, plan).run()
        truth = server.stats.counts
    counts = load.counts()
    assert load.code == 0, load.printed
    assert "Traceback" not in load.printed
    assert counts["scheduled"] == truth["requests"] > 20
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
        ("resume", "reread"),
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
@pytest.mark.parametrize("of_a_command", [False, True])
def test_a_test_without_a_gate_says_what_judges_it(
    tmp_path: Path, processes: int, *, of_a_command: bool
) -> None:
    more = ("--harness-live", str(tmp_path / "live.json")) if of_a_command else ()
    plan = LoadSettings(users=1, duration=1, processes=processes, journeys=ONLY_FRESH)
    with run_server(gap_s=0.05) as server:
        load = Load(tmp_path, server.base_url, plan, *more).run()
    assert load.code == 0, load.printed
    hints = [
        f"results: {load.out / 'results.sqlite'}",
        f"no gate was evaluated; next: harness gate {load.out}, harness report {load.out}",
    ]
    assert [load.printed.count(hint) for hint in hints] == [0 if of_a_command else 1] * 2, load.printed


@pytest.mark.parametrize("processes", [1, 2])
def test_streams_that_are_open_at_the_end_are_in_flight(tmp_path: Path, processes: int) -> None:
    plan = LoadSettings(users=6, duration=2, processes=processes, journeys=ONLY_FRESH)
    with run_server(tokens=100, gap_s=0.1) as server:
        load = Load(tmp_path, server.base_url, plan, "--stop-timeout", "0").run()
        truth = server.stats.counts
    counts = load.counts()
    assert counts["in flight"] >= 1
    # Some may have been stopped before they reached the server.
    assert 0 <= counts["scheduled"] - truth["requests"] <= counts["in flight"]
    assert load.locusts_count() == (counts["scheduled"] - counts["in flight"], 0)
    assert load.code == 0, load.printed


def test_a_truncated_stream_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    plan = LoadSettings(users=4, duration=2, processes=2, journeys=ONLY_FRESH)
    with run_server(gap_s=0.05, fault=lambda number: ("truncate", "none", "swap")[number % 3]) as server:
        load = Load(tmp_path, server.base_url, plan).run()
        truth = server.stats.counts
    counts = load.counts()
    assert load.code == 1
    assert counts["scheduled"] == truth["runs"]
    assert counts["truncated"] == truth["truncated"] > 0
    swapped = len([number for number in range(truth["runs"]) if number % 3 == 2])
    with load.results() as results:
        assert results.violation_counts()["ids.increasing"] == swapped
        assert results.failures() == truth["truncated"] + swapped
        assert len(
            [violation for violation in results.violations() if violation.requirement == "ids.increasing"]
        ) == min(swapped, 20)
    assert load.locusts_count() == (truth["runs"], truth["truncated"] + swapped)
    assert "truncated: the server closed the connection before the end of the response" in load.printed
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


def test_no_file_descriptors_is_a_fault_of_the_harness_and_costs_no_results(tmp_path: Path) -> None:
    """What could not be sent is no error of the server, and what was is in the results.

    The limit falls to 90 during the test: with it from the start, so many users would be refused.
    """
    plan = LoadSettings(users=90, duration=4, journeys=ONLY_FRESH)
    with run_server(tokens=20, gap_s=0.05) as server:
        load = Load(tmp_path, server.base_url, plan)
        with load.started() as process:
            wait_for(lambda: server.stats.counts["requests"] > 0)
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (90, 90))
        requests = server.stats.counts["requests"]
    assert load.code == 1, load.printed
    assert "Traceback" not in load.printed
    with load.results() as results:
        ledger = results.ledger()
        assert len(list(results.streams())) == ledger.scheduled
        (reason,) = results.harness_faults
        unsent = results.harness_faults[reason]
        assert results.rate_counts().failed == 0
        report = evaluate(results, ())
    assert reason.startswith("harness fault no free file descriptor (EMFILE): this process may open ")
    assert unsent > 0
    assert ledger.adds_up
    assert ledger.scheduled - unsent == requests > 0
    assert report.outcome == "inconclusive"


def test_without_a_folder_it_says_that_nothing_is_stored(tmp_path: Path) -> None:
    with run_server() as server:
        load = Load(tmp_path, server.base_url, LoadSettings(users=1, duration=1, journeys=ONLY_FRESH))
        at = load.command.index("--harness-out")
        del load.command[at : at + 2]
        load.run()
    assert "no results are stored: --harness-out DIR stores them" in load.printed


def test_a_silent_server_times_out(tmp_path: Path) -> None:
    plan = LoadSettings(users=3, duration=2, journeys=ONLY_FRESH)
    with run_server(fault=lambda _: "silent") as server:
        load = Load(tmp_path, server.base_url, plan, first_event=0.3).run()
        truth = server.stats.counts
    counts = load.counts()
    assert counts == {"scheduled": truth["requests"], "timed out": truth["requests"]}
    assert {row.reason for row in load.rows()} == {"timed out: no event within 0.6 s"}


def test_the_open_loop_keeps_its_schedule(tmp_path: Path) -> None:
    plan = LoadSettings(rate=40, duration=3, processes=2, journeys=ONLY_FRESH)
    with run_server(tokens=6, gap_s=0.1) as server:
        load = Load(tmp_path, server.base_url, plan).run()
        truth = server.stats.counts
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


def test_an_open_loop_with_too_few_users_is_refused(tmp_path: Path) -> None:
    plan = LoadSettings(rate=40, duration=2, processes=2, journeys=ONLY_FRESH)
    with run_server() as server:
        load = Load(tmp_path, server.base_url, plan, "--users", "1").run()
        assert server.stats.counts["requests"] == 0
    assert load.code == 2
    assert "an open loop needs one user per worker" in load.printed


@pytest.mark.parametrize(
    ("number", "processes", "group"),
    [
        (signal.SIGINT, 1, False),
        (signal.SIGINT, 2, False),
        (signal.SIGINT, 2, True),
        (signal.SIGTERM, 1, False),
        (signal.SIGTERM, 2, True),
        (signal.SIGHUP, 1, False),  # the terminal is gone
        (signal.SIGHUP, 2, True),
    ],
)
def test_an_interrupted_test_keeps_its_results(
    tmp_path: Path, number: signal.Signals, processes: int, group: bool
) -> None:
    plan = LoadSettings(users=6, duration=60, processes=processes, journeys=EVERY_JOURNEY)
    with run_server(tokens=5, gap_s=0.04) as server:
        load = Load(tmp_path, server.base_url, plan, "--stop-timeout", "1")
        with load.started() as process:
            wait_for(lambda: server.stats.counts["requests"] > 20)
            (os.killpg if group else os.kill)(process.pid, number)
        truth = server.stats.counts
    counts = load.counts()
    assert counts["scheduled"] == truth["requests"], load.printed
    with load.results() as results:
        assert results.manifest["state"] == "interrupted"
    assert (load.out / "summary.json").is_file()
    assert load.code == 130, load.printed
    assert "Traceback" not in load.printed


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("loop", [{"users": 6}, {"rate": 20}])
def test_a_condition_aborts_a_load(tmp_path: Path, processes: int, loop: dict[str, Any]) -> None:
    """From the streams of all workers: of each, half fail. Two workers take turns, so the faults come in pairs."""
    conditions = ("error_rate > 90% for 1s", "error_rate > 20% for 1s")
    plan = LoadSettings(**loop, duration=120, processes=processes, journeys=ONLY_FRESH, abort_on=conditions)
    with run_server(gap_s=0.05, fault=lambda number: "truncate" if number // 2 % 2 else "none") as server:
        load = Load(tmp_path, server.base_url, plan).run()
        requests = server.stats.counts["requests"]
    assert load.code == 3, load.printed
    assert "the load was aborted by the condition 'error_rate > 20% for 1s'" in load.printed
    assert "Traceback" not in load.printed
    counts = load.counts()
    assert counts["scheduled"] == requests
    with load.results() as results:
        assert results.manifest["state"] == results.manifest["load_state"] == "aborted"
        assert results.load_aborted in load.printed
        assert gate_of(results)[0] == "inconclusive"
        assert "load" in gate_of(results)[1]


COMMAND = """
import os, sys
sys.path.insert(0, sys.argv[1])
from harness.commands.processes import ChildProcesses
from tests import forked_process
forked_process.use({"load": sys.argv[2]})
children = ChildProcesses()
with children.signals():
    load = children.start(sys.argv[3:], os.environ)
    print("load", load.pid, flush=True)
    children.wait(load)
"""
"""What every verb of the harness does with a load; this one is forked."""


def started_by_a_command(load: Load) -> list[str]:
    return [sys.executable, "-c", COMMAND, str(ROOT), server_of_forks("load"), *load.command]


def load_process(load: Load) -> psutil.Process:
    """The load's own process, which such a command has started."""
    (pid,) = re.findall(r"^load (\d+)$", (load.where / "printed").read_text(), re.MULTILINE)
    return psutil.Process(int(pid))


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("how", ["killed", "hung up", "its own parent killed"])
def test_a_load_ends_with_the_command_that_started_it(tmp_path: Path, how: str, processes: int) -> None:
    plan = LoadSettings(users=6, duration=60, processes=processes, journeys=EVERY_JOURNEY)
    with run_server(tokens=5, gap_s=0.04) as server:
        load = Load(tmp_path, server.base_url, plan)
        load.command = started_by_a_command(load)
        if how == "its own parent killed":
            load.command = ["sh", "-c", '"$@" & wait', "sh", *load.command]
        with load.started() as process:
            wait_for(lambda: server.stats.counts["requests"] > 20)
            master = load_process(load)
            workers = master.children(recursive=True)
            assert len(workers) >= processes - 1
            started = [*psutil.Process(process.pid).children(recursive=True), master, *workers]
            process.send_signal(signal.SIGHUP if how == "hung up" else signal.SIGKILL)
            psutil.wait_procs(started, timeout=60)
            assert not [one for one in started if one.is_running()]
            requests = server.stats.counts["requests"]
    counts = load.counts()
    # Some may have been stopped before they reached the server.
    assert 0 <= counts["scheduled"] - requests <= counts.get("in flight", 0), load.printed
    with load.results() as results:
        assert results.manifest["state"] == results.manifest["load_state"] == "interrupted"
    assert (load.out / "summary.json").is_file()
    assert "Traceback" not in load.printed


def test_a_load_started_with_nohup_outlives_its_parent(tmp_path: Path) -> None:
    plan = LoadSettings(users=1, duration=4, journeys=ONLY_FRESH)
    with run_server() as server:
        load = Load(tmp_path, server.base_url, plan)
        load.command = ["sh", "-c", 'nohup "$@" & wait', "sh", *started_by_a_command(load)]
        with load.started() as process:
            wait_for(lambda: server.stats.counts["requests"] > 0)
            process.kill()
    with load.results() as results:
        assert results.manifest["load_state"] == "finished"


def test_a_load_has_no_time_to_go_on_alone() -> None:
    """A load without its command ends within 3 s."""
    assert process_module.STOP_ALONE_S < process_module._EXIT_ALONE_S < 3


def unknown_runs(server: RunServer, results: Results) -> list[Run]:
    """The runs that the server started and that have no row. Every row must be of a run that it started."""
    known = {row.idempotency_key for row in results.streams() if row.idempotency_key is not None}
    assert known <= set(server.runs)
    return [run for key, run in server.runs.items() if key not in known]


def gate_of(results: Results) -> tuple[str, set[str]]:
    """The gate's outcome without objectives, and the rows that have it as their verdict."""
    report = evaluate(results, ())
    return report.outcome, {row.name for row in report.rows if row.verdict == report.outcome}


def assert_nothing_wrong(results: Results) -> None:
    """The gate passes without objectives. On a busy machine, a closed loop may say of itself that it was saturated."""
    verdicts = {row.name: row.verdict for row in evaluate(results, ()).rows}
    assert verdicts.pop("saturated", "inconclusive") in {"passed", "inconclusive"}
    assert set(verdicts.values()) == {"passed"}, verdicts


def has_rows_of(load: Load, workers: set[str]) -> bool:
    try:
        return {row.worker for row in load.rows()} >= workers
    except ResultsError:  # not there yet, or just being created
        return False


LONG = {"tokens": 20, "gap_s": 0.05}
"""Runs so long that every user always has one open."""


@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_test_leaves_a_readable_file(tmp_path: Path, processes: int) -> None:
    plan = LoadSettings(users=4, duration=60, processes=processes, journeys=ONLY_FRESH)
    names = {"local"} if processes == 1 else {"worker-0", "worker-1"}
    with run_server(**LONG) as server:
        load = Load(tmp_path, server.base_url, plan)
        with load.started() as process:
            wait_for(lambda: has_rows_of(load, names))
            os.killpg(process.pid, signal.SIGKILL)
            requests = server.stats.counts["requests"]
    with load.results() as results:
        ledger = results.ledger()
        assert ledger.adds_up, ledger
        assert 0 < ledger["in flight"] <= 4  # what was open at the last report
        assert ledger["done"] == len(list(results.streams())) > 0
        assert ledger["lost"] == 0
        assert ledger.scheduled <= requests
        assert len(unknown_runs(server, results)) >= ledger["in flight"]
        assert gate_of(results) == ("inconclusive", {"load"})
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
            before = server.stats.counts["requests"]
            time.sleep(1)
            assert server.stats.counts["requests"] == before
    with load.results() as results:
        ledger = results.ledger()
        assert ledger.adds_up, ledger
        assert 0 < ledger["in flight"] <= 4
        assert ledger["done"] == len(list(results.streams())) > 0
        assert len(unknown_runs(server, results)) >= ledger["in flight"]
        assert gate_of(results) == ("inconclusive", {"load"})


def test_a_killed_worker_is_named_and_what_it_had_open_is_lost(tmp_path: Path) -> None:
    plan = LoadSettings(users=8, duration=12, processes=2, journeys=ONLY_FRESH)
    with run_server(**LONG) as server:
        load = Load(tmp_path, server.base_url, plan)
        with load.started() as process:
            wait_for(lambda: has_rows_of(load, {"worker-0", "worker-1"}))
            psutil.Process(process.pid).children()[0].kill()
            killed_at_s = time.time()
        requests = server.stats.counts["requests"]
    with load.results() as results:
        manifest, ledger = results.manifest, results.ledger()
        (lost,) = manifest["workers_lost"]
        assert lost in {"worker-0", "worker-1"}
        assert ledger.adds_up, ledger
        assert 0 < ledger["lost"] <= 4  # a stream for each of its users
        assert ledger["done"] == len([row for row in results.streams() if row.outcome == "done"])
        # The server's count is the ledger's, except for streams that the worker started after its last report.
        reported_at_s = datetime.fromisoformat(manifest["counted_until"][lost]).timestamp()
        assert killed_at_s - 10 < reported_at_s <= killed_at_s + 1  # it reports every 3 s
        unknown = unknown_runs(server, results)
        assert len(unknown) == requests - ledger.scheduled + ledger["lost"]
        ahead_s = time.time() - time.monotonic()
        before = [run for run in unknown if run.started + ahead_s < reported_at_s - 1]
        assert len(before) <= ledger["lost"], "more are missing than were open at the last report"
        assert gate_of(results) == ("inconclusive", {"lost"})
        (row,) = [row for row in evaluate(results, ()).rows if row.name == "lost"]
        assert row.value == ledger["lost"]
        assert lost in row.detail
        assert manifest["state"] == manifest["load_state"] == "finished"
    assert f"the last results of {lost} are missing" in load.printed
    assert load.code == 1


def test_a_terminated_worker_loses_nothing(tmp_path: Path) -> None:
    plan = LoadSettings(users=8, duration=9, processes=2, journeys=EVERY_JOURNEY)
    with run_server(gap_s=0.1) as server:
        load = Load(tmp_path, server.base_url, plan)
        with load.started() as process:
            wait_for(lambda: has_rows_of(load, {"worker-0", "worker-1"}))
            psutil.Process(process.pid).children()[0].terminate()
        requests = server.stats.counts["requests"]
    counts = load.counts()
    assert counts["scheduled"] == requests
    with load.results() as results:
        assert results.manifest["workers_lost"] == []
        assert unknown_runs(server, results) == []
        assert_nothing_wrong(results)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"target": {"token": "t"}}, "error: no target is set: "),
        ({"target": {"organisation_id": "x"}}, "did you mean 'organization_id'?"),
        ({"load": {"users": 1, "rate": 1}}, "are mutually exclusive"),
    ],
)
def test_wrong_settings_are_one_sentence(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    (tmp_path / "harness.toml").write_text(tomlkit.dumps(change))
    command = [sys.executable, "-m", "locust", "-f", str(locustfile()), "--headless", "-t", "1s"]
    code, printed = run(command, folder=tmp_path, environment=os.environ)
    assert code == 2
    errors = [line for line in printed.splitlines() if "/INFO/" not in line]
    assert len(errors) == 1, printed
    assert sentence in errors[0]


def test_a_results_file_with_a_load_test_is_refused(tmp_path: Path) -> None:
    with run_server() as server:
        load = Load(tmp_path, server.base_url, LoadSettings(users=1, duration=1)).run()
        before = load.counts()
        again = Load(tmp_path, server.base_url, LoadSettings(users=1, duration=1, processes=2)).run()
    assert again.code == 2
    assert "already holds a load test; choose a different directory" in again.printed
    assert load.counts() == before


FRESH_ROW = "/agent/workflow-actions [fresh: run]"


@pytest.mark.parametrize("processes", [1, 2])
def test_the_web_page(tmp_path: Path, processes: int) -> None:
    port = free_port()
    plan = LoadSettings(users=4, processes=processes, journeys=EVERY_JOURNEY)
    with run_server(gap_s=0.02) as server:
        # The users come from the page, the target from the settings.
        load = Load(tmp_path, server.base_url, plan)
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
                # Locust caches the page's numbers for 2 s; streams in flight are not requests.
                wait_for(lambda: 0 <= seen[-1] - page.rows()["Aggregated"]["num_requests"] <= 8)
                rows = page.rows()
                assert rows["TTFT"]["num_requests"] > 0
                assert rows["TTFT"]["method"] == "SSE"
                assert rows[FRESH_ROW]["num_failures"] == 0
            os.kill(process.pid, signal.SIGTERM)
    for name, scheduled in zip(("results.sqlite", "results-2.sqlite"), seen, strict=True):
        with load.results(name) as results:
            assert results.ledger().scheduled == scheduled
            assert results.ledger().adds_up
            assert results.manifest["state"] == "finished"
    assert (load.out / "summary-2.json").is_file()
    assert "Traceback" not in load.printed


def _start_and_stop(page: Page, server: RunServer) -> int:
    """One test on the page, until all rows are there. Returns the number of requests."""
    before = server.stats.counts["requests"]
    page.swarm(host=server.base_url)
    wait_for(lambda: server.stats.counts["requests"] > before + 30)
    wait_for(lambda: {"TTFT", "run duration", "resume", FRESH_ROW} <= set(page.rows()))
    page.post("/stop")
    wait_for(lambda: page.get("/stats/requests")["state"] == "stopped")
    return server.stats.counts["requests"] - before
