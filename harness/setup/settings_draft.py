"""The settings file that ``harness init`` writes: what was found out, why it is believed, and what can be added.

The token is no part of it: a file like this is committed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from harness.config.settings import BudgetSettings
from harness.errors import SettingsError

TOKEN_VARIABLE = "HARNESS_TARGET__TOKEN"  # noqa: S105 - a name, not a secret
_USUAL = BudgetSettings()
_ROOM = 3  # how many times what was seen once a budget allows
_COMMENT_COLUMNS = 100

_ACTIONS = {
    "success": "ends with done",
    "long": "streams for a second or more, so that it can be cut, resumed and joined",
    "failure": "ends with error",
    "cancelled": "ends with cancelled",
    "silent": "ends with done without a token",
    "quiet": "pauses for longer than budgets.heartbeat",
    "echo": 'gives back the text of a parameter, written there as "{text}"',
}


@dataclass
class SettingsDraft:
    """What is known of a target so far. token: for the probing alone.

    notes: under the name of a setting, why it has its value, or what speaks against one. seen: settings that the
    server's behaviour decides. exported: the token that the environment gives to every verb already.
    """

    base_url: str
    path: str = "/agent/workflow-actions"
    organization_id: str | None = None
    token: str | None = None
    exported: str | None = None
    verify_tls: bool = True
    ca_file: str | None = None
    actions: dict[str, dict[str, Any]] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)
    seen: dict[str, str | bool] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    budgets: dict[str, float] = field(default_factory=dict)

    def target(self) -> dict[str, Any]:
        """The [target] table, token and all, for requests."""
        table: dict[str, Any] = {
            "base_url": self.base_url,
            "path": self.path,
            "organization_id": self.organization_id,
            "token": self.token,
            "verify_tls": self.verify_tls,
            "ca_file": self.ca_file,
            "actions": self.actions,
            "body": self.body,
            **self.seen,
        }
        return {name: value for name, value in table.items() if value is not None}


def generous_budget_s(seen_s: float, usual_s: float) -> float | None:
    """A budget for what took `seen_s` seconds when it was tried once; None where the usual one leaves room."""
    return float(math.ceil(seen_s * _ROOM)) if seen_s * 2 > usual_s else None


def settings_text(draft: SettingsDraft, origin: str) -> str:
    """The file. origin: how it came about, in a few words. Raises SettingsError for what no TOML file can hold."""
    try:
        text = "\n".join(_lines(draft, origin)) + "\n"
    except (TOMLKitError, TypeError, ValueError) as problem:
        raise SettingsError(f"this cannot be written into a settings file: {problem}") from None
    if draft.token and draft.token in text:
        raise SettingsError(
            "the token stands in the URL, in an action or in the body too, and a settings file is no place for it: "
            "take it out there"
        )
    return text


def _lines(draft: SettingsDraft, origin: str) -> Iterator[str]:
    yield f"# Settings of harness (agent-run-harness), written by {origin}."
    yield "# Everything can be overridden by flags and HARNESS_* variables; a misspelt key is an error."
    yield ""
    yield "[target]"
    yield _pair("base_url", draft.base_url)
    yield _pair("path", draft.path)
    yield from _noted(draft, "organization_id", draft.organization_id)
    yield f"# The bearer token does not belong here. Before a test: export {TOKEN_VARIABLE}=…"
    if note := draft.notes.get("access"):
        yield from _comment(note)
    if not draft.verify_tls:
        yield from _noted(draft, "verify_tls", False)
    if draft.ca_file is not None:
        yield _pair("ca_file", draft.ca_file)
    yield from _choices(draft)
    for name, action in draft.actions.items():
        yield ""
        yield from _action(draft, name, action)
    yield from _body(draft)
    yield ""
    yield "# Further situations need an action each; without one they are reported as not applicable."
    for name, what in _ACTIONS.items():
        if name not in draft.actions:
            yield f"{f'# [target.actions.{name}]':28}  # {what}"
    yield ""
    yield "# What else the suite can test, where you name it:"
    yield "# [target.second_principal]  # of another organization: keys are kept apart"
    yield '# token = "…"  # better: export HARNESS_TARGET__SECOND_PRINCIPAL__TOKEN=…'
    yield '# organization_id = "…"'
    yield "# [target.other_route]  # a second endpoint with the same frames"
    yield '# path = "/agent/runs"'
    yield ""
    yield from _limits(draft)


def _choices(draft: SettingsDraft) -> Iterator[str]:
    yield ""
    yield "# Where the documentation leaves a choice: what this server did when it was tried once. It is held to it."
    if note := draft.notes.get("retry"):
        yield from _comment(note)
    examples = {"conflict": "http-409", "resume_start": "replay", "last_event_id": True}
    for name, example in examples.items():
        if name in draft.seen:
            yield from _noted(draft, name, draft.seen[name])
            continue
        yield from _comment(draft.notes.get(name, "not tried"))
        yield f"# {_pair(name, example)}"


def _action(draft: SettingsDraft, name: str, action: Mapping[str, Any]) -> Iterator[str]:
    yield f"[target.actions.{name}]  # {_ACTIONS[name]}"
    if note := draft.notes.get(f"actions.{name}"):
        yield from _comment(note)
    yield from (_pair(key, value) for key, value in action.items())


def _body(draft: SettingsDraft) -> Iterator[str]:
    if draft.body:
        yield ""
        yield "[target.body]  # merged into every request body"
        yield from (_pair(key, value) for key, value in draft.body.items())


def _limits(draft: SettingsDraft) -> Iterator[str]:
    yield "[budgets]  # in seconds"
    for name in ("first_event", "terminal_close", "heartbeat", "run"):
        value = draft.budgets.get(name)
        if value is None:
            yield f"# {_pair(name, getattr(_USUAL, name))}"
        else:
            yield from _noted(draft, f"budgets.{name}", value, name)
    yield ""
    yield "[objectives]  # what the gate holds"
    yield "error_rate = 0.001"
    yield "violations = 0"
    if note := draft.notes.get("ttft"):
        yield from _comment(note)
    yield "# ttft_p95_ms = 800"
    yield "# duration_p99_ms = 20000"


def _noted(draft: SettingsDraft, note: str, value: Any, name: str | None = None) -> Iterator[str]:
    if said := draft.notes.get(note):
        yield from _comment(said)
    yield _pair(name or note, value)


def _comment(text: str) -> Iterator[str]:
    """`text` as comment lines; what a server said stays within them."""
    line = "#"
    plain = "".join(character if character.isprintable() else " " for character in text)
    for word in plain.split():
        if len(line) + 1 + len(word) > _COMMENT_COLUMNS and line != "#":
            yield line
            line = "#"
        line = f"{line} {word}"
    yield line


def _pair(key: str, value: Any) -> str:
    """One line of TOML. Raises what tomlkit raises for a value that TOML lacks."""
    if _holds_null(value):
        raise SettingsError(f"{key} holds null, which a settings file cannot; leave it out")
    return f"{tomlkit.key(key).as_string()} = {_inline(value)}"


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{tomlkit.key(key).as_string()} = {_inline(one)}" for key, one in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    return str(tomlkit.item(value).as_string())


def _holds_null(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_null, value.values()))
    return any(map(_holds_null, value)) if isinstance(value, list) else value is None


def action_names() -> tuple[str, ...]:
    """The names that an action can have, in the order in which they are written."""
    return tuple(_ACTIONS)
