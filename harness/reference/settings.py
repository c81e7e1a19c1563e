"""Settings of the embedded server, and the harness settings for testing it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

DEMO_PRINCIPALS: Mapping[str, str] = MappingProxyType({"demo-token": "org-1", "demo-token-2": "org-2"})
OTHER_PATH = "/agent/runs"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Settings of one server.

    port: 0 picks a free one. principals: organization by bearer token. heartbeat_s: silence before a heartbeat
    comment. run_ttl_s: how long a finished run can be resumed. max_runs: limit of runs kept, in flight and finished.
    max_body_bytes: limit of the request body. first_token_delay_s: delay before every action (a slow target).
    """

    host: str = "127.0.0.1"
    port: int = 0
    path: str = "/agent/workflow-actions"
    principals: Mapping[str, str] = field(default_factory=lambda: DEMO_PRINCIPALS)
    heartbeat_s: float = 0.5
    run_ttl_s: float = 300.0
    max_runs: int = 10_000
    max_body_bytes: int = 1024 * 1024
    first_token_delay_s: float = 0.0


def demo_config(base_url: str | None) -> dict[str, Any]:
    """The settings of a harness that tests a server with default settings, as in ``harness.toml``."""
    (token, organization), (second_token, second_organization) = DEMO_PRINCIPALS.items()
    return {
        "target": {
            "base_url": base_url,
            "path": ServerSettings().path,
            "organization_id": organization,
            "token": token,
            "conflict": "any",
            "resume_start": "replay",
            "last_event_id": True,
            "actions": {
                "success": _action("echo", "Returns a sentence, one token per word."),
                "long": _action("long", "Streams for more than a second.", tokens=20, intervalMs=60),
                "failure": _action("fail", "Ends with an error event."),
                "cancelled": _action("cancel", "Ends with a cancelled event."),
                "silent": _action("silent", "Ends without any token."),
                "quiet": _action("quiet", "Pauses longer than the heartbeat budget.", pauseMs=1500),
                "echo": _action("echo", "Returns the text it is given.", text="{text}"),
            },
            "cancel": {"path": OTHER_PATH + "/${run_id}/cancel"},
            "second_principal": {"token": second_token, "organization_id": second_organization},
            "other_route": {"path": OTHER_PATH},
        },
        "budgets": {"first_event": 3, "terminal_close": 5, "heartbeat": 1},
    }


def _action(tool_id: str, description: str, **parameters: Any) -> dict[str, Any]:
    return {
        "toolId": tool_id,
        "toolName": tool_id.capitalize(),
        "aiDescription": description,
        "runtimeScope": "demo",
        **parameters,
    }
