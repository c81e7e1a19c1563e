"""Which method the suite sends to find out what a server does with a wrong one."""

from __future__ import annotations

import pytest

from harness.conformance.scenarios.runs import _other_method
from harness.profiles import library


@pytest.mark.parametrize(
    ("profile", "method"),
    [
        ("workflow-actions", "GET"),
        ("openai-chat", "GET"),
        ("openai-responses", "GET"),
        ("agno", "PUT"),
        ("mcp", "PUT"),
    ],
)
def test_a_method_that_the_api_does_not_have(profile: str, method: str) -> None:
    """The runs of agno are resources below the path, so a GET may list them; MCP has a GET there."""
    assert _other_method(library.load(profile)) == method


def test_a_declared_way_to_cancel_changes_nothing() -> None:
    declared = library.with_cancellation(
        library.default_profile(), {"path": "/agent/runs/${run_id}/cancel"}, "cancel"
    )
    assert _other_method(declared) == "GET"
