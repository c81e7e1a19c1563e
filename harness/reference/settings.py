"""Settings of the embedded server, and the harness settings for testing it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from harness.profiles import library
from harness.profiles.capability import Capability
from harness.profiles.profile import WORKFLOW_ACTIONS

DEMO_PRINCIPALS: Mapping[str, str] = MappingProxyType({"demo-token": "org-1", "demo-token-2": "org-2"})
OTHER_PATH = "/agent/runs"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Settings of one server.

    port: 0 picks a free one. principals: organization by bearer token. heartbeat_s: silence before a heartbeat
    comment. run_ttl_s: how long a finished run can be resumed. max_runs: limit of runs kept, in flight and finished.
    max_body_bytes: limit of the request body. first_token_delay_s: delay before every action (a slow target).
    profile: the API that the server has. needs_token: whether requests without a token are refused, where the API has
    tokens. path: empty is that of the profile.
    store: where runs are kept, ``sqlite:PATH`` or ``redis://HOST``; None keeps them in the process. replica: the name
    of this process among those that share the store. generation: grows with each restart. shares_port: whether other
    sockets may have its port too.
    """

    host: str = "127.0.0.1"
    port: int = 0
    path: str = ""
    profile: str = WORKFLOW_ACTIONS
    needs_token: bool = True
    principals: Mapping[str, str] = field(default_factory=lambda: DEMO_PRINCIPALS)
    heartbeat_s: float = 0.5
    run_ttl_s: float = 300.0
    max_runs: int = 10_000
    max_body_bytes: int = 1024 * 1024
    first_token_delay_s: float = 0.0
    store: str | None = None
    replica: str = "1"
    generation: int = 0
    shares_port: bool = False

    def __post_init__(self) -> None:
        if not self.path:
            object.__setattr__(self, "path", library.load(self.profile).run.path)


def demo_config(base_url: str | None, profile: str = WORKFLOW_ACTIONS, **target: Any) -> dict[str, Any]:
    """The settings of a harness that tests a server with default settings, as in ``harness.toml``.

    target: more settings of the target, for example its replicas.
    """
    if profile != WORKFLOW_ACTIONS:
        return _demo_of_prompts(base_url, profile)
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
                "recall": _action("recall", "Returns the outputs of earlier steps."),
            },
            "cancel": {"path": OTHER_PATH + "/${run_id}/cancel"},
            "second_principal": {"token": second_token, "organization_id": second_organization},
            "other_route": {"path": OTHER_PATH},
            **target,
        },
        "budgets": {"first_event": 3, "terminal_close": 5, "heartbeat": 1},
    }


def _demo_of_prompts(base_url: str | None, profile: str) -> dict[str, Any]:
    """Of an API that takes a prompt. The prompts are those of harness.reference.prompted_actions."""
    api = library.load(profile)
    target: dict[str, Any] = {
        "base_url": base_url,
        "profile": profile,
        "token": next(iter(DEMO_PRINCIPALS)),
        "actions": {
            "long": "Count from 1 to 20.",
            "failure": "Fail.",
            "cancelled": "Cancel yourself.",
            "silent": "Say nothing.",
            "quiet": "Pause.",
        },
    }
    if Capability.AUTHENTICATION not in api.capabilities:
        del target["token"]
    if Capability.CANCELLED_EVENT not in api.capabilities:
        del target["actions"]["cancelled"]
    if api.needs:
        target["variables"] = dict.fromkeys(api.needs, "demo")
    return {"target": target, "budgets": {"first_event": 3, "terminal_close": 5, "heartbeat": 1}}


def _action(tool_id: str, description: str, **parameters: Any) -> dict[str, Any]:
    return {
        "toolId": tool_id,
        "toolName": tool_id.capitalize(),
        "aiDescription": description,
        "runtimeScope": "demo",
        **parameters,
    }
