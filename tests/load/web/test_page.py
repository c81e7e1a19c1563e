"""The extensions of Locust's page: the form, the rows of the tab, and the views with real Locust processes."""

from __future__ import annotations

import os
import signal
import sys
import urllib.error
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from harness.config.load_settings import LoadSettings
from harness.config.settings import Settings
from harness.errors import SettingsError
from harness.load.stats.live import LiveStats
from harness.load.stats.stats_batch import StatsBatch
from harness.load.web import streams_table
from harness.load.web.form import UNTIL_STOPPED_S, LoadForm
from tests.cases import all_cases
from tests.forked_process import run, start
from tests.load.locust_process import Page, wait_for
from tests.load.run_server import config, run_server
from tests.load.web.web_page import MODES, WORKERS, Mode, served
from tests.ports import free_port

FRESH = {"fresh": 1}


def settings(objectives: dict[str, Any] | None = None, **load: Any) -> Settings:
    document = config("http://127.0.0.1:1", **load)
    if objectives is not None:
        document["objectives"] = objectives
    return Settings.model_validate(document)


def test_the_form_is_filled_in_from_the_settings() -> None:
    form = LoadForm(
        settings(
            {"ttft_p95_ms": 800, "fresh.error_rate": 0.01, "goodput": 0.995},
            rate=2.5,
            duration="90s",
            warmup="10s",
            seed=7,
            arrivals="poisson",
            abort_on=["error_rate > 20% for 10s", "violations > 9"],
            journeys={"fresh": 7, "resume": 3},
        ),
        has_load_fields=True,
    )
    assert form.defaults == {
        "journeys": "fresh=7 resume=3",
        "warm_up": "10s",
        "abort_on": "error_rate > 20% for 10s; violations > 9",
        "open_loop_rate": "2.5",
        "open_loop_ramp": "",
        "open_loop_steps": "",
        "open_loop_spike": "",
        "open_loop_trace": "",
        "open_loop_arrivals": "poisson",
        "open_loop_duration": "90s",
        "open_loop_max_in_flight": "",
        "open_loop_seed": "7",
        "objectives": "ttft_p95_ms <= 800 ms; fresh.error_rate <= 1%; goodput >= 99.5%",
    }


def test_random_and_derived_settings_are_left_empty() -> None:
    form = LoadForm(settings(ramp="1:5:30s"), has_load_fields=True)
    assert (form.defaults["open_loop_seed"], form.defaults["open_loop_duration"]) == ("", "")
    closed = LoadForm(settings(users=4, duration=60), has_load_fields=True)
    assert closed.defaults["open_loop_duration"] == ""  # a closed loop uses Locust's own field


@pytest.mark.parametrize(
    "load",
    [
        {"rate": 2.5, "duration": 90, "seed": 7, "arrivals": "poisson", "max_in_flight": 9},
        {"ramp": "1:100:60s", "seed": 1, "warmup": 3, "keep_streams": 5, "processes": 2},
        {"steps": "10:30s,20:30s", "seed": 1, "journeys": {"resume": 3}},
        {"spike": "1:9:2s:1s", "seed": 0, "duration": 5},
        {"users": 4, "duration": 60, "journeys": {"fresh": 7, "join": 1}, "warmup": 2.5, "spawn_rate": 2},
    ],
)
def test_an_untouched_form_changes_nothing(load: dict[str, Any]) -> None:
    before = settings({"ttft_p95_ms": 812.5, "fresh.error_rate": 0.0125, "violations": 3}, **load)
    form = LoadForm(before, has_load_fields=True)
    after = form.settings(before, form.values({}), users=load.get("users"), run_time_s=60)
    assert after == before


def test_the_form_wins_over_the_settings() -> None:
    before = settings(rate=5, seed=7, duration=30, processes=2, keep_streams=9)
    form = LoadForm(before, has_load_fields=True)
    values = form.values(
        {
            "open_loop_rate": "",
            "open_loop_steps": "1:2s,2:2s",
            "open_loop_seed": " ",
            "open_loop_duration": "",
        }
    )
    load = form.settings(before, values).load
    assert (load.rate, load.steps, load.duration) == (None, "1:2s,2:2s", 4.0)
    assert (load.processes, load.keep_streams) == (2, 9)
    assert load.seed is not None


