from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from harness.config.load_settings import LoadSettings, parse_journeys
from harness.config.parsing import Seconds, parse_duration_s, parse_ramp, parse_spike, parse_steps
from harness.config.settings import Settings, TargetSettings
from harness.config.sources import load_settings, read_token, settings_alone
from harness.config.trace import read_arrival_times
from harness.contract.expectations import Expectations
from harness.errors import SettingsError
from harness.gate.equivalence import Effects
from harness.profiles import library
from harness.reference.settings import demo_config
from tests.cases import all_cases

ACTION = {"toolId": "t", "toolName": "T", "aiDescription": "…", "runtimeScope": "test"}
ACTION_TOML = (
    '[target.actions.success]\ntoolId = "t"\ntoolName = "T"\naiDescription = "…"\nruntimeScope = "x"\n'
)


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory without settings and an environment without HARNESS_* variables."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("HARNESS_")]:
        monkeypatch.delenv(name)


def toml(text: str, name: str = "harness.toml") -> Path:
    path = Path(name)
    path.write_text(text, encoding="utf-8")
    return path


# Precedence


def test_flags_over_environment_over_file_over_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    toml(
        '[target]\nbase_url = "http://file"\norganization_id = "file"\ntoken = "file"\npath = "/file"\n'
        + ACTION_TOML
    )
    monkeypatch.setenv("HARNESS_TARGET__ORGANIZATION_ID", "env")
    monkeypatch.setenv("HARNESS_TARGET__TOKEN", "env")
    target = load_settings(flags={"target": {"token": "flag"}}).target
    assert target.token is not None
    assert (target.token.get_secret_value(), target.organization_id, target.path) == ("flag", "env", "/file")
    assert (target.base_url, target.conflict) == ("http://file", "any")


def test_a_flag_keeps_the_other_settings_of_its_section(monkeypatch: pytest.MonkeyPatch) -> None:
    toml(
        "[load]\nusers = 3\nduration = 7\n[load.journeys]\nfresh = 1\n[objectives]\nttft_p95_ms = 5\n"
        + ACTION_TOML
    )
    monkeypatch.setenv("HARNESS_LOAD__JOURNEYS__REPLAY", "0")
    load = load_settings(flags={"load": {"duration": "1m"}}).load
    assert (load.users, load.duration, load.spawn_rate) == (3, 60.0, None)
    assert {name: weight for name, weight in load.journeys.model_dump().items() if weight} == {"fresh": 1}


def test_the_environment_takes_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_TARGET__ACTIONS", json.dumps({"success": ACTION}))
    monkeypatch.setenv("HARNESS_TARGET__BODY", '{"userTimezone": "Europe/Paris"}')
    monkeypatch.setenv("HARNESS_LOAD", '{"rate": 2.5}')
    settings = load_settings()
    assert settings.target.actions.success == ACTION
    assert settings.target.body == {"userTimezone": "Europe/Paris"}
    assert (settings.load.rate, settings.load.users) == (2.5, None)


def test_where_the_file_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def organization(config: Path | None = None) -> str | None:
        return load_settings(config).target.organization_id

    def telling(name: str) -> str:
        return f'[target]\norganization_id = "{name}"\n'

    assert organization() is None
    toml('[tool.other]\nx = 1\n[tool.harness.target]\norganization_id = "pyproject"\n', "pyproject.toml")
    assert organization() == "pyproject"
    toml(telling("here"))
    assert organization() == "here"
    monkeypatch.setenv("HARNESS_CONFIG", str(toml(telling("variable"), "variable.toml")))
    assert organization() == "variable"
    assert organization(toml(telling("named"), "named.toml")) == "named"


def test_a_pyproject_without_harness_settings() -> None:
    toml('[project]\nname = "x"\n', "pyproject.toml")
    assert load_settings().target.organization_id is None


# Nothing that the user did not configure


