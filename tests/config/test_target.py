from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from harness.config.settings import Settings
from harness.config.sources import load_settings
from harness.config.target import CreationError, Principal, Target
from harness.contract.exchange import Exchange
from harness.contract.rules.rule import Need
from harness.errors import SettingsError
from harness.profiles.prompts import PROMPTS
from harness.protocol.request import HttpRequest
from tests.contract.exchanges import no_answer, reply

ACTION = {"toolId": "t", "toolName": "T", "aiDescription": "…", "runtimeScope": "test"}


def target(**values: Any) -> Target:
    settings = {
        "base_url": "http://127.0.0.1:9",
        "organization_id": "org-1",
        "token": "one",
        "actions": {"success": ACTION, "long": {**ACTION, "tokens": 9}},
        **values,
    }
    return Target(Settings.model_validate({"target": settings}))


def test_a_request_for_a_run() -> None:
    request = target(path="/runs", organization_id="org-7").run("success")
    assert (request.method, request.target) == ("POST", "/runs")
    assert request.header("authorization") == "Bearer one"
    assert request.header("content-type") == "application/json"
    assert request.header("accept") == "text/event-stream"
    body = request.json()
    assert body == {"organizationId": "org-7", "sessionId": body["sessionId"], "workflowAction": ACTION}


def test_each_run_has_its_own_key_and_session() -> None:
    one = target()
    first, second = one.run("success"), one.run("success")
    assert first.header("idempotency-key") != second.header("idempotency-key")
    assert first.json()["sessionId"] != second.json()["sessionId"]
    assert one.run("long", key="k", run_id="r").header("idempotency-key") == "k"
    assert one.run("long", run_id="r").json()["runId"] == "r"
    assert "runId" not in first.json()
    assert one.post({}).header("idempotency-key") is None


def test_configured_fields_are_in_every_body() -> None:
    one = target(body={"userTimezone": "Europe/Paris", "sessionId": "fixed"})
    body = one.body(ACTION, organization_id="other", run_id="r")
    assert body == {
        "organizationId": "other",
        "sessionId": "fixed",
        "workflowAction": ACTION,
        "userTimezone": "Europe/Paris",
        "runId": "r",
    }


def test_the_organization_may_be_in_the_body() -> None:
    one = target(organization_id=None, body={"organizationId": "org-9"})
    assert one.principal.organization_id == one.body(ACTION)["organizationId"] == "org-9"


@pytest.mark.parametrize("token", [None, ""])
def test_without_a_token_there_is_no_authorization_field(token: str | None) -> None:
    assert target(token=token).run("success").header("authorization") is None


def test_a_second_principal_and_a_different_path() -> None:
    assert target().second_principal is None
    one = target(second_principal={"token": "two", "organization_id": "org-2"})
    assert one.second_principal == Principal("two", "org-2")
    assert one.secrets == ("one", "two")
    request = one.post({"a": "ü"}, principal=one.second_principal, path="/elsewhere")
    assert (request.target, request.header("authorization")) == ("/elsewhere", "Bearer two")
    assert request.body == '{"a": "ü"}'.encode()


def test_an_action_that_is_not_configured() -> None:
    assert target().action("quiet") is None
    with pytest.raises(LookupError, match=r"\[target\.actions\.quiet\] is not configured"):
        target().run("quiet")


def test_a_different_body_differs_in_one_value() -> None:
    one = target()
    request = one.run("success")
    other = one.conflicting(request)
    assert other.headers == request.headers
    assert {name for name, value in request.json().items() if other.json()[name] != value} == {"sessionId"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"base_url": None}, "no target is set: use --target URL"),
        (
            {"actions": {"long": ACTION}},
            r"no action is configured: .*\[target.actions.success\].*harness init",
        ),
        ({"organization_id": None}, "no organization is configured: use --organization ORG"),
        ({"organization_id": None, "body": {"organizationId": 7}}, "no organization is configured"),
        (
            {"base_url": "https://h", "ca_file": "/none.pem"},
            "cannot read target.ca_file /none.pem: No such file",
        ),
        ({"base_url": "http://h:99999"}, "target 'http://h:99999' is not a URL of the form"),
        ({"base_url": "http://a..b"}, "target 'http://a..b' is not a URL of the form"),
    ],
)
def test_an_invalid_target(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        target(**values)


def test_a_ca_file_that_is_not_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "text").write_text("not a certificate")
    for name, clause in (("pipe", "it is a named pipe"), ("text", "")):
        with pytest.raises(SettingsError, match=f"cannot read target.ca_file .*{name}: {clause}"):
            target(base_url="https://h", ca_file=str(tmp_path / name))


def test_a_step_of_the_workflow_needs_its_action() -> None:
    settings = Settings.model_validate(
        {
            "target": {
                "base_url": "http://h",
                "organization_id": "o",
                "actions": {"success": ACTION},
            },
            "load": {"journeys": {"workflow": 1}},
            "journeys": {"workflow": {"steps": ["success", "quiet"]}},
        }
    )
    with pytest.raises(SettingsError, match=r"journeys\.workflow\.steps has 'quiet'"):
        Target(settings)


