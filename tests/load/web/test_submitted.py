"""What the start form may contain: the target is fixed, there are no file names, and numbers have bounds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.errors import SettingsError
from harness.load.web.submitted import FormOption, FormRules, is_path
from tests.cases import all_cases

TARGET = "https://agent.example.com"


def rules(**options: FormOption) -> FormRules:
    return FormRules(
        target=TARGET,
        options={"region": FormOption(frozenset({"eu"})), **options},
        user_classes=frozenset({"AgentRuns"}),
        shape_classes=frozenset({"Default"}),
    )


def check(found: FormRules | None = None, **form: str | list[str]) -> None:
    values = {name: value if isinstance(value, list) else [value] for name, value in form.items()}
    (found or rules()).check(values)


def test_what_locusts_script_submits_is_accepted() -> None:
    check(
        host=TARGET,
        user_count="10",
        spawn_rate="2.5",
        run_time="20m",
        profile="",
        user_classes=["AgentRuns"],
        shape_class="Default",
        region="us",
    )
    check(host=f"{TARGET}/ ", user_count="0")
    check(host="")


@pytest.mark.parametrize(
    "host",
    [
        "http://evil.example",
        "http://agent.example.com",
        f"{TARGET}:444",
        f"{TARGET}.evil.example",
        f"{TARGET}@evil.example",
        f"<{TARGET}",
        "HTTPS://AGENT.EXAMPLE.COM",
    ],
)
def test_the_target_cannot_be_changed(host: str) -> None:
    """Locust's view takes the host even out of a form whose other fields are wrong."""
    with pytest.raises(SettingsError, match=f"Host: this page tests {TARGET} only"):
        check(host=host, user_count="many")
    with pytest.raises(SettingsError, match="Host: "):
        check(host=[TARGET, host])


@all_cases(
    "name",
    [
        *(
            "harness_out",
            "harness_live",
            "csv_prefix",
            "html_file",
            "json_file",
            "logfile",
            "locustfile",
            "tls_key",
        ),
        *(
            "stop_timeout",
            "headless",
            "tags",
            "users",
            "num_users",
            "open_loop_trace",
            "web_login",
            "",
            "__class__",
        ),
    ],
)
def test_other_options_of_the_command_line_are_no_fields(name: str) -> None:
    with pytest.raises(SettingsError, match="the form has no field"):
        check(**{name: "1"})


@all_cases(
    ("field", "value", "sentence"),
    [
        ("user_count", "many", "User count: 'many' is not a whole number"),
        ("user_count", "1.5", "User count: '1.5' is not a whole number"),
        ("user_count", "9" * 5000, "User count: it is too long"),
        ("user_count", "", "User count: '' is not a whole number"),
        ("spawn_rate", "quick", "Spawn rate: 'quick' is not a number"),
        ("region", "e\nu", "Region: it is too long or contains a control character"),
        ("region", "e\x00u", "Region: it is too long or contains a control character"),
        ("region", "\x1b[2J", "Region: it is too long or contains a control character"),
        ("region", "x" * 1001, "Region: it is too long or contains a control character"),
        ("user_classes", "Other", "User classes: unknown user class 'Other'"),
        ("shape_class", "Other", "Shape class: unknown shape class 'Other'"),
    ],
)
def test_a_wrong_value_is_one_sentence(field: str, value: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as found:
        check(**{field: value})
    assert str(found.value).startswith(sentence)
    assert "\n" not in str(found.value)
    assert len(str(found.value)) < 200


@all_cases(
    "value",
    [
        *(
            "/etc/passwd",
            "~/x",
            "~root/x",
            "./x",
            "../x",
            "a/../../x",
            "file:///etc/passwd",
            "FILE:x",
            "//host/share",
        ),
        *(
            "@/etc/passwd",
            "name=/etc/passwd",
            "a, /etc/passwd",
            "a;/dev/zero",
            "C:\\x",
            "\\\\host\\share",
            "'/x'",
        ),
        *("https://h/x /etc/passwd", "a:b=~/x", "[/x]", "/"),
    ],
)
def test_the_names_of_files(value: str) -> None:
    assert is_path(value)
    with pytest.raises(SettingsError, match="Region: the form takes no file names"):
        check(region=value)
    with pytest.raises(SettingsError, match="Region: the form takes no file names"):
        check(region=["eu", value])
    with pytest.raises(SettingsError, match="Profile: the form takes no file names"):
        check(profile=value)


@pytest.mark.parametrize(
    "value",
    ["eu", "https://a.example/b?c=/d", "http://h/../x", "application/json", "a/b", "3.5", "a.b", "x~y"],
)
def test_what_is_no_name_of_a_file(value: str) -> None:
    assert not is_path(value)
    check(region=value)


def test_a_name_under_which_there_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a name needs no slash. Nothing is opened: the FIFO would never end."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    (tmp_path / "to-nowhere").symlink_to("nowhere")
    (tmp_path / "eu-west").mkdir()
    (tmp_path / "eu-west" / "file").touch()
    for value in ("pipe", "a,pipe", "name=pipe", "to-nowhere", "eu-west/file"):
        with pytest.raises(SettingsError, match="takes no file names"):
            check(region=value)
    check(region="eu-west")  # a folder of this name is a coincidence


def test_an_option_for_files_takes_no_other_value_than_the_command_lines() -> None:
    found = rules(data=FormOption(frozenset({"/data/users.csv"}), names_file=True))
    check(found, data="/data/users.csv")
    with pytest.raises(SettingsError, match="Data: the form takes no file names"):
        check(found, data="passwords")


def test_a_trace_is_that_of_the_command_line_or_none() -> None:
    found = rules(open_loop_trace=FormOption(frozenset({"/data/times"}), choices=("", "/data/times")))
    check(found, open_loop_trace="/data/times")
    check(found, open_loop_trace="")
    with pytest.raises(
        SettingsError, match="Open loop trace: '/etc/passwd' is not one of: nothing, /data/times"
    ):
        check(found, open_loop_trace="/etc/passwd")


def test_the_class_picker_changes_weights_but_no_target() -> None:
    known = {"host": None, "weight": 1, "fixed_count": 0, "tasks": ["a"]}
    rules().check_user_class({"user_class_name": "AgentRuns", **known, "weight": 3, "tasks": []}, known)
    for changed, sentence in (
        ({"host": "http://evil.example"}, "Host: the target of a user class is set in the locustfile"),
        ({"on_start": "x"}, "a user class has no such field"),
        ({"weight": 10**9}, "Weight: 1,000,000,000 is not between"),
        ({"fixed_count": "x"}, "Fixed count: 'x' is not a whole number"),
        ({"tasks": "a"}, "Tasks: it is not a list of names"),
        ({"tasks": [1]}, "Tasks: it is not a list of names"),
    ):
        with pytest.raises(SettingsError, match=sentence):
            rules().check_user_class({**known, **changed}, known)
    with pytest.raises(SettingsError, match="a user class has no such field"):
        rules().check_user_class(["x"], known)