def test_a_closed_loop_is_as_long_as_locusts_field_says() -> None:
    form = LoadForm(settings(rate=5, duration=30), has_load_fields=True)
    values = form.values({"open_loop_rate": "", "open_loop_duration": "", "warm_up": "40s"})
    load = form.settings(settings(rate=5, duration=30), values, users=3, run_time_s=None).load
    assert (load.is_open, load.users, load.warmup, load.duration) == (False, 3, 40.0, UNTIL_STOPPED_S)
    with pytest.raises(SettingsError, match=r"a warmup of 40 s leaves no time in a duration of 20 s"):
        form.settings(settings(), values, users=3, run_time_s=20)


@all_cases(
    ("field", "text", "sentence"),
    [
        ("open_loop_rate", "quick", "Open loop rate: 'quick' is not a number (runs started per second"),
        ("open_loop_rate", "0", "Open loop rate: input should be greater than 0"),
        (
            "open_loop_ramp",
            "1:2",
            "Open loop ramp: '1:2' is not a ramp; write FROM:TO:OVER, for example 1:100:60s",
        ),
        ("open_loop_max_in_flight", "some", "Open loop max in flight: 'some' is not a number"),
        ("open_loop_seed", "-1", "Open loop seed: input should be greater than or equal to 0"),
        ("open_loop_trace", "/nowhere", "Open loop trace: cannot read the trace /nowhere"),
        ("open_loop_duration", "long", "Open loop duration: 'long' is not a duration; write seconds"),
        ("warm_up", "60s", "a warmup of 60 s leaves no time in a duration of 30 s"),
        ("open_loop_steps", "1:2s", "rate and steps are mutually exclusive; set one of them"),
        ("journeys", "fersh=1", "unknown journey 'fersh'; did you mean 'fresh'?"),
        (
            "journeys",
            "fresh",
            "journey 'fresh' has the weight '', which is not a whole number; write fresh=1",
        ),
        ("journeys", "fresh=0", "Journeys: every weight is 0, so no journey would run"),
        ("journeys", "", "Journeys: every weight is 0, so no journey would run"),
        ("abort_on", "error_rate > 20% for", "Abort on: condition 'error_rate > 20% for' needs a time"),
        ("abort_on", "violations > 1; eror_rate > 20%", "did you mean 'error_rate'?"),
        ("objectives", "ttft_p95 < 800", "did you mean 'ttft_p95_ms'?"),
        ("objectives", "violations <= 0; violations <= 1", "objective violations is set twice"),
    ],
)
def test_a_mistake_is_one_sentence(field: str, text: str, sentence: str) -> None:
    before = settings(rate=5, duration=30)
    form = LoadForm(before, has_load_fields=True)
    with pytest.raises(SettingsError) as found:
        form.settings(before, form.values({field: text}))
    assert sentence in str(found.value)
    assert "\n" not in str(found.value)


def test_an_open_loop_duration_in_a_closed_loop_is_refused() -> None:
    form = LoadForm(settings(users=2), has_load_fields=True)
    with pytest.raises(SettingsError, match="Open loop duration applies to an open loop"):
        form.settings(settings(users=2), form.values({"open_loop_duration": "5s"}))
    with pytest.raises(SettingsError, match="max_in_flight applies to an open loop only"):
        form.settings(settings(users=2), form.values({"open_loop_max_in_flight": "5"}))


def test_the_form_for_users_with_their_own_tasks() -> None:
    before = settings({"violations": 0}, users=3, journeys=FRESH)
    form = LoadForm(before, has_load_fields=False)
    assert form.defaults == {"warm_up": "", "abort_on": "", "objectives": "violations <= 0"}
    after = form.settings(before, form.values({"warm_up": "5s", "objectives": ""}), users=8, run_time_s=60)
    assert (after.load.warmup, after.load.users, after.objectives) == (5.0, 8, {})
    assert after.load.journeys == before.load.journeys