@pytest.mark.parametrize("base_url", [None, "http://127.0.0.1:8080", "https://agent.example.com"])
def test_nothing_of_the_embedded_server_is_a_default(
    base_url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if base_url is not None:
        monkeypatch.setenv("HARNESS_TARGET__BASE_URL", base_url)
    settings = load_settings()
    assert settings.target == TargetSettings(base_url=base_url)
    assert settings.target.model_dump(exclude_none=True, exclude_defaults=True).keys() <= {
        "base_url",
        "path",  # the profile's
        "resume_start",  # the profile's
    }
    assert settings.target.organization_id is None
    assert settings.secrets() == ()
    assert settings.expectations == Expectations()
    document = json.dumps(settings.document())
    demo = demo_config(None)["target"]
    for secret in (demo["token"], demo["second_principal"]["token"], demo["organization_id"], '"toolId"'):
        assert secret not in document


def test_a_target_with_a_token_gets_no_second_principal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_TARGET__TOKEN", "mine")
    settings = load_settings(flags={"target": {"base_url": "http://127.0.0.1:8080"}})
    assert settings.target.base_url == "http://127.0.0.1:8080"
    assert settings.secrets() == ("mine",)
    assert settings.target.second_principal is None


def test_one_configured_action_is_the_only_one() -> None:
    toml(ACTION_TOML)
    settings = load_settings()
    assert settings.target.actions.model_dump(exclude_none=True).keys() == {"success"}
    assert settings.secrets() == ()
    assert settings.target.second_principal is None
    assert settings.target.other_route is None
    assert settings.expectations.budgets.heartbeat_s == 15.0
    assert settings.objectives == {"error_rate": 0.001, "violations": 0.0}


# What is wrong is one sentence


def sentence(config: Path | None = None, flags: dict[str, Any] | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(config, flags)
    message = str(caught.value)
    assert "\n" not in message.strip()
    return message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('token = "a"\n', "unknown setting 'token' in harness.toml; did you mean 'target.token'?"),
        ('[load]\ntoken = "a"\n', "unknown setting 'load.token' in harness.toml; did you mean 'target.tok"),
        ("[targett]\n", "unknown setting 'targett' in harness.toml; did you mean 'target'?"),
        (
            "xyz = 3\n",
            "unknown setting 'xyz' in harness.toml; known: target, budgets, load, journeys, objectives, gate",
        ),
        (
            '[target]\nbase_ur = "x"\n',
            "unknown setting 'target.base_ur' in harness.toml; did you mean 'base_",
        ),
        (
            "[target.actions.sucess]\n",
            "unknown setting 'target.actions.sucess' in harness.toml; did you mean 'success'?",
        ),
        (
            '[target.second_principal]\ntoken = "a"\norganisation_id = "b"\n',
            "unknown setting 'target.second_principal.organisation_id' in harness.toml; did you mean 'organiz",
        ),
        ("[budgets]\nheart_beat = 1\n", "did you mean 'heartbeat'?"),
        ("[load.journeys]\nfrsh = 1\n", "did you mean 'fresh'?"),
        ("[objectives]\nttft_p95 = 1\n", "unknown objective 'ttft_p95'; did you mean 'ttft_p95_ms'?"),
    ],
)
def test_an_unknown_key_in_the_file_names_the_nearest(text: str, message: str) -> None:
    toml(text)
    assert message in sentence()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "HARNESS_TARGT__TOKEN",
            "the environment variable HARNESS_TARGT__TOKEN does not match a setting; did you",
        ),
        ("HARNESS_TOKEN", "HARNESS_TOKEN does not match a setting; did you mean 'HARNESS_TARGET__TOKEN'?"),
        ("HARNESS_X", "the environment variable HARNESS_X does not match a setting; known: target, "),
        (
            "HARNESS_TARGET__TOKN",
            "'target.tokn' in the environment variable HARNESS_TARGET__TOKN; did you mean",
        ),
        (
            "HARNESS_BUDGETS__RUNN",
            "'budgets.runn' in the environment variable HARNESS_BUDGETS__RUNN; did you m",
        ),
    ],
)
def test_an_unknown_variable_names_the_nearest(
    monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.setenv(name, "1")
    assert message in sentence()


@all_cases(
    ("text", "message"),
    [
        ("[load]\nusers = 1\nrate = 2\n", "setting 'load': users (closed loop) and rate (open loop) are"),
        ("[load]\nusers = 0\n", "setting 'load.users': "),
        ("[load]\nrate = 0\n", "setting 'load.rate': "),
        ("[load]\nrate = inf\n", "setting 'load.rate': "),
        ("[load]\nprocesses = 0\n", "setting 'load.processes': "),
        (
            '[load]\nduration = "5 days"\n',
            "setting 'load.duration': '5 days' is not a duration; write seconds, or",
        ),
        (
            '[load]\nrate = 1\nramp = "1:2:3s"\n',
            "setting 'load': rate and ramp are mutually exclusive; set one",
        ),
        (
            '[load]\nusers = 1\nsteps = "1:2s"\n',
            "users (closed loop) and steps (open loop) are mutually exclusive",
        ),
        (
            '[load]\nramp = "1:2"\n',
            "setting 'load.ramp': '1:2' is not a ramp; write FROM:TO:OVER, for example",
        ),
        ('[load]\nramp = "-1:2:3s"\n', "'-1' in '-1:2:3s' is not a rate; write arrivals per second"),
        ('[load]\nramp = "1:inf:3s"\n', "'inf' in '1:inf:3s' is not a rate"),
        (
            '[load]\nramp = "0:0:3s"\n',
            "there are no arrivals with '0:0:3s'; one of its rates must be above 0",
        ),
        ('[load]\nramp = "1:2:0"\n', "'0' in '1:2:0' has no length; write a duration above 0"),
        ('[load]\nramp = "1:2:3 days"\n', "setting 'load.ramp': '3 days' is not a duration"),
        (
            '[load]\nsteps = "1:2s,3"\n',
            "'3' is not a list of steps; write RATE:FOR,RATE:FOR…, for example 10:30s",
        ),
        ('[load]\nsteps = "1:2s,"\n', "'' is not a list of steps"),
        (
            '[load]\nabort_on = ["eror_rate > 20%"]\n',
            "setting 'load.abort_on': condition 'eror_rate > 20%' has",
        ),
        ('[load]\nabort_on = "error_rate > 20% for ever"\n', "needs a time from 1s to 60m after for"),
        ("[load]\nabort_on = 3\n", "setting 'load.abort_on': "),
        ("[load]\nduration = 1e9\n", "setting 'load.duration': 1000000000 s is longer than 7 days"),
        ('[load]\nduration = "169h"\n', "setting 'load.duration': 169h is longer than 7 days"),
        ("[load]\nduration = inf\n", "setting 'load.duration': inf s is longer than 7 days"),
        ('[load]\nsteps = "1:100h,1:100h"\n', "setting 'load': 720000 s is longer than 7 days"),
        (f'[load]\nsteps = "1:{"9" * 400}"\n', f"setting 'load.steps': {'9' * 40}… is longer than 7 days"),
        (f'[load]\nramp = "1:{"9" * 400}:3s"\n', "setting 'load.ramp': a rate has too many digits"),
        ("[load]\nrate = nan\n", "setting 'load.rate': "),
        ("[load]\nspawn_rate = inf\n", "setting 'load.spawn_rate': "),
        ("[load]\nrate = 1\nmax_in_flight = 1000000000000000000000\n", "setting 'load.max_in_flight': "),
        ("[load]\nkeep_streams = 1000000000000000000000\n", "setting 'load.keep_streams': "),
        ("[load.journeys]\nfresh = 1000000000\n", "setting 'load.journeys.fresh': "),
        ("[budgets]\nrun = 1e30\n", "setting 'budgets.run': 1e+30 s is longer than 7 days"),
        ('[load]\nsteps = "0:2s,0:1s"\n', "there are no arrivals with"),
        (
            '[load]\nspike = "1:2:3s"\n',
            "'1:2:3s' is not a spike; write BASE:PEAK:AT:FOR, for example 10:100:20s:5s",
        ),
        (
            '[load]\nspike = "1:2:3s:1s"\nduration = 3\n',
            "the spike 1:2:3s:1s starts after the duration of 3 s",
        ),
        (
            '[load]\ntrace = "none"\n',
            "setting 'load.trace': cannot read the trace none: No such file or directory",
        ),
        (
            '[load]\narrivals = "poisson"\n',
            "arrivals applies to an open loop only; set one of rate, ramp, steps, spike, tr",
        ),
        ('[load]\narrivals = "random"\nrate = 1\n', "setting 'load.arrivals': "),
        ("[load]\nusers = 1\nseed = 1\n", "seed applies to an open loop only; set one of rate"),
        ("[load]\nmax_in_flight = 9\n", "max_in_flight applies to an open loop only"),
        ("[load]\nrate = 1\nseed = -1\n", "setting 'load.seed': "),
        ("[load]\nrate = 1\nmax_in_flight = 0\n", "setting 'load.max_in_flight': "),
        ("[load]\nkeep_streams = -1\n", "setting 'load.keep_streams': "),
        ("[load]\nwarmup = 20\n", "a warmup of 20 s leaves no time in a duration of 20 s"),
        ('[load]\nwarmup = "-1s"\n', "setting 'load.warmup': '-1s' is not a duration"),
        ("[load.journeys]\nfresh=0\nreplay=0\nresume=0\nconflict=0\n", "every weight is 0"),
        ("[load.journeys]\nfresh = -1\n", "setting 'load.journeys.fresh': "),
        ("[budgets]\nrun = 0\n", "setting 'budgets.run': "),
        ("[budgets]\nrun = inf\n", "setting 'budgets.run': "),
        ("[budgets]\nrun = nan\n", "setting 'budgets.run': "),
        ('[budgets]\nrun = "inf"\n', "setting 'budgets.run': 'inf' is not a duration"),
        ('[target]\nconflict = "422"\n', "setting 'target.conflict': "),
        ('[target]\npath = "a?token=s3cret&x=1"\n', "'a?token=…&x=…' does not start with a slash"),
        ('[target]\nbase_url = "http://h?token=s3cret"\n', "'http://h?token=…' is not of the form"),
        ('[export]\notlp_endpoint = "http://u:s3cret@h"\n', "'http://…@h' is not of the form"),
        ('[target]\npath = "agent"\n', "setting 'target.path': 'agent' does not start with a slash"),
        ('[target]\npath = "/a b"\n', "or contains blanks"),
        ('[target]\nbase_url = "localhost:80"\n', "'localhost:80' is not of the form http[s]://host[:port]"),
        ('[target]\nbase_url = "http://h/agent"\n', "set the path separately"),
        ('[target]\nbase_url = "http://h?x=1"\n', "is not of the form"),
        ('[target]\nbase_url = "http://a b"\n', "is not of the form"),
        (
            '[target]\nreplicas = ["http://a"]\n',
            "setting 'target.replicas': at least two replicas are needed",
        ),
        ('[target]\nreplicas = ["http://a", "http://a/"]\n', "each with a separate address"),
        ('[target]\nreplicas = ["http://a", "b"]\n', "'b' is not of the form http[s]://host[:port]"),
        (
            '[target]\nrestart_command = "reboot"\n',
            "own = true is missing: set it if the server is yours alone",
        ),
        ('[target]\nown = true\nrestart_command = ""\n', "setting 'target.restart_command': "),
        ("target = 3\n", "setting 'target': "),
        ("[target]\nactions = []\n", "setting 'target.actions': "),
        ("[objectives]\nttft_p95_ms = -1\n", "objective ttft_p95_ms: the limit must be a number >= 0"),
        (
            f"[load]\nduration = {10**400}\n",
            "setting 'load.duration': 1.000000000e+400 s is longer than 7 days",
        ),
        ("[target\n", "the settings file harness.toml is not valid TOML: "),
        ("a = 1\na = 2\n", "the settings file harness.toml is not valid TOML: "),
    ],
)
def test_a_bad_value_is_named_with_its_place(text: str, message: str) -> None:
    toml(text)
    assert message in sentence()


def _settings(model: type[BaseModel], *path: str) -> Iterator[tuple[str, ...]]:
    """The path of each setting, and of each table of settings."""
    for name, field in model.model_fields.items():
        yield (*path, name)
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _settings(kind, *path, name)


@pytest.mark.parametrize("path", [pytest.param(path, id=".".join(path)) for path in _settings(Settings)])
def test_no_number_makes_a_setting_raise_anything_but_a_sentence(path: tuple[str, ...]) -> None:
    """An integer of 400 digits is too large for a float, and Python raises OverflowError where it needs one."""
    *tables, name = path
    for value in (10**400, -(10**400), f'"{10**400}"', f'"{10**400}s"', "inf", "-inf", "nan"):
        toml(f"[{'.'.join(tables)}]\n{name} = {value}\n" if tables else f"{name} = {value}\n")
        with suppress(SettingsError):
            load_settings()


def test_the_first_replica_is_the_target_if_no_other_is_set() -> None:
    replicas = ["http://a", "http://b"]
    assert TargetSettings.model_validate({"replicas": replicas}).base_url == "http://a"
    assert (
        TargetSettings.model_validate({"replicas": replicas, "base_url": "http://c"}).base_url == "http://c"
    )


@pytest.mark.parametrize(
    "token", ["two\\nlines", "a\\rb", "tab\\tbed", "caf\\u00e9", "with blank", "\\u0000", "\\u2028"]
)
def test_a_token_with_illegal_characters_is_refused_and_not_shown(token: str) -> None:
    toml(f'[target]\ntoken = "secret{token}"\n')
    message = sentence()
    assert message.startswith("setting 'target.token': ")
    assert "secret" not in message


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "X-Key",
            "s3cret\r\nX-Other: b",
            "the value of X-Key contains a line break or another control character",
        ),
        ("X-Key", "s3cret\n", "the value of X-Key contains a line break"),
        ("X-Key", "s3cret\x00", "the value of X-Key contains a line break"),
        ("X-Key", "s3cret\u0100", "the value of X-Key contains a character that is not ASCII"),
        ("X-Key: a\r\nX-Other", "s3cret", "is not the name of a header field"),
        ("", "s3cret", "'' is not the name of a header field"),
    ],
)
def test_a_header_field_that_cannot_be_sent_is_refused_and_not_shown(
    name: str, value: str, message: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(flags={"target": {"headers": {name: value}}})
    assert message in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_url_with_credentials_is_refused_and_they_are_not_shown() -> None:
    toml('[target]\nbase_url = "http://user:s3cret@h"\n')
    message = sentence()
    assert "target.base_url" in message
    assert "s3cret" not in message


def test_where_a_bad_value_may_have_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    toml("[load]\nusers = 1\n")
    assert "(from flags, HARNESS_* or harness.toml)" in sentence(flags={"load": {"rate": 2}})


def test_bad_json_in_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_TARGET", "{not json")
    assert "HARNESS_TARGET" in sentence()
    monkeypatch.delenv("HARNESS_TARGET")
    monkeypatch.setenv("HARNESS_LOAD__JOURNEYS", "fresh")
    assert "HARNESS_LOAD" in sentence()


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert sentence(Path("none.toml")) == "cannot read the settings file none.toml: No such file or directory"
    assert sentence(tmp_path) == f"cannot read the settings file {tmp_path}: it is a folder; name a file"
    Path("latin.toml").write_bytes(b'[target]\ntoken = "\xff"\n')
    assert sentence(Path("latin.toml")).startswith("the settings file latin.toml is not UTF-8 text: ")
    toml("[tool]\nharness = 3\n", "pyproject.toml")
    assert "[tool.harness]" in sentence()


# Durations


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (90, 90),
        (1.5, 1.5),
        ("90", 90.0),
        ("90s", 90.0),
        ("250ms", 0.25),
        ("1.5m", 90.0),
        (" 1 h ", 3600.0),
        ("0", 0.0),
    ],
)
def test_a_duration_in_seconds(given: Any, seconds: float) -> None:
    assert parse_duration_s(given) == seconds


