from __future__ import annotations

import tomllib
from typing import Any

import pytest

from harness.config.settings import Actions
from harness.errors import SettingsError
from harness.setup.settings_draft import SettingsDraft, action_names, generous_budget_s, settings_text

ACTION = {"toolId": "t", "toolName": "T", "aiDescription": "says\n\"hello\" \\ 'there'", "runtimeScope": "x"}


def parsed(draft: SettingsDraft) -> dict[str, Any]:
    return tomllib.loads(settings_text(draft, "a test"))


def test_every_action_that_the_settings_know_can_be_given() -> None:
    assert set(action_names()) == set(Actions.model_fields)


def test_what_is_known_is_written_and_reads_back_the_same() -> None:
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
        seen={"conflict": "event", "last_event_id": True},
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


def test_what_is_not_known_is_left_as_a_comment() -> None:
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


def test_a_reason_stands_above_its_setting_and_stays_a_comment() -> None:
    draft = SettingsDraft(
        "http://h",
        organization_id="o",
        actions={"success": ACTION},
        seen={"conflict": "event"},
        notes={
            "conflict": "seen: it said\r\n[target]\nbase_url = 'http://evil'\x00\u2028x\x85y",
            "organization_id": "word " * 60,
        },
    )
    text = settings_text(draft, "a test")
    assert tomllib.loads(text)["target"]["base_url"] == "http://h"
    lines = text.splitlines()
    at = lines.index('conflict = "event"')
    assert lines[at - 1].startswith("# seen: it said [target] base_url = 'http://evil'")
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
def test_nor_by_another_way(place: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="the token stands in") as caught:
        settings_text(SettingsDraft("http://h", token="s3cret", organization_id="o", **place), "a test")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("value", [None, {"a": None}, [1, [None]]])
def test_null_cannot_be_written(value: Any) -> None:
    draft = SettingsDraft("http://h", organization_id="o", actions={"success": {"field": value}})
    with pytest.raises(SettingsError, match="field holds null"):
        settings_text(draft, "a test")


@pytest.mark.parametrize(("seen_s", "budget_s"), [(0.0, None), (5.0, None), (5.1, 16.0), (40.0, 120.0)])
def test_budgets_leave_room(seen_s: float, budget_s: float | None) -> None:
    assert generous_budget_s(seen_s, 10.0) == budget_s