def document(**more: Any) -> dict[str, Any]:
    stats = LiveStats("r", lambda _: None, users=2)
    stats.started(1_000_000_000, None)
    batch = StatsBatch(open={"fresh": 1})
    batch.ledger.update({(1, "fresh", "scheduled"): 1204, (1, "fresh", "done"): 1203})
    batch.count_rates(1, "fresh", judged=True, run=True, good=True)
    batch.count_rates(1, "fresh", judged=True, run=True, failed=True)
    batch.record("ttft_ms", "fresh", 1, 1234.5)
    batch.record("schedule_lag_ms", "fresh", 1, 200.0)
    batch.violations["ids.unique", "fresh"] = 2
    batch.warnings["ids.clock"] = 1
    stats.add(batch, "local")
    return stats.snapshot() | more


def rows_of(key: str, found: dict[str, Any]) -> list[list[str]]:
    """The cells of one tab, row by row."""
    (tab,) = (tab for tab in streams_table.TABS if tab.key == key)
    rows = tab.rows(found)
    keys = [column for column, _ in tab.columns]
    assert len(set(keys)) == len(keys)
    assert all(set(row) == {*keys, "name"} for row in rows)
    assert [row["name"] for row in rows] == sorted(row["name"] for row in rows)
    return [[row[column] for column in keys] for row in rows]


def test_a_journey_has_one_row_with_its_latencies_side_by_side() -> None:
    found = document()
    heads = [head for _, head in streams_table.TABS[0].columns]
    all_journeys, fresh = (dict(zip(heads, row, strict=True)) for row in rows_of("streams", found))
    assert heads[5:] == [
        *("TTFT p50, ms", "TTFT p95, ms", "TTFT p99, ms"),
        *("ITL p50, ms", "ITL p95, ms", "ITL p99, ms"),
        *("Duration p50, ms", "Duration p95, ms", "Duration p99, ms"),
    ]
    assert (all_journeys["Journey"], fresh["Journey"]) == ("all", "fresh")
    for row in (all_journeys, fresh):
        assert (row["Streams"], row["Failed"], row["Violations"], row["Goodput"]) == (
            *("1,204", "1/2", "2", "50.00%"),
        )
        assert [row[f"TTFT {word}, ms"] for word in ("p50", "p95", "p99")] == ["1,235"] * 3
        assert [row[f"ITL {word}, ms"] for word in ("p50", "p95", "p99")] == [""] * 3


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.125, "0.13"),
        (1.005, "1.01"),
        (12.25, "12.3"),
        (12.35, "12.4"),
        (999.95, "1,000.0"),
        (1000.5, "1,001"),
    ],
)
def test_numbers_are_rounded_as_in_the_charts(value: float, shown: str) -> None:
    """As a browser's toLocaleString does: half up, of the shortest decimal number for the value."""
    assert streams_table.format_number(value) == shown


def test_shares_are_rounded_as_in_the_charts() -> None:
    found = document()
    found["rates"]["all"]["goodput"] = 78 / 192  # 40.625%
    assert rows_of("streams", found)[0][4] == "40.63%"


def test_violations_ledger_and_the_harness_have_their_own_tables() -> None:
    found = document()
    assert rows_of("violations", found) == [
        ["ids.unique", "MUST", "2", "fresh 2"],
        ["ids.clock", "SHOULD", "1", ""],
    ]
    assert rows_of("ledger", found) == [
        ["scheduled", "1,204", "fresh 1,204"],
        ["done", "1,203", "fresh 1,203"],
        ["in flight", "1", "fresh 1"],
        ["adds up", "", ""],
    ]
    harness = rows_of("harness", found)
    assert ["Schedule lag", "200.0", "200.0", "200.0", "ms"] in harness
    assert harness[-1][0] == (
        "saturated: the load fell behind its schedule: 10% of the arrivals were sent at least 200 ms late "
        "(limit 100 ms)"
    )
    metrics = {row[0]: row[1:] for row in rows_of("metrics", found)}
    assert list(metrics) == ["TTFT", "ITL", "Duration", "Stall", "Resume", "409", "Tokens/s"]
    assert metrics["TTFT"] == ["1", *["1,235"] * 4, "ms"]
    assert metrics["409"] == ["0", *[""] * 5]