@pytest.mark.parametrize("given", ["", "s", "-5s", "5d", "1h30m", "1e3", ".5", "5 s s", "٣s", "inf"])
def test_invalid_durations(given: str) -> None:
    with pytest.raises(ValueError, match="is not a duration; write seconds, or a number with ms, s, m or h"):
        parse_duration_s(given)


def test_durations_are_read_wherever_seconds_are_asked_for() -> None:
    toml('[budgets]\nfirst_event = "250ms"\nrun = "2m"\nheartbeat = 1\n' + ACTION_TOML)
    budgets = load_settings().expectations.budgets
    assert (budgets.first_event_s, budgets.run_s, budgets.heartbeat_s) == (0.25, 120.0, 1.0)
    assert Seconds is not None


# The load


def load_of(text: str) -> LoadSettings:
    toml(f"[load]\n{text}")
    return load_settings().load


@pytest.mark.parametrize(
    ("text", "message", "duration_s"),
    [
        ("", "", 20),
        ("users = 3", "3 users", 20),
        ("rate = 2.5", "2.5 runs/s", 20),
        ('rate = 5\narrivals = "poisson"\nduration = "1m"', "Poisson arrivals, 5 runs/s", 60),
        ('ramp = "1:100:60s"', "ramp 1:100:60s", 60),
        ('steps = "10:30s,0:500ms,20:1m"', "steps 10:30s,0:500ms,20:1m", 90.5),
        ('spike = "10:100:20s:5s"\narrivals = "poisson"', "Poisson arrivals, spike 10:100:20s:5s", 45),
        ('steps = "10:30s,20:30s"\nduration = 7', "steps 10:30s,20:30s", 7),
    ],
)
def test_the_default_duration_is_that_of_the_schedule(text: str, message: str, duration_s: float) -> None:
    load = load_of(text)
    assert (load.describe, load.duration) == (message, duration_s)
    assert load.is_open == (text != "" and "users" not in text)


