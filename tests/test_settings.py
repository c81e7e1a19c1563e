from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from harness.reference.settings import demo_config
from harness.settings import (
    Seconds,
    Settings,
    SettingsError,
    load_settings,
    parse_duration_s,
    read_token,
)

ACTION = {"toolId": "t", "toolName": "T", "aiDescription": "…", "runtimeScope": "test"}
ACTION_TOML = (
    '[target.actions.success]\ntoolId = "t"\ntoolName = "T"\naiDescription = "…"\nruntimeScope = "x"\n'
)


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory without settings, an environment without variables of ours."""
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


def test_a_flag_leaves_what_stands_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    toml(
        "[load]\nusers = 3\nduration = 7\n[load.journeys]\nfresh = 1\n[objectives]\nttft_p95_ms = 5\n"
        + ACTION_TOML
    )
    monkeypatch.setenv("HARNESS_LOAD__JOURNEYS__REPLAY", "0")
    load = load_settings(flags={"load": {"duration": "1m"}}).load
    assert (load.users, load.duration, load.spawn_rate) == (3, 60.0, None)
    assert load.journeys.model_dump() == {"fresh": 1, "replay": 0, "resume": 20, "conflict": 10}


def test_the_environment_takes_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_TARGET__ACTIONS", json.dumps({"success": ACTION}))
    monkeypatch.setenv("HARNESS_TARGET__BODY", '{"userTimezone": "Europe/Paris"}')
    monkeypatch.setenv("HARNESS_LOAD", '{"rate": 2.5}')
    settings = load_settings()
    assert settings.target.actions.success == ACTION
    assert settings.target.body == {"userTimezone": "Europe/Paris"}
    assert (settings.load.rate, settings.load.users) == (2.5, None)


def test_where_the_file_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def organization(config: Path | None = None) -> str:
        return load_settings(config).target.organization_id

    def telling(name: str) -> str:
        return f'[target]\norganization_id = "{name}"\n'

    assert organization() == "org-1"
    toml('[tool.other]\nx = 1\n[tool.harness.target]\norganization_id = "pyproject"\n', "pyproject.toml")
    assert organization() == "pyproject"
    toml(telling("here"))
    assert organization() == "here"
    monkeypatch.setenv("HARNESS_CONFIG", str(toml(telling("variable"), "variable.toml")))
    assert organization() == "variable"
    assert organization(toml(telling("named"), "named.toml")) == "named"


def test_a_project_without_settings_of_ours() -> None:
    toml('[project]\nname = "x"\n', "pyproject.toml")
    assert load_settings().target.organization_id == "org-1"


# The embedded server


def test_without_an_action_the_target_is_the_embedded_server() -> None:
    demo = demo_config(None)
    settings = load_settings()
    assert settings.target.actions.model_dump(exclude_none=True) == demo["target"]["actions"]
    assert settings.secrets() == ("demo-token", "demo-token-2")
    assert settings.target.base_url is None
    assert settings.expectations.budgets.heartbeat_s == demo["budgets"]["heartbeat"]
    assert settings.expectations.resume_start == "replay"


def test_what_is_given_wins_over_the_embedded_servers_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_TARGET__TOKEN", "mine")
    settings = load_settings(flags={"target": {"base_url": "http://127.0.0.1:8080"}})
    assert settings.target.base_url == "http://127.0.0.1:8080"
    assert settings.secrets() == ("mine", "demo-token-2")
    assert settings.target.actions.long is not None


def test_with_an_action_nothing_of_the_embedded_server_is_taken() -> None:
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
    said = str(caught.value)
    assert "\n" not in said.strip()
    return said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[targett]\n", "unknown setting 'targett' in harness.toml; did you mean 'target'?"),
        ("xyz = 3\n", "unknown setting 'xyz' in harness.toml; known here: target, budgets, load, objectives"),
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
        ("[objectives]\nttft_p95 = 1\n", "objective 'ttft_p95' is unknown; did you mean 'ttft_p95_ms'?"),
    ],
)
def test_an_unknown_key_in_the_file_names_the_nearest(text: str, said: str) -> None:
    toml(text)
    assert said in sentence()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "HARNESS_TARGT__TOKEN",
            "the environment variable HARNESS_TARGT__TOKEN sets no known setting; did you",
        ),
        ("HARNESS_TOKEN", "the environment variable HARNESS_TOKEN sets no known setting"),
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
def test_an_unknown_variable_names_the_nearest(monkeypatch: pytest.MonkeyPatch, name: str, said: str) -> None:
    monkeypatch.setenv(name, "1")
    assert said in sentence()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[load]\nusers = 1\nrate = 2\n", "setting 'load': users (closed loop) and rate (open loop) exclude"),
        ("[load]\nusers = 0\n", "setting 'load.users': "),
        ("[load]\nrate = 0\n", "setting 'load.rate': "),
        ("[load]\nrate = inf\n", "setting 'load.rate': "),
        ("[load]\nprocesses = 0\n", "setting 'load.processes': "),
        (
            '[load]\nduration = "5 days"\n',
            "setting 'load.duration': '5 days' is no duration; write seconds, or",
        ),
        ("[load.journeys]\nfresh=0\nreplay=0\nresume=0\nconflict=0\n", "every weight is 0"),
        ("[load.journeys]\nfresh = -1\n", "setting 'load.journeys.fresh': "),
        ("[budgets]\nrun = 0\n", "setting 'budgets.run': "),
        ("[budgets]\nrun = inf\n", "setting 'budgets.run': "),
        ("[budgets]\nrun = nan\n", "setting 'budgets.run': "),
        ('[budgets]\nrun = "inf"\n', "setting 'budgets.run': 'inf' is no duration"),
        ('[target]\nconflict = "422"\n', "setting 'target.conflict': "),
        ('[target]\npath = "agent"\n', "setting 'target.path': 'agent' does not begin with a slash"),
        ('[target]\npath = "/a b"\n', "or holds blanks"),
        ('[target]\nbase_url = "localhost:80"\n', "'localhost:80' is not of the form http[s]://host[:port]"),
        ('[target]\nbase_url = "http://h/agent"\n', "the path is a setting of its own"),
        ('[target]\nbase_url = "http://h?x=1"\n', "is not of the form"),
        ('[target]\nbase_url = "http://a b"\n', "is not of the form"),
        ("target = 3\n", "setting 'target': "),
        ("[target]\nactions = []\n", "setting 'target.actions': "),
        ("[objectives]\nttft_p95_ms = -1\n", "objective ttft_p95_ms: the limit must be a number from 0 up"),
        ("[target\n", "the settings file harness.toml is not valid TOML: "),
        ("a = 1\na = 2\n", "the settings file harness.toml is not valid TOML: "),
    ],
)
def test_a_bad_value_is_named_with_its_place(text: str, said: str) -> None:
    toml(text)
    assert said in sentence()


@pytest.mark.parametrize(
    "token", ["two\\nlines", "a\\rb", "tab\\tbed", "caf\\u00e9", "with blank", "\\u0000", "\\u2028"]
)
def test_a_token_that_no_header_can_carry_is_refused_and_not_shown(token: str) -> None:
    toml(f'[target]\ntoken = "secret{token}"\n')
    said = sentence()
    assert said.startswith("setting 'target.token': ")
    assert "secret" not in said


def test_a_url_with_credentials_is_refused_and_they_are_not_shown() -> None:
    toml('[target]\nbase_url = "http://user:s3cret@h"\n')
    said = sentence()
    assert "target.base_url" in said
    assert "s3cret" not in said


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
    assert sentence(tmp_path) == f"cannot read the settings file {tmp_path}: Is a directory"
    Path("latin.toml").write_bytes(b'[target]\ntoken = "\xff"\n')
    assert sentence(Path("latin.toml")).startswith("the settings file latin.toml is not valid TOML: ")
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
def test_what_is_no_duration(given: str) -> None:
    with pytest.raises(ValueError, match="is no duration; write seconds, or a number with ms, s, m or h"):
        parse_duration_s(given)


def test_durations_are_read_wherever_seconds_are_asked_for() -> None:
    toml('[budgets]\nfirst_event = "250ms"\nrun = "2m"\nheartbeat = 1\n' + ACTION_TOML)
    budgets = load_settings().expectations.budgets
    assert (budgets.first_event_s, budgets.run_s, budgets.heartbeat_s) == (0.25, 120.0, 1.0)
    assert Seconds is not None


# Secrets


SECRET_TOML = (
    '[target]\nbase_url = "http://h"\ntoken = "s3cret-one"\nlast_event_id = true\n'
    '[target.second_principal]\ntoken = "s3cret-two"\norganization_id = "org-2"\n'
    '[target.other_route]\npath = "/agent/runs"\nbody = {a = [1, {b = "\\"ü"}]}\n'
    '[budgets]\nrun = 7\n[load]\nusers = 3\nduration = "1m"\n[objectives]\nttft_p95_ms = 800\n' + ACTION_TOML
)


def test_secrets_stand_in_no_document_and_no_repr() -> None:
    settings = load_settings(toml(SECRET_TOML))
    assert settings.secrets() == ("s3cret-one", "s3cret-two")
    document = settings.document()
    assert json.loads(json.dumps(document)) == document
    for shown in (json.dumps(document), repr(settings), str(settings)):
        assert "s3cret" not in shown
    assert document["target"]["token"] == "**********"
    assert document["target"]["base_url"] == "http://h"
    assert "rate" not in document["load"]


def test_an_empty_token_is_no_secret() -> None:
    assert load_settings(toml('[target]\ntoken = ""\n' + ACTION_TOML)).secrets() == ()


def test_the_private_file_is_the_owners_alone_and_brings_the_same_settings(tmp_path: Path) -> None:
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
def test_a_null_which_the_private_file_could_not_hold(
    monkeypatch: pytest.MonkeyPatch, action: dict[str, Any]
) -> None:
    monkeypatch.setenv("HARNESS_TARGET__ACTIONS", json.dumps({"success": {**ACTION, **action}}))
    assert "it holds null, which a settings file cannot" in sentence()


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
    with pytest.raises(SettingsError, match="cannot read the token file token: "):
        read_token(path)
    with pytest.raises(SettingsError, match="cannot read the token file none: "):
        read_token(Path("none"))