def test_the_tabs_show_what_is_wrong() -> None:
    found = document(problem="the disk is full", workers_lost=["worker-1"], warming_up=True)
    found["ledger"] = {**found["ledger"], "adds_up": False, "missing": 3}
    first = [row[0] for row in rows_of("streams", found)]
    assert first == [
        "Problem: the disk is full",
        "warming up: streams due now are left out of percentiles and rates",
        "worker-1 lost; the last results are missing",
        "all",
        "fresh",
    ]
    assert rows_of("ledger", found)[-1][0] == "DOES NOT ADD UP: 3 missing"


def test_before_a_test_the_tabs_say_so() -> None:
    found = LiveStats(None, lambda _: None).snapshot()
    assert [row[0] for row in rows_of("streams", found)] == ["no test yet"]
    assert [row[0] for row in rows_of("violations", found)] == ["No violations under load."]


WHOLE = {"journeys": FRESH, "processes": 1}
FORM = {"user_count": "4", "spawn_rate": "4"}


@pytest.mark.slow
def test_wrong_input_starts_no_test(tmp_path: Path) -> None:
    with run_server() as server, served(tmp_path, server.base_url, "local", **WHOLE) as page:
        for form, sentence in (
            ({"warm_up": "soon"}, "Warm up: 'soon' is not a duration"),
            ({"host": "nowhere"}, "Host: this page tests http://127.0.0.1:"),
            ({"open_loop_rate": "5", "open_loop_ramp": "1:2:3s"}, "are mutually exclusive"),
            ({"user_count": "many"}, "User count: 'many' is not a whole number"),
            ({"user_count": "1000000000"}, "1,000,000,000 users are more than 1 process"),
            ({"user_count": "-1"}, "greater than or equal to 1"),
            ({"spawn_rate": "1e15"}, "1e+15 users started per second are more than"),
            ({"spawn_rate": "nan"}, "nan users started per second are not possible"),
            ({"open_loop_rate": "1e15"}, "1e+15 arrivals per second are far more than"),
            ({"run_time": "1000000000"}, "Run time: '1000000000' is longer than 7 days"),
        ):
            answer = page.post("/swarm", **{**FORM, **form})
            assert answer["success"] is False
            assert sentence in answer["message"]
            assert "\n" not in answer["message"]
        assert page.get("/stats/requests")["state"] == "ready"
        assert (page.live()["state"], page.live()["run"]) == ("ready", None)
        assert server.stats.counts["requests"] == 0
        with pytest.raises(urllib.error.HTTPError, match="404"):
            page.get("/stats/report")
    assert page.code == 0
    assert "Traceback" not in page.printed
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_the_form_reaches_every_worker(tmp_path: Path, mode: Mode) -> None:
    """A closed loop in the settings file, an open one from the form, and a closed one of other journeys.

    Warm-up ends at the next whole second, so of the 3 s at least 1 s is always measured.
    """
    with (
        run_server(gap_s=0.04) as server,
        served(tmp_path, server.base_url, mode, journeys={"join": 1}) as page,
    ):
        form = {"open_loop_rate": "40", "open_loop_duration": "3s", "open_loop_seed": "5", "warm_up": "1s"}
        objectives = "ttft_p95_ms < 0.000001; violations == 0"
        assert page.post("/swarm", **FORM, journeys="fresh=1", objectives=objectives, **form)["success"]
        document = page.wait_for_state("finished")  # when the schedule has ended
        assert document["plan"] == "40 runs/s"
        assert [objective["expression"] for objective in document["objectives"]] == [
            "ttft_p95_ms <= 1e-06 ms",
            "violations <= 0",
        ]
        assert document["rates"]["all"]["runs"] >= 39
        assert document["rates"]["all"]["good"] == 0  # the workers know the objectives
        wait_for(lambda: page.get("/stats/requests")["state"] == "stopped")
        closed = {"open_loop_rate": "", "open_loop_duration": "", "open_loop_seed": "", "warm_up": ""}
        form = {**FORM, "run_time": "1s", "journeys": "conflict=1", "objectives": "violations == 0", **closed}
        wait_for(lambda: bool(page.post("/swarm", **form)["success"]))
        wait_for(lambda: page.live()["run"] != document["run"])
        last = page.wait_for_state("finished")
        assert (last["plan"], last["in_flight"]) == ("4 users", 0)
    with page.results() as results:
        load = results.manifest["settings"]["load"]
        assert (load["rate"], load["seed"], load["warmup"]) == (40.0, 5, 1.0)
        assert results.journeys() == ["fresh"]
        rows = list(results.streams())
        assert len([row for row in rows if row.step == "run"]) == 120
        workers = {f"worker-{number}" for number in range(WORKERS[mode])} or {"local"}
        assert {row.worker for row in rows} == workers
        assert results.rate_counts().good == 0
        assert results.measured_from is not None
    with page.results("results-2.sqlite") as results:
        load = results.manifest["settings"]["load"]
        assert (load.get("rate"), load["users"], load["duration"]) == (None, 4, 1.0)
        assert results.journeys() == ["conflict"]
        assert results.measured_from is None
        counts = last["ledger"]["counts"]
        assert {word: count for word, count in counts.items() if count} == {
            word: count for word, count in results.ledger().as_dict().items() if count
        }
        tally = results.rate_counts()
        assert tally.good == tally.runs
        assert tally.runs
    assert page.code == 0, page.printed