def test_shapes_in_numbers() -> None:
    assert parse_ramp("1:100.5:1m") == (1, 100.5, 60)
    assert parse_steps("10:30s,20:500ms") == [(10, 30), (20, 0.5)]
    assert parse_spike("0:100:0:5s") == (0, 100, 0, 5)


def test_an_open_loop_always_has_a_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_of("rate = 1\nseed = 7").seed == 7
    assert load_of("users = 1").seed is None
    drawn = {load_of("rate = 1").seed for _ in range(5)}
    assert len(drawn) == 5
    assert None not in drawn
    document = load_settings().document()
    assert document["load"]["seed"] == load_settings(flags=document_flags(document)).load.seed


def document_flags(document: dict[str, Any]) -> dict[str, Any]:
    return {"load": document["load"]}


def test_the_load_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "STEPS": "10:30s,20:30s",
        "SEED": "5",
        "WARMUP": "5s",
        "MAX_IN_FLIGHT": "9",
        "KEEP_STREAMS": "0",
    }.items():
        monkeypatch.setenv(f"HARNESS_LOAD__{name}", value)
    load = load_settings().load
    assert (load.steps, load.seed, load.warmup, load.max_in_flight, load.keep_streams) == (
        "10:30s,20:30s",
        5,
        5.0,
        9,
        0,
    )