def test_a_token_is_in_no_message_and_a_response_is_asked_for_without_a_coding() -> None:
    one = target(token="s3cret-token")
    assert "s3cret-token" not in repr(one.principal)
    assert one.run("success").header("accept-encoding") == "identity"


def test_the_profile_of_a_target_is_its_api() -> None:
    assert target().profile.name == "workflow-actions"
    assert openai().profile.name == "openai-chat"


def test_an_unknown_profile_is_named_with_what_is_near() -> None:
    with pytest.raises(SettingsError, match="there is no profile 'openai-chats'; did you mean openai-chat"):
        load_settings(flags={"target": {"profile": "openai-chats"}})


def openai(**values: Any) -> Target:
    settings = {
        "base_url": "http://127.0.0.1:9",
        "profile": "openai-chat",
        "variables": {"model": "m"},
        **values,
    }
    return Target(Settings.model_validate({"target": settings}))


def test_an_endpoint_that_takes_a_prompt_needs_no_action() -> None:
    request = openai(token="one").run("success")
    assert (request.method, request.target) == ("POST", "/v1/chat/completions")
    assert request.header("authorization") == "Bearer one"
    assert request.header("content-type") == "application/json"
    assert request.header("idempotency-key") is None
    body = request.json()
    assert (body["model"], body["stream"]) == ("m", True)
    assert body["messages"] == [{"role": "user", "content": PROMPTS["success"]}]


def test_an_action_is_a_prompt_or_variables() -> None:
    one = openai(actions={"success": "Say hello", "long": {"prompt": "Count", "model": "slow"}})
    assert one.run("success").json()["messages"][0]["content"] == "Say hello"
    body = one.run("long").json()
    assert (body["model"], body["messages"][0]["content"]) == ("slow", "Count")
    echoed = build_run(one, "echo", text="a <b>\n")
    assert echoed.json()["messages"][0]["content"].endswith("else: a <b>\n")


def test_an_action_without_a_prompt_is_refused_for_an_api_that_takes_one() -> None:
    """As a file for workflow actions has them, if only --profile is given."""
    with pytest.raises(
        SettingsError, match=r"target\.actions\.success has no prompt, which the profile openai-chat"
    ):
        openai(actions={"success": {"toolId": "echo"}})
    with pytest.raises(SettingsError, match=r"target\.actions\.long has no prompt"):
        openai(actions={"long": {"model": "slow"}})


def build_run(one: Target, action: str, text: str | None = None) -> HttpRequest:
    return one.run_with(one.values(action, text))


def test_an_echo_action_has_the_text_at_any_depth() -> None:
    one = openai(actions={"echo": {"prompt": "{text}", "model": {"list": ["{text}", 1]}}})
    assert one.values("echo", "x")["model"] == {"list": ["x", 1]}


def test_what_offers_a_situation_has_a_prompt() -> None:
    one = openai()
    offered = {need for need in Need if one.offers(need)}
    assert offered == {Need.LONG_ACTION, Need.ECHO_ACTION}
    with pytest.raises(LookupError, match=r"\[target\.actions\.failure\] is not configured"):
        one.run("failure")


def test_own_header_fields_and_members_of_the_body() -> None:
    one = openai(headers={"x-api-key": "secret-key-1", "Accept": "*/*"}, body={"temperature": 0})
    request = one.run("success")
    assert (request.header("x-api-key"), request.header("accept")) == ("secret-key-1", "*/*")
    assert request.json()["temperature"] == 0
    assert one.secrets == ("secret-key-1",)


def test_a_conflicting_request_has_another_prompt_and_the_same_key() -> None:
    one = Target(
        Settings.model_validate(
            {"target": {"base_url": "http://127.0.0.1:9", "profile": "agno", "variables": {"agent": "a b"}}}
        )
    )
    first = one.run("success")
    other = one.conflicting(first)
    assert first.target == other.target == "/agents/a%20b/runs"
    assert first.header("idempotency-key") == other.header("idempotency-key") is not None
    assert first.body != other.body
    assert b"another request" in other.body
    session = first.values["session_id"].encode()
    assert session in first.body
    assert session in other.body
    assert first.header("content-type").startswith("multipart/form-data; boundary=")


