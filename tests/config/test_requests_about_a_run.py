"""Requests about a run that was started before: to cancel it, and to ask how it ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.config.settings import Settings
from harness.config.target import Target
from harness.errors import SettingsError
from harness.profiles.capability import Capability
from tests.config.test_target import LANGGRAPH, openai, target

CANCEL = {"path": "/agent/runs/${run_id}/cancel"}
AGNO = {"base_url": "http://127.0.0.1:9", "profile": "agno", "variables": {"agent": "a b"}, "token": "one"}


def of(settings: dict[str, Any]) -> Target:
    return Target(Settings.model_validate({"target": settings}))


def test_the_request_that_cancels_a_run_is_that_of_the_settings() -> None:
    one = target(cancel=CANCEL)
    request = one.cancel(one.run("long", run_id="r 1/2"))
    assert (request.method, request.target, request.body) == ("POST", "/agent/runs/r%201%2F2/cancel", b"")
    assert (request.header("authorization"), request.header("accept")) == ("Bearer one", "*/*")
    assert one.cancel(one.run("long"), "told").target == "/agent/runs/told/cancel"
    assert one.cancel(one.run("long", run_id="chosen"), "told").target == "/agent/runs/told/cancel"


def test_a_request_that_cancels_a_run_may_have_a_body_and_another_method() -> None:
    one = target(cancel={"path": "/stop", "method": "PUT", "body": {"runs": ["${run_id}"]}})
    request = one.cancel(one.run("long", run_id="r"))
    assert (request.method, request.target, request.json()) == ("PUT", "/stop", {"runs": ["r"]})
    assert request.header("content-type") == "application/json"


def test_the_settings_make_cancellation_a_promise() -> None:
    assert Capability.CANCEL not in target().profile.capabilities
    assert Capability.CANCEL in target(cancel=CANCEL).profile.capabilities
    ends_with_its_reader = target(cancel={"disconnect": True}).profile.capabilities
    assert Capability.CANCEL in ends_with_its_reader
    assert Capability.RESUME not in ends_with_its_reader
    assert target(cancel=CANCEL).profile.name == "workflow-actions"


def test_the_request_that_cancels_a_run_is_that_of_the_profile() -> None:
    one = of(AGNO)
    assert one.cancel(one.run("success"), "r").target == "/agents/a%20b/runs/r/cancel"
    graph = of(LANGGRAPH)
    run = graph.run_with({**graph.values("success"), "thread_id": "t"})
    assert graph.cancel(run, "r").target == "/threads/t/runs/r/cancel?wait=false"
    outcome = graph.outcome(run, "r")
    assert (outcome.method, outcome.target) == ("GET", "/threads/t/runs/r")


def test_what_the_api_does_not_have_is_named() -> None:
    one = target(cancel=CANCEL)
    with pytest.raises(LookupError, match="no id of the run is known"):
        one.cancel(one.run("long"))
    with pytest.raises(LookupError, match="openai-chat has no request that cancels a run"):
        openai().cancel(openai().run("success"), "r")
    with pytest.raises(LookupError, match="workflow-actions has no request for a run's outcome"):
        one.outcome(one.run("long", run_id="r"))
    by_disconnecting = target(cancel={"disconnect": True})
    with pytest.raises(LookupError, match="workflow-actions has no request that cancels a run"):
        by_disconnecting.cancel(by_disconnecting.run("long"), "r")
    with pytest.raises(LookupError, match="promises no run id that the client chooses"):
        openai().run("success", run_id="r")
    with pytest.raises(LookupError, match="openai-chat promises no "):
        openai().step("success", "session", [])


def test_an_organization_that_is_no_text_is_none_to_an_api_without_organizations() -> None:
    settings = {"base_url": "http://h", "profile": "openai-chat", "variables": {"model": "m"}}
    assert of({**settings, "body": {"organizationId": 7}}).principal.organization_id == ""


@pytest.mark.parametrize(
    ("cancel", "message"),
    [
        ({}, "target.cancel: cancel: cancel needs a request or disconnect = true, and not both"),
        ({"path": "/c", "disconnect": True}, "and not both"),
        ({"path": "no slash"}, "target.cancel: cancel.request.path"),
        ({"path": "/${what}/cancel"}, "target.cancel: .cancel. uses ..what., which is nowhere defined"),
    ],
)
def test_a_wrong_way_to_cancel(cancel: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        target(cancel=cancel)


def test_a_run_that_is_resumed_only_after_an_event_is_not_asked_for_from_its_first(tmp_path: Path) -> None:
    profile = tmp_path / "mine.toml"
    profile.write_text(
        'name = "mine"\nrun = { path = "/", json = {} }\n'
        'events = { token = "t", done = "d", run_id = "data.run" }\nids = { at = "id" }\n'
        'resume = { from = "after", method = "GET", path = "/${run_id}?after=${last_id}" }\n'
    )
    one = of({"base_url": "http://127.0.0.1:9", "profile": str(profile)})
    run = one.run("success")
    assert one.resumption(run, "r", "7").target == "/r?after=7"
    for ask in (one.resumption, one.again):
        with pytest.raises(LookupError, match="only after an event that the client names"):
            ask(run, "r")


@pytest.mark.parametrize("unusable_id", ["a\r\nX: y", "\ud800", "\x1b[31m", "x" * 10_000])
def test_an_id_that_no_request_can_have_is_as_good_as_none(unusable_id: str) -> None:
    one = of(AGNO)
    run = one.run("success")
    assert not one.knows_run(run, unusable_id, to_resume=True)
    with pytest.raises(LookupError, match="no id of the run is known"):
        one.cancel(run, unusable_id)
    chosen = target(cancel=CANCEL)
    assert (
        chosen.cancel(chosen.run("long", run_id="chosen"), unusable_id).target == "/agent/runs/chosen/cancel"
    )
    graph = of(LANGGRAPH)
    again = graph.run_with({**graph.values("success"), "thread_id": "t"})
    with pytest.raises(LookupError, match="no request can have the id of the event"):
        graph.resumption(again, "r", unusable_id)