def test_the_default_load() -> None:
    load = load_settings().load
    assert (load.warmup, load.keep_streams, load.max_in_flight, load.arrivals) == (
        0,
        1_000_000,
        None,
        "constant",
    )
    assert load.journeys.model_dump() == {
        "fresh": 50,
        "replay": 10,
        "resume": 15,
        "conflict": 5,
        "join": 5,
        "race": 5,
        "abandon": 5,
        "slow_reader": 5,
        "cancel": 0,
        "workflow": 0,
    }


def test_a_load_goes_to_another_process() -> None:
    load = load_of('ramp = "1:2:3s"\nmax_in_flight = 3\n[load.journeys]\njoin = 2')
    assert LoadSettings.from_message(load.model_dump(mode="json", exclude_none=True)) == load
    with pytest.raises(SettingsError, match=r"cannot run the master's load: .* are mutually exclusive"):
        LoadSettings.from_message({"rate": 1, "users": 1})


@pytest.mark.parametrize(
    ("given", "weights"),
    [(["fresh=1"], {"fresh": 1}), (["fresh=0", "slow_reader=30"], {"slow_reader": 30})],
)
def test_journeys_that_are_named_are_the_only_ones(given: list[str], weights: dict[str, int]) -> None:
    toml("[load.journeys]\nreplay = 5\n")
    load = load_settings(flags={"load": {"journeys": parse_journeys(given)}}).load
    assert {name: weight for name, weight in load.journeys.model_dump().items() if weight} == weights


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["frsh=1"], "unknown journey 'frsh'; did you mean 'fresh'?"),
        (["=1"], "unknown journey ''; known: fresh, replay,"),
        (["fresh"], "journey 'fresh' has the weight '', which is not a whole number; write fresh=1"),
        (["fresh=-1"], "journey 'fresh' has the weight '-1', which is not a whole number; write fresh=1"),
        (["fresh=1.5"], "has the weight '1.5', which is not a whole number"),
        (["fresh=1", "fresh=2"], "journey 'fresh' is given twice; write fresh=1"),
    ],
)
def test_journeys_that_are_wrong(given: list[str], message: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        parse_journeys(given)


# Traces


@pytest.mark.parametrize(
    ("text", "times_s"),
    [
        ("0\n1.5\n1.5\n2e1\n", [0, 1.5, 1.5, 20]),
        ("\n 0.5 \r\n\n3", [0.5, 3]),
        ("\ufeffarrival,user\n0.25,ann\n0.5,bob\n", [0.25, 0.5]),
        ('"seconds"\n"1"\n"2"\n', [1, 2]),
        ("0" * 1500 + "5\n", [5]),
    ],
)
def test_a_trace(text: str, times_s: list[float]) -> None:
    assert list(read_arrival_times(str(toml(text, "trace.csv")))) == times_s


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the trace trace.csv contains no arrival time; write one per line, in seconds"),
        ("seconds\n", "the trace trace.csv contains no arrival time"),
        ("0\n\n0.5x\n", "line 3 of the trace trace.csv: '0.5x' is not a time; write seconds from the start"),
        ("0\nfirst\n", "line 2 of the trace trace.csv: 'first' is not a time"),
        ("time 1\n2\n", "line 1 of the trace trace.csv: 'time 1' is not a time"),
        ("0\n,5\n", "line 2 of the trace trace.csv: '' is not a time"),
        (
            "3\n2.9\n",
            "line 2 of the trace trace.csv: 2.9 follows 3; sort the times in ascending order",
        ),
        ("-1\n", "line 1 of the trace trace.csv: -1 is not a time in a test; write seconds from the start"),
        ("604801\n", "line 1 of the trace trace.csv: 604801 is not a time in a test"),
        ("nan1\n", "line 1 of the trace trace.csv: 'nan1' is not a time"),
        ("0\nnan\n", "line 2 of the trace trace.csv: nan is not a time in a test"),
        ("0\ninf\n", "line 2 of the trace trace.csv: inf is not a time in a test"),
        ("1767225600.5\n", "line 1 of the trace trace.csv: 1767225600.5 is not a time in a test"),
    ],
)
def test_a_trace_that_is_wrong_names_the_line(text: str, message: str) -> None:
    toml(text, "trace.csv")
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        read_arrival_times("trace.csv")


