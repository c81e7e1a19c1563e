from __future__ import annotations

import tomllib
from typing import Any

import pytest

from harness.config.settings import Actions
from harness.errors import SettingsError
from harness.setup.settings_draft import SettingsDraft, action_names, settings_text, suggested_budget_s

ACTION = {"toolId": "t", "toolName": "T", "aiDescription": "says\n\"hello\" \\ 'there'", "runtimeScope": "x"}


def parsed(draft: SettingsDraft) -> dict[str, Any]:
    return tomllib.loads(settings_text(draft, "a test"))


def test_action_names_match_the_settings() -> None:
    assert set(action_names()) == set(Actions.model_fields)


def test_a_full_draft_reads_back_the_same() -> None:
    action = {
        **ACTION,
        "deep": {"list": [1, {"a.b": "é\u2028"}, []], "empty": {}},
        "with space": 1.5,
        "on": True,
    }
    draft = SettingsDraft(
        "http://h:1",
        path="/runs?x=1",
        organization_id="acme",
        token="s3cret",
        actions={"success": ACTION, "long": action},
        body={"source": "api", "user": {"id": 7}},
        observed={"conflict": "event", "last_event_id": True},
        budgets={"run": 300.0},
    )
    found = parsed(draft)
    assert found["target"] == {
        "base_url": "http://h:1",
        "path": "/runs?x=1",
        "organization_id": "acme",
        "conflict": "event",
        "last_event_id": True,
        "actions": {"success": ACTION, "long": action},
        "body": {"source": "api", "user": {"id": 7}},
    }
    assert found["budgets"] == {"run": 300.0}
    assert found["objectives"] == {"error_rate": 0.001, "violations": 0}


def test_more_actions_are_listed_only_if_there_are_any() -> None:
    assert "# More actions" in settings_text(
        SettingsDraft("http://h:1", organization_id="o", actions={"success": ACTION}), "a test"
    )
    every = SettingsDraft("http://h:1", organization_id="o", actions=dict.fromkeys(action_names(), ACTION))
    assert "More actions" not in settings_text(every, "a test")


def test_an_unknown_setting_is_a_comment() -> None:
    text = settings_text(
        SettingsDraft("http://h", organization_id="o", actions={"success": ACTION}), "a test"
    )
    for line in (
        '# conflict = "http-409"',
        '# resume_start = "replay"',
        "# last_event_id = true",
        "# heartbeat = 15.0",
        "# ttft_p95_ms = 800",
    ):
        assert line in text.splitlines()
    assert "# [target.actions.failure]" in text
    assert "verify_tls" not in text


def test_a_note_is_a_comment_above_its_setting() -> None:
    draft = SettingsDraft(
        "http://h",
        organization_id="o",
        actions={"success": ACTION},
        observed={"conflict": "event"},
        notes={
            "conflict": "observed: it said\r\n[target]\nbase_url = 'http://evil'\x00\u2028x\x85y",
            "organization_id": "word " * 60,
        },
    )
    text = settings_text(draft, "a test")
    assert tomllib.loads(text)["target"]["base_url"] == "http://h"
    lines = text.splitlines()
    at = lines.index('conflict = "event"')
    assert lines[at - 1].startswith("# observed: it said [target] base_url = 'http://evil'")
    assert max(len(line) for line in lines if line.startswith("# word")) <= 100


def test_the_token_is_not_written() -> None:
    text = settings_text(SettingsDraft("http://h", token="s3cret", organization_id="o"), "a test")
    assert "s3cret" not in text
    assert "HARNESS_TARGET__TOKEN" in text


@pytest.mark.parametrize(
    "place",
    [
        {"body": {"apiKey": "s3cret"}},
        {"actions": {"success": {"secret": "x s3cret y"}}},
        {"path": "/runs?token=s3cret"},
        {"notes": {"retry": "the server said s3cret"}},
    ],
)
def test_a_token_in_any_other_value_is_an_error(place: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="also contains the token") as caught:
        settings_text(SettingsDraft("http://h", token="s3cret", organization_id="o", **place), "a test")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("token", ["a", "data", "1", "target", 'q"uote\\s'])
def test_a_token_that_is_a_word_of_the_file_is_no_secret_in_it(token: str) -> None:
    draft = SettingsDraft("http://h", token=token, organization_id="o")
    assert tomllib.loads(settings_text(draft, "a test"))["target"]["base_url"] == "http://h"


def test_a_token_in_the_spelling_of_toml_is_an_error() -> None:
    draft = SettingsDraft("http://h", token='q"uote\\s', organization_id="o", body={"a": 'q"uote\\s'})
    with pytest.raises(SettingsError, match="also contains the token"):
        settings_text(draft, "a test")


def test_a_secret_in_a_query_is_an_error() -> None:
    draft = SettingsDraft("http://h", path="/runs?stream=true&api_key=s3cret", organization_id="o")
    with pytest.raises(SettingsError, match="the value of api_key") as caught:
        settings_text(draft, "a test")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("value", [None, {"a": None}, [1, [None]]])
def test_null_cannot_be_written(value: Any) -> None:
    draft = SettingsDraft("http://h", organization_id="o", actions={"success": {"field": value}})
    with pytest.raises(SettingsError, match="field contains null"):
        settings_text(draft, "a test")


@pytest.mark.parametrize(("observed_s", "budget_s"), [(0.0, None), (5.0, None), (5.1, 16.0), (40.0, 120.0)])
def test_budgets_leave_room(observed_s: float, budget_s: float | None) -> None:
    assert suggested_budget_s(observed_s, 10.0) == budget_s
