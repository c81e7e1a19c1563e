"""A request or an answer shows which profile an API has."""

from __future__ import annotations

from typing import Any

import pytest

from harness.profiles import library
from harness.profiles.recognition import recognize_answer, recognize_request
from tests.profiles.test_captures import answer

CHAT = {"model": "m-1", "messages": [{"role": "user", "content": "Hello"}]}
AGENT = {"threadId": "t", "runId": "r", "messages": [{"id": "m", "role": "user", "content": "Hello"}]}
RUN = {"organizationId": "o", "sessionId": "s", "workflowAction": {"toolId": "t"}}


@pytest.mark.parametrize(
    ("path", "body", "profile"),
    [
        ("/v1/chat/completions", CHAT, "openai-chat"),
        ("/openai/deployments/d/v1/chat/completions?api-version=1", CHAT, "openai-chat"),
        ("/v1/messages", {**CHAT, "max_tokens": 9}, "anthropic-messages"),
        ("/", AGENT, "ag-ui"),
        ("/agent/workflow-actions", RUN, "workflow-actions"),
        ("/v1/chat/completions", {"messages": []}, None),
        ("/v1/completions", CHAT, None),
        ("/v2/v1/chat/completions/more", CHAT, None),
        ("/agents", AGENT, None),
        ("/api/runs", {"input": "x"}, None),
    ],
)
def test_a_request_is_recognized_by_path_and_body(
    path: str, body: dict[str, Any], profile: str | None
) -> None:
    found = recognize_request(path, body)
    assert (None if found is None else found.profile.name) == profile


def test_variables_prompt_and_further_members_are_taken_from_the_request() -> None:
    messages = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "Hello"}]
    found = recognize_request(
        "/v1/chat/completions", {"model": "m-1", "messages": messages, "stream": True, "temperature": 0}
    )
    assert found is not None
    assert (found.variables, found.prompt) == ({"model": "m-1"}, "Hello")
    assert found.further == {"temperature": 0}


@pytest.mark.parametrize("name", library.names())
def test_the_request_of_each_profile_with_a_json_body_is_its_own(name: str) -> None:
    profile = library.load(name)
    body = profile.run.json_body
    if not isinstance(body, dict) or "${" in profile.run.path:
        return
    found = recognize_request(profile.run.path, body)
    assert found is None or found.profile.name == name
    if profile.rejects.required:
        assert found is not None


@pytest.mark.parametrize(
    ("capture", "profiles"),
    [
        ("litellm-chat/success", ["openai-chat"]),
        ("agui/success", ["ag-ui"]),
        ("agno/success", ["agno"]),
        ("vercel-ai-npm/success", ["ai-sdk"]),
        ("litellm-chat/silent", []),
        ("agno/cancelled", []),
    ],
)
def test_an_answer_is_recognized_if_it_fits(capture: str, profiles: list[str]) -> None:
    recorded = answer(capture)
    found = recognize_answer(recorded.frames, is_complete=recorded.is_complete)
    assert [name for name in found if name != "workflow-actions"] == profiles