def test_a_trace_that_is_not_text() -> None:
    Path("trace.csv").write_bytes(b"0\n\xff\n")
    with pytest.raises(ValueError, match=r"the trace trace\.csv is not UTF-8 text"):
        read_arrival_times("trace.csv")


def test_a_rewritten_trace_is_read_again() -> None:
    assert list(read_arrival_times(str(toml("1\n", "trace.csv")))) == [1]
    assert list(read_arrival_times(str(toml("1\n2\n", "trace.csv")))) == [1, 2]


def test_a_trace_includes_its_last_arrival() -> None:
    toml("0\n12\n", "trace.csv")
    assert load_of('trace = "trace.csv"').duration == 13
    assert load_of('trace = "trace.csv"\nduration = 5').duration == 5
    toml('[load]\ntrace = "trace.csv"\narrivals = "poisson"\n')
    assert "a trace sets the arrival times, so arrivals = 'poisson' cannot be combined with it" in sentence()


# Secrets


SECRET_TOML = (
    '[target]\nbase_url = "http://h"\ntoken = "s3cret-one"\nlast_event_id = true\n'
    '[target.second_principal]\ntoken = "s3cret-two"\norganization_id = "org-2"\n'
    '[target.other_route]\npath = "/agent/runs"\nbody = {a = [1, {b = "\\"ü"}]}\n'
    '[budgets]\nrun = 7\n[load]\nusers = 3\nduration = "1m"\n[objectives]\nttft_p95_ms = 800\n' + ACTION_TOML
)