@pytest.mark.slow
@pytest.mark.parametrize("given", ["in the form", "in the settings"])
def test_a_condition_ends_a_test_of_the_page(tmp_path: Path, given: str) -> None:
    conditions = ["violations > 1000000", "error_rate > 20% for 1s"]
    load = {**WHOLE, **({"abort_on": conditions} if given == "in the settings" else {})}
    form = {**FORM, **({"abort_on": "; ".join(conditions)} if given == "in the form" else {})}
    with (
        run_server(gap_s=0.05, fault=lambda _: "truncate") as server,
        served(tmp_path, server.base_url, "local", **load) as page,
    ):
        assert page.post("/swarm", **form)["success"]
        document = page.wait_for_state("aborted")
        assert "the load was aborted by the condition 'error_rate > 20% for 1s'" in document["problem"]
        requests = server.stats.counts["requests"]
        wait_for(lambda: page.get("/stats/requests")["state"] == "stopped")
        assert server.stats.counts["requests"] == requests
        assert page.post("/swarm", **FORM, abort_on="")["success"]  # the next test begins without it
        page.wait_for_state("running")
        assert page.live()["problem"] is None
        page.post("/stop")
    with page.results() as results:
        assert results.manifest["load_state"] == "aborted"
        assert "error_rate was " in results.load_aborted


@pytest.mark.slow
def test_during_a_test_only_the_number_of_users_can_be_changed(tmp_path: Path) -> None:
    with run_server(gap_s=0.05) as server, served(tmp_path, server.base_url, "local", **WHOLE) as page:
        assert page.post("/swarm", **FORM)["success"]
        page.wait_for_state("running")
        wait_for(lambda: page.live()["users"] == 4)
        refused = page.post("/swarm", **FORM, journeys="resume=1")
        assert refused["message"] == "a test is running; stop it before you change its settings"
        longer = page.post("/swarm", user_count="7", spawn_rate="7", run_time="9999h")
        assert longer["message"] == "Run time: '9999h' is longer than 7 days"
        refused = page.post("/swarm", user_count="1000000000", spawn_rate="7")
        assert "1,000,000,000 users are more than 1 process" in refused["message"]
        assert page.post("/swarm", user_count="7", spawn_rate="7")["success"]
        wait_for(lambda: page.live()["plan"] == "7 users")
        page.post("/stop")
        assert page.live()["state"] == "finished"  # the response to the click comes after the final snapshot
        assert page.live()["in_flight"] == 0
    with page.results() as results:
        assert results.journeys() == ["fresh"]


@pytest.mark.slow
def test_the_report_of_a_running_test_and_of_one_that_has_ended(tmp_path: Path) -> None:
    """Without --harness-out: results are kept until the process ends, for the report."""
    with (
        run_server(gap_s=0.04) as server,
        served(tmp_path, server.base_url, "local", keep=False, **WHOLE) as page,
    ):
        assert page.post("/swarm", **FORM)["success"]
        wait_for(lambda: server.stats.counts["requests"] > 20)
        running = page.report("/stats/report?theme=dark")
        assert running.startswith("<!doctype html>")
        assert server.base_url in running
        page.post("/stop")
        document = page.live()
        report = page.report("/harness/report?download=1")
        assert f"{document['ledger']['counts']['done']:,}" in report
        assert report != running
        folder = Path(document["results"]).parent
        assert folder.is_dir()
        assert "Locust Test Report" in page.get("/harness/locust-report")
    assert not folder.exists()
    assert page.code == 0