@pytest.mark.parametrize("value", ["a\r\nX-Other: b", "a\nb", "a\x00b", "a\x7f"])
def test_a_variable_that_no_header_field_can_have_is_refused_before_any_request(
    tmp_path: Path, value: str
) -> None:
    profile = tmp_path / "mine.toml"
    profile.write_text(
        'name = "mine"\nneeds = { tenant = "the tenant" }\n'
        'run = { path = "/", json = {}, headers = { X-Tenant = "${tenant}" } }\nevents = { token = "t", done = "d" }\n'
    )
    with pytest.raises(
        SettingsError, match=r"target\.variables or target\.headers: the header field X-Tenant"
    ):
        openai(profile=str(profile), variables={"tenant": value})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"variables": {}}, r"the profile openai-chat needs the variable model \(.*\): use --model NAME"),
        ({"variables": {"model": "m", "modle": "x"}}, "target.variables has 'modle', which the profile"),
    ],
)
def test_variables_that_are_missing_or_unknown(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        openai(**values)


def test_a_conflicting_request_has_the_header_fields_of_the_first() -> None:
    for one in (target(), openai(token="one")):
        first = one.run("success").with_header("Authorization", None)
        other = one.conflicting(first)
        assert sorted(other.headers) == sorted(first.headers)
        assert other.body != first.body


AGNO = {"base_url": "http://127.0.0.1:9", "profile": "agno", "variables": {"agent": "a"}}


@pytest.mark.parametrize(
    ("one", "name"),
    [(openai(), "messages"), (Target(Settings.model_validate({"target": AGNO})), "message")],
    ids=["json", "form"],
)
def test_a_body_without_a_required_field(one: Target, name: str) -> None:
    valid = one.run("success")
    lacking = one.without(valid, name)
    field = f'"{name}"'.encode()
    assert field in valid.body
    assert field not in lacking.body
    assert (lacking.method, lacking.target) == (valid.method, valid.target)
    if one.key_of(valid) is not None:
        assert one.key_of(lacking) not in {None, one.key_of(valid)}


MCP = {"tool": "t", "arguments": {}}
LANGGRAPH = {"base_url": "http://127.0.0.1:9", "profile": "langgraph", "variables": {"assistant": "a"}}


def test_a_run_uses_what_the_answer_before_it_gave() -> None:
    one = Target(Settings.model_validate({"target": LANGGRAPH}))
    values = one.values("success")
    (step,) = one.profile.before_run
    creation = one.creation(step, values)
    assert (creation.method, creation.target) == ("POST", "/threads")
    kept = one.kept(step, reply(200, b'{"thread_id": "t 1"}', {"Content-Type": "application/json"}))
    assert kept == {"thread_id": "t 1"}
    assert one.run_with({**values, **kept}).target == "/threads/t%201/runs/stream"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (reply(500), "was not accepted"),
        (no_answer(), "was not accepted"),
        (reply(200, b"{}"), "did not tell thread_id"),
        (reply(200, b"<p>"), "did not tell thread_id"),
        (reply(200, b"[" * 100_000), "did not tell thread_id"),
        (reply(200, b'{"thread_id": "t"' + b" " * 2**20 + b"}"), "did not tell thread_id"),
        (reply(200, b'{"thread_id": 1e999}'), "reported a thread_id that no request can have"),
        (reply(200, b'{"thread_id": "a\\r\\nX: y"}'), "reported a thread_id that no request can have"),
        (reply(200, b'{"thread_id": "\\ud800"}'), "reported a thread_id that no request can have"),
        (
            reply(200, b'{"thread_id": "' + b"x" * 10_000 + b'"}'),
            "reported a thread_id that no request can have",
        ),
    ],
)
def test_an_answer_that_lacks_what_a_run_needs(answer: Exchange, message: str) -> None:
    one = Target(Settings.model_validate({"target": LANGGRAPH}))
    with pytest.raises(CreationError, match=message):
        one.kept(one.profile.before_run[0], answer)


def test_an_endpoint_with_nothing_before_its_runs() -> None:
    assert openai().profile.before_run == ()


def test_requests_to_the_endpoint_follow_its_path() -> None:
    target = {"base_url": "http://127.0.0.1:9", "profile": "mcp", "path": "/api/mcp", "variables": MCP}
    one = Target(Settings.model_validate({"target": target}))
    values = {**one.values("success"), "session": "s-1"}
    sent = [one.creation(step, values) for step in one.profile.before_run]
    run = one.run_with(values)
    assert {request.target for request in (*sent, run, one.resumption(run, None, "7"))} == {"/api/mcp"}
    langgraph = Target(Settings.model_validate({"target": {**LANGGRAPH, "path": "/p/${thread_id}"}}))
    (step,) = langgraph.profile.before_run
    assert langgraph.creation(step, {}).target == "/threads"


def test_each_request_before_a_run_has_what_the_earlier_ones_keep() -> None:
    target = {"base_url": "http://127.0.0.1:9", "profile": "mcp", "variables": MCP}
    one = Target(Settings.model_validate({"target": target}))
    values = one.values("success")
    first, second = one.profile.before_run
    assert one.creation(first, values).json()["method"] == "initialize"
    values |= one.kept(first, reply(200, b"{}", {"Mcp-Session-Id": "s-1"}))
    notification = one.creation(second, values)
    assert (notification.json()["method"], notification.header("mcp-session-id")) == (
        "notifications/initialized",
        "s-1",
    )
    assert one.kept(second, reply(202)) == {}
    assert one.run_with(values).header("mcp-session-id") == "s-1"