def test_documents_and_reprs_contain_no_secrets() -> None:
    settings = load_settings(toml(SECRET_TOML))
    assert settings.secrets() == ("s3cret-one", "s3cret-two")
    document = settings.document()
    assert json.loads(json.dumps(document)) == document
    for shown in (json.dumps(document), repr(settings), str(settings)):
        assert "s3cret" not in shown
    assert document["target"]["token"] == "**********"
    assert document["target"]["base_url"] == "http://h"
    assert "rate" not in document["load"]


def test_what_is_secret_in_a_query_is_masked() -> None:
    paths = 'path = "/a?x=1&api_key=s3cret-one&code="\n[target.other_route]\npath = "/b?sig=s3cret-two"\n'
    settings = load_settings(toml(f"[target]\n{paths}{ACTION_TOML}"))
    assert settings.secrets() == ("s3cret-one", "s3cret-two")
    assert "s3cret" not in json.dumps(settings.document())


def test_an_empty_token_is_not_a_secret() -> None:
    assert load_settings(toml('[target]\ntoken = ""\n' + ACTION_TOML)).secrets() == ()


def test_the_private_file_is_readable_by_its_owner_only_and_round_trips(tmp_path: Path) -> None:
    settings = load_settings(toml(SECRET_TOML))
    path = tmp_path / "private.toml"
    path.write_text("as it was before")
    path.chmod(0o644)
    settings.write_private(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = load_settings(path)
    assert again.model_dump() == settings.model_dump()
    assert again.secrets() == settings.secrets()
    fresh = tmp_path / "fresh.toml"
    settings.write_private(fresh)
    assert stat.S_IMODE(fresh.stat().st_mode) == 0o600


def test_the_embedded_servers_settings_survive_the_private_file(tmp_path: Path) -> None:
    settings = load_settings()
    settings.write_private(tmp_path / "private.toml")
    assert load_settings(tmp_path / "private.toml").model_dump() == settings.model_dump()


@pytest.mark.parametrize(
    "action", [{"nothing": None}, {"list": [1, {"a": None}]}, {"deep": {"list": [None]}}]
)
def test_a_null_is_refused_because_toml_has_none(
    monkeypatch: pytest.MonkeyPatch, action: dict[str, Any]
) -> None:
    monkeypatch.setenv("HARNESS_TARGET__ACTIONS", json.dumps({"success": {**ACTION, **action}}))
    assert "target.actions.success': it contains null, which a settings file cannot contain" in sentence()


def test_settings_do_not_change() -> None:
    settings = load_settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.load = None
    assert isinstance(settings, Settings)


# The token file


def test_a_token_file() -> None:
    path = Path("token")
    path.write_text("  s3cret\n")
    assert read_token(path) == "s3cret"
    path.write_text(" \n")
    with pytest.raises(SettingsError, match="the token file token is empty"):
        read_token(path)
    path.write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="the token file token is not UTF-8 text: "):
        read_token(path)
    with pytest.raises(SettingsError, match="cannot read the token file none: "):
        read_token(Path("none"))