def command(where: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "harness", "load", "--config", str(where / "harness.toml"), "--web", *more]


@pytest.mark.slow
def test_harness_load_serves_the_page_until_it_is_interrupted(tmp_path: Path) -> None:
    port = free_port()
    page = Page(port)
    with run_server(gap_s=0.04) as server:
        (tmp_path / "harness.toml").write_text(
            tomlkit.dumps(config(server.base_url, users=3, journeys=FRESH))
        )
        with (tmp_path / "printed").open("wb") as printed:
            process = start(
                command(tmp_path, "--web-port", str(port), "--out", str(tmp_path / "out")),
                environment=os.environ,
                folder=tmp_path,
                output=printed.fileno(),
            )
        try:
            wait_for(page.is_up, 40)
            before = server.stats.counts["requests"]
            assert before == 1  # the preflight's: no test starts on its own
            assert '"num_users": 3' in page.get("/")
            assert page.post("/swarm", **FORM)["success"]
            wait_for(lambda: server.stats.counts["requests"] > before + 20)
            os.kill(process.pid, signal.SIGINT)
            code = process.wait(timeout=40)
        finally:
            process.kill()
            process.wait()
        requests = server.stats.counts["requests"]
    printed_text = (tmp_path / "printed").read_text()
    assert code == 130, printed_text  # a test was running
    assert f"page:   http://127.0.0.1:{port}" in printed_text
    assert f"results: {tmp_path / 'out' / 'results.sqlite'}" in printed_text
    assert "Traceback" not in printed_text
    from harness.results.reader import Results

    with Results(tmp_path / "out" / "results.sqlite") as results:
        assert results.ledger().scheduled == requests - 1
        assert results.ledger().adds_up
        assert results.manifest["load_state"] == "interrupted"


def test_a_port_that_is_taken_is_reported(tmp_path: Path) -> None:
    with run_server() as server:
        (tmp_path / "harness.toml").write_text(tomlkit.dumps(config(server.base_url)))
        taken = server.server_address[1]
        code, printed = run(
            command(tmp_path, "--web-port", str(taken)), environment=os.environ, folder=tmp_path
        )
    assert code == 2
    assert f"the page cannot listen on port {taken}: " in printed
    assert "choose one with --web-port" in printed
    assert "Traceback" not in printed


def test_users_follow_their_settings(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from harness.load.users import ConfiguredUser\n"
        "from harness.config.settings import LoadSettings\n"
        "class Users(ConfiguredUser): pass\n"
        "Users.configure(LoadSettings(journeys={'fresh': 2, 'join': 1}))\n"
        "assert sorted(task.__name__ for task in Users.tasks) == ['fresh', 'fresh', 'join']\n"
        "Users.configure(LoadSettings(rate=5, journeys={'resume': 1}))\n"
        "assert [task.__name__ for task in Users.tasks] == ['send_arrivals']\n"
        "assert Users.weights['resume'] == 1 and Users.weights['fresh'] == 0\n"
        "Users.configure(LoadSettings(users=3, journeys={'race': 1}))\n"
        "assert [task.__name__ for task in Users.tasks] == ['race']\n"
        "sys.exit(7)\n"
    )
    # As a locustfile in its own process, because importing Locust patches the process.
    (tmp_path / "follow.py").write_text(script)
    command = [sys.executable, "-m", "locust", "-f", "follow.py"]
    code, printed = run(command, environment=os.environ, folder=tmp_path)
    assert code == 7, printed


def test_the_settings_of_the_page_are_those_of_the_load() -> None:
    assert LoadSettings.model_fields.keys() - {
        field.setting for field in LoadForm(settings(), has_load_fields=True).fields
    } == {
        "users",
        "spawn_rate",
        "processes",
        "keep_streams",
        "traceparent",
        "restart_at",
    }
