"""The settings that command line options make."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from harness.cli import main
from harness.commands.check import refuse_repeats
from harness.config.load_settings import LoadSettings
from harness.config.settings import Settings
from harness.errors import SettingsError
from harness.results.writer import ResultsWriter
from harness.terminal.safe_console import SafeConsole


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[LoadSettings]:
    """The load settings that `harness load` was called with."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("HARNESS_")]:
        monkeypatch.delenv(name)
    made: list[LoadSettings] = []

    def run_load(
        settings: Settings, _out: Path | None, *_artifacts_and_baseline: Any, **_workers: Any
    ) -> int:
        made.append(settings.load)
        return 0

    monkeypatch.setattr("harness.commands.load.run_load", run_load)
    return made


def load(*options: str) -> Result:
    return CliRunner().invoke(main, ["load", *options])


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        (["--users", "3"], {"users": 3}),
        (
            ["--rate", "50", "--arrivals", "poisson", "--seed", "7"],
            {"rate": 50.0, "arrivals": "poisson", "seed": 7},
        ),
        (["--ramp", "1:100:60s"], {"ramp": "1:100:60s", "duration": 60.0}),
        (["--steps", "10:30s,20:30s", "--duration", "10s"], {"steps": "10:30s,20:30s", "duration": 10.0}),
        (["--spike", "10:100:20s:5s"], {"spike": "10:100:20s:5s", "duration": 45.0}),
        (
            ["--abort-on", "error_rate > 20% for 10s", "--abort-on", "violations > 9"],
            {"abort_on": ("error_rate > 20% for 10s", "violations > 9")},
        ),
        (["--trace", "trace.csv"], {"trace": "trace.csv", "duration": 8.0}),
        (
            ["--rate", "5", "--max-in-flight", "9", "--warmup", "5s", "--keep-streams", "0"],
            {"rate": 5.0, "max_in_flight": 9, "warmup": 5.0, "keep_streams": 0},
        ),
    ],
)
def test_options_become_settings(
    given: list[LoadSettings], options: list[str], settings: dict[str, Any]
) -> None:
    Path("trace.csv").write_text("0\n7.5\n")
    result = load(*options)
    assert result.exit_code == 0, result.output
    assert {name: getattr(given[0], name) for name in settings} == settings


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--rate", "nan"], "'nan' is not a number above 0"),
        (["--rate", "inf"], "'inf' is not a number above 0"),
        (["--rate", "0"], "'0' is not a number above 0"),
        (["--rate", "-1"], "'-1' is not a number above 0"),
        (["--rate", "many"], "'many' is not a number above 0"),
        (["--spawn-rate", "inf"], "'inf' is not a number above 0"),
        (["--abort-on", "eror_rate > 20%"], "did you mean 'error_rate'?"),
        (["--users", "-1"], "Invalid value for '--users'"),
        (["--duration", "1000000000"], "1000000000 is longer than 7 days, the longest time that can be set"),
        (["--duration", "1e9"], "'1e9' is not a duration"),
    ],
)
def test_numbers_that_no_load_has_are_refused(
    given: list[LoadSettings], options: list[str], sentence: str
) -> None:
    result = load(*options)
    assert (result.exit_code, given) == (2, [])
    assert sentence in result.output


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (
            ["load", "--rate", "100000"],
            "100,000 arrivals per second are far more than 1 process of this machine",
        ),
        (["load", "--rate", "1e15"], "1e+15 arrivals per second are far more than"),
        (["load", "--users", "1000000000"], "1,000,000,000 users are more than 1 process of this machine"),
        (["load", "--spawn-rate", "1e15"], "1e+15 users started per second are more than"),
        (["load", "--processes", "10000"], "10,000 processes are more than this machine can use"),
        (["load", "--web", "--spike", "1:1000000:5s:5s"], "1,000,000 arrivals per second in the spike"),
        (["check", "--rate", "1e15"], "1e+15 arrivals per second"),
        (["capacity", "--to", "1e15", "--objective", "ttft_p95_ms < 800"], "1e+15 arrivals per second"),
    ],
)
def test_a_load_far_beyond_this_machine_is_refused(
    command: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent: the target, which refuses connections, would be reported too."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, [*command, "--target", "http://127.0.0.1:9"])
    assert result.exit_code == 2
    assert f"harness: {sentence}" in result.output
    assert result.output.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_conditions_replace_those_of_the_file(given: list[LoadSettings]) -> None:
    Path("harness.toml").write_text('[load]\nabort_on = ["violations > 9"]\n')
    load("--abort-on", "error_rate > 20%")
    load()
    assert [one.abort_on for one in given] == [("error_rate > 20%",), ("violations > 9",)]


def test_named_journeys_replace_those_of_the_file(given: list[LoadSettings]) -> None:
    Path("harness.toml").write_text("[load.journeys]\nreplay = 3\n")
    load("--journey", "join=2", "--journey", "race=1")
    load()
    weights = [
        {name: weight for name, weight in one.journeys.model_dump().items() if weight} for one in given
    ]
    assert weights == [{"join": 2, "race": 1}, {"replay": 3}]


@pytest.mark.parametrize("name", ["--max-concurrency", "--harness-max-concurrency"])
def test_the_limit_that_a_verdict_points_to_is_an_option_of_both_verbs(
    given: list[LoadSettings], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    called: list[Any] = []

    def run_conformance(_settings: Settings, **options: Any) -> int:
        called.append(options["pytest_args"])
        return 0

    def run_check(*_: Any, max_concurrency: int | None, read_only: bool, restart_by_hand: bool) -> int:
        assert (read_only, restart_by_hand) == (False, False)
        called.append(max_concurrency)
        return 0

    monkeypatch.setattr("harness.commands.conformance.run_conformance", run_conformance)
    monkeypatch.setattr("harness.commands.check.run_check", run_check)
    for verb in ("conformance", "check"):
        assert name in CliRunner().invoke(main, [verb, "--help"]).output
        result = CliRunner().invoke(main, [verb, "--target", "http://127.0.0.1:1", name, "2"])
        assert result.exit_code == 0, result.output
    assert called == [["--harness-max-concurrency", "2"], 2]
    assert given == []


@pytest.mark.parametrize("name", ["--read-only", "--harness-read-only"])
def test_read_only_is_an_option_of_both_verbs(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    called: list[Any] = []
    monkeypatch.setattr(
        "harness.commands.conformance.run_conformance",
        lambda _, **options: called.append(options["pytest_args"]) or 0,
    )
    monkeypatch.setattr(
        "harness.commands.check.run_check", lambda *_, **options: called.append(options["read_only"]) or 0
    )
    for verb in ("conformance", "check"):
        assert name in CliRunner().invoke(main, [verb, "--help"]).output
        result = CliRunner().invoke(main, [verb, "--target", "http://127.0.0.1:1", name])
        assert result.exit_code == 0, result.output
    assert called == [["--harness-read-only"], True]


@pytest.mark.parametrize("name", ["--budget-requests", "--harness-budget-requests"])
def test_the_budget_of_requests_is_an_option_of_both_verbs(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    budgets: list[int | None] = []

    def run(settings: Settings, *_: Any, **__: Any) -> int:
        budgets.append(settings.limits.budget_requests)
        return 0

    monkeypatch.setattr("harness.commands.conformance.run_conformance", run)
    monkeypatch.setattr("harness.commands.check.run_check", run)
    for verb in ("conformance", "check"):
        assert name in CliRunner().invoke(main, [verb, "--help"]).output
        for value in ((name, "7"), ()):
            result = CliRunner().invoke(main, [verb, "--target", "http://127.0.0.1:1", *value])
            assert result.exit_code == 0, result.output
        result = CliRunner().invoke(main, [verb, "--target", "http://127.0.0.1:1", name, "0"])
        assert (result.exit_code, name in result.output) == (2, True)
    assert budgets == [7, None, 7, None]


def test_a_budget_that_a_repeat_would_exceed_is_refused(tmp_path: Path) -> None:
    settings = Settings.model_validate({"limits": {"budget_requests": 5}, "gate": {"rerun_inconclusive": 1}})
    with pytest.raises(SettingsError, match="--rerun-inconclusive would send the requests of limits"):
        refuse_repeats(settings, tmp_path)
    refuse_repeats(settings, None)
    for section in ("limits", "gate"):
        refuse_repeats(settings.model_copy(update={section: getattr(Settings(), section)}), tmp_path)


def test_similar_options_are_named_the_most_similar_first() -> None:
    result = CliRunner().invoke(main, ["capacity", "--duration", "3s"])
    assert result.exit_code == 2
    assert "Did you mean '--step-duration' or '--organization'" in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ramp", "1:100"], "harness: setting 'load.ramp': '1:100' is not a ramp; write FROM:TO:OVER"),
        (["--rate", "1", "--users", "1"], "users (closed loop) and rate (open loop) are mutually exclusive"),
        (["--journey", "frsh=1"], "harness: unknown journey 'frsh'; did you mean 'fresh'?"),
        (["--trace", "none.csv"], "cannot read the trace none.csv: No such file or directory"),
        (["--arrivals", "random", "--rate", "1"], "Invalid value for '--arrivals'"),
        (["--rate", "1", "--warmup", "soon"], "'soon' is not a duration"),
        (["--seed", "3"], "seed applies to an open loop only"),
    ],
)
def test_a_wrong_option_is_one_sentence(given: list[LoadSettings], options: list[str], message: str) -> None:
    result = load(*options)
    assert result.exit_code == 2
    assert message in result.output
    assert given == []


def test_a_character_that_the_encoding_of_the_output_lacks_is_an_escape(
    given: list[LoadSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "harness.commands.load.run_load", lambda *_, **__: SafeConsole().print("passed \u2264 \udcff")
    )
    done = CliRunner(charset="ascii").invoke(main, ["load"])
    assert (done.exit_code, done.stdout) == (0, "passed \\u2264 \\udcff\n")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--users", "9" * 5000], "is not a valid integer range."),
        (
            ["--users", "9" * 400],
            "harness: setting 'load.users': Input should be less than or equal to 1000000000",
        ),
        (["--objective", f"ttft_p95_ms<{'9' * 5000}x"], "ttft_p95_ms<999"),
    ],
)
def test_a_message_about_a_very_long_value_is_short(tmp_path: Path, options: list[str], says: str) -> None:
    done = CliRunner().invoke(main, ["load", "--target", "http://127.0.0.1:9", *options])
    assert done.exit_code == 2
    assert says in done.output
    assert max(map(len, done.output.splitlines())) < 1_100


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC, errno.EIO])
def test_an_output_that_takes_no_more_is_one_sentence(
    given: list[LoadSettings], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fails(*_: Any, **__: Any) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("harness.commands.load.run_load", fails)
    done = load()
    assert (done.exit_code, done.stderr) == (2, f"harness: cannot write its output: {os.strerror(number)}\n")


@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr"])
def test_a_standard_stream_that_the_caller_has_closed_is_opened(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(sys, name, None)
    with pytest.raises(SystemExit) as ended:
        main(["requirements"])
    assert ended.value.code == 0
    assert getattr(sys, name).name == os.devnull
    getattr(sys, name).close()


@pytest.mark.parametrize(
    "words",
    [
        *(
            ["report", "x"],
            ["gate", "x"],
            ["gate", "r", "--baseline", "x"],
            ["compare", "x", "x"],
            ["judge", "x"],
        ),
        *(["export", "x", "--format", "csv"], ["trend", "x"], ["comment", "x"], ["profile", "show", "x"]),
    ],
)
def test_a_name_that_no_file_system_takes_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with ResultsWriter(tmp_path / "r") as writer:
        writer.set_manifest(load_state="finished")
    done = CliRunner().invoke(main, [word * 300 if word == "x" else word for word in words])
    assert (done.exit_code, done.output.count("\n")) == (2, 1), done.output
    assert done.output.startswith("harness: ")
    assert "x" * 60 in done.output