def test_objectives_can_name_a_journey_and_have_several_notations(tmp_path: Path) -> None:
    (tmp_path / "harness.toml").write_text(
        """
[objectives]
ttft_p95_ms = 800
resume.resume_p99_ms = "1.5s"
"join.error_rate" = "1%"
expressions = ["fresh.ttft_p50_ms < 300", "violations == 0"]
"""
    )
    settings = load_settings()
    assert settings.objectives == {
        "ttft_p95_ms": 800.0,
        "resume.resume_p99_ms": 1500.0,
        "join.error_rate": 0.01,
        "fresh.ttft_p50_ms": 300.0,
        "violations": 0.0,
    }
    settings.write_private(tmp_path / "private.toml")
    assert load_settings(tmp_path / "private.toml").objectives == settings.objectives
    assert Settings.model_validate(settings.document()).objectives == settings.objectives


def test_objectives_can_come_from_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_OBJECTIVES__TTFT_P95_MS", "0.8s")
    monkeypatch.setenv("HARNESS_OBJECTIVES__RESUME__ERROR_RATE", "0.01")
    assert load_settings().objectives == {"ttft_p95_ms": 800.0, "resume.error_rate": 0.01}


def test_a_mistake_in_an_expression_is_pointed_at_below_the_sentence() -> None:
    Path("harness.toml").write_text('[objectives]\nexpressions = ["resume.resume_p99 < 5"]\n')
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value) == (
        "setting 'objectives': objective 'resume.resume_p99 < 5' has the unknown name 'resume_p99'; did you mean "
        "'resume_p99_ms'? (from flags, HARNESS_* or harness.toml)\n"
        "    resume.resume_p99 < 5\n"
        "           ^^^^^^^^^^"
    )


def test_the_gate_has_its_own_settings() -> None:
    usual = load_settings().gate
    assert (usual.smallest_effect, usual.smallest_effect_ms, usual.smallest_effect_share) == (
        0.05,
        5.0,
        0.005,
    )
    assert usual.smallest_effect_inter_token_ms == 1.0
    assert (usual.inconclusive, usual.rerun_inconclusive, usual.keep) == ("pass", 0, 10)
    Path("harness.toml").write_text(
        '[gate]\nsmallest_effect = "10%"\nsmallest_effect_ms = 0\ninconclusive = "fail"\nrerun_inconclusive = 4\n'
    )
    terms = load_settings().gate.terms
    assert terms.effects == Effects(relative=0.1, ms=0.0, share=0.005, inter_token_ms=1.0)
    assert (terms.looks, terms.inconclusive_fails) == (5, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('smallest_effect = "5 percent"', "'5 percent' is not a share; write for example 5%"),
        ("smallest_effect = 5", "setting 'gate.smallest_effect': Input should be less than or equal to 1"),
        ("smallest_effect = 0", "setting 'gate.smallest_effect': Input should be greater than 0"),
        ('inconclusive = "maybe"', "setting 'gate.inconclusive': Input should be 'pass' or 'fail'"),
        ("keep = 0", "setting 'gate.keep': Input should be greater than or equal to 1"),
        ("smallest = 1", "unknown setting 'gate.smallest' in harness.toml; did you mean 'smallest_effect'?"),
    ],
)
def test_mistakes_in_the_gates_settings(text: str, message: str) -> None:
    Path("harness.toml").write_text(f"[gate]\n{text}\n")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert message in str(caught.value)


def test_a_command_with_a_nul_and_too_many_replicas_are_refused() -> None:
    """No process can get the one, and each of the other would be opened."""
    for values in (
        {"own": True, "restart_command": "a\0b"},
        {"replicas": [f"http://h{number}" for number in range(101)]},
    ):
        with pytest.raises(ValidationError, match="target"):
            Settings.model_validate({"target": values})


def test_loading_settings_makes_no_class_and_reads_a_profile_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every process of a load does it several times."""
    file = tmp_path / "harness.toml"
    monkeypatch.chdir(tmp_path)
    file.write_text('[target]\nprofile = "openai-chat"\n[load]\nusers = 3\n')
    first = load_settings(file)
    file.write_text("")
    again = load_settings(file)
    assert (first.load.users, again.load.users) == (3, LoadSettings().users)
    assert (first.target.profile, again.target.profile) == ("openai-chat", "workflow-actions")
    assert type(first) is type(again)
    assert library.load("openai-chat") is library.load("openai-chat")
    assert type(settings_alone({}, "a file")) is type(settings_alone({}, "a file"))
