"""The commented ``harness.toml`` that ``harness init`` writes: detected settings with their reasons, and options.

It never contains the token, since the file gets committed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from harness.config.parsing import secret_parameters
from harness.config.settings import BudgetSettings
from harness.contract.evidence.redaction import Redactor
from harness.errors import SettingsError

TOKEN_VARIABLE = "HARNESS_TARGET__TOKEN"  # noqa: S105 - a name, not a secret
SECOND_TOKEN_VARIABLE = "HARNESS_TARGET__SECOND_PRINCIPAL__TOKEN"  # noqa: S105 - a name
SECOND_ORGANIZATION_VARIABLE = "HARNESS_TARGET__SECOND_PRINCIPAL__ORGANIZATION_ID"
_DEFAULT_BUDGETS = BudgetSettings()
_BUDGET_FACTOR = 3  # budget per observed time
_COMMENT_COLUMNS = 100

_ACTIONS = {
    "success": "ends with done",
    "long": "streams for a second or more, to be cut, resumed and joined",
    "failure": "ends with error",
    "cancelled": "ends with cancelled",
    "silent": "ends with done, without any token",
    "quiet": "pauses for longer than budgets.heartbeat",
    "echo": 'returns the text of a parameter, written there as "{text}"',
    "recall": "returns the outputs of earlier steps, unchanged and in their order",
}


@dataclass
class SettingsDraft:
    """The settings collected so far.

    token: used for probing, never written. exported: the token in the environment, which every command reads.
    second_exported: whether the environment has the second principal's token, but not its organization.
    observed: settings detected from the server's behaviour. notes: by setting, the comment that explains its value
    or why it has none. unread: what a curl command reads and init did not, as a sentence.
    """

    base_url: str
    path: str = "/agent/workflow-actions"
    organization_id: str | None = None
    token: str | None = None
    exported: str | None = None
    second_exported: bool = False
    verify_tls: bool = True
    ca_file: str | None = None
    actions: dict[str, dict[str, Any]] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)
    observed: dict[str, str | bool] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    budgets: dict[str, float] = field(default_factory=dict)
    unread: str = ""

    def target(self) -> dict[str, Any]:
        """The [target] table including the token, for requests."""
        table: dict[str, Any] = {
            "base_url": self.base_url,
            "path": self.path,
            "organization_id": self.organization_id,
            "token": self.token,
            "verify_tls": self.verify_tls,
            "ca_file": self.ca_file,
            "actions": self.actions,
            "body": self.body,
            **self.observed,
        }
        return {name: value for name, value in table.items() if value is not None}


def suggested_budget_s(observed_s: float, default_s: float) -> float | None:
    """A budget for a step that took `observed_s` once; None if the default is at least twice that."""
    return float(math.ceil(observed_s * _BUDGET_FACTOR)) if observed_s * 2 > default_s else None


def settings_text(draft: SettingsDraft, origin: str) -> str:
    """The file's content. origin: the program named in its first line. Raises SettingsError for values TOML lacks."""
    try:
        text = "\n".join(_lines(draft, origin)) + "\n"
    except (TOMLKitError, TypeError, ValueError) as problem:
        raise SettingsError(f"cannot write the settings as TOML: {problem}") from None
    refuse_secrets(text, draft.token, draft.path)
    return text


def refuse_secrets(text: str, token: str | None, path: str | None) -> None:
    """Raises SettingsError if the text of a settings file would hold the token, or a secret in the path's query."""
    if Redactor([token or ""]).own_value(text) != text:
        raise SettingsError(
            "the URL, an action or the body also contains the token, which must not be in a settings file: remove it"
        )
    for name in secret_parameters(path or ""):
        raise SettingsError(
            f"the path has a secret in its query, the value of {name}, which must not be in a settings file: send it "
            f"in a header field (target.headers), or leave {name} out and set HARNESS_TARGET__PATH before a test"
        )


def _lines(draft: SettingsDraft, origin: str) -> Iterator[str]:
    yield f"# Settings of harness (agent-run-harness), written by {origin}."
    yield "# Flags and HARNESS_* variables override this file. An unknown key is an error."
    yield ""
    yield "[target]"
    yield _pair("base_url", draft.base_url)
    yield _pair("path", draft.path)
    yield from _noted(draft, "organization_id", draft.organization_id)
    yield f"# Do not put the bearer token here. Before a test: export {TOKEN_VARIABLE}=…"
    if note := draft.notes.get("access"):
        yield from _comment(note)
    if not draft.verify_tls:
        yield from _noted(draft, "verify_tls", False)
    if draft.ca_file is not None:
        yield _pair("ca_file", draft.ca_file)
    yield from _observed_settings(draft)
    for name, action in draft.actions.items():
        yield ""
        yield from _action(draft, name, action)
    yield from _body(draft)
    if more := [name for name in _ACTIONS if name not in draft.actions]:
        yield ""
        yield "# More actions, one per situation. Requirements without their action are reported as not applicable."
        yield from (f"{f'# [target.actions.{name}]':28}  # {_ACTIONS[name]}" for name in more)
    yield ""
    yield "# Optional, for more requirements:"
    yield "# [target.second_principal]  # from a different organization, to test that keys are isolated"
    yield '# organization_id = "…"'
    yield f"# Its token, with the organization above: export {SECOND_TOKEN_VARIABLE}=…"
    yield "# [target.other_route]  # a second endpoint with the same frames"
    yield '# path = "/agent/runs"'
    yield ""
    yield from _budgets_and_objectives(draft)


def _observed_settings(draft: SettingsDraft) -> Iterator[str]:
    yield ""
    yield "# Behaviour that the documentation leaves open, as this server showed it. The suite checks against it."
    if note := draft.notes.get("retry"):
        yield from _comment(note)
    examples = {"conflict": "http-409", "resume_start": "replay", "last_event_id": True}
    for name, example in examples.items():
        if name in draft.observed:
            yield from _noted(draft, name, draft.observed[name])
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


def _budgets_and_objectives(draft: SettingsDraft) -> Iterator[str]:
    yield "[budgets]  # in seconds"
    for name in ("first_event", "terminal_close", "heartbeat", "run"):
        value = draft.budgets.get(name)
        if value is None:
            yield f"# {_pair(name, getattr(_DEFAULT_BUDGETS, name))}"
        else:
            yield from _noted(draft, f"budgets.{name}", value, name)
    yield ""
    yield "[objectives]  # the gate fails if one is missed"
    yield "error_rate = 0.001"
    yield "violations = 0"
    if note := draft.notes.get("ttft"):
        yield from _comment(note)
    yield "# ttft_p95_ms = 800"
    yield "# duration_p99_ms = 20000"


def _noted(draft: SettingsDraft, note: str, value: Any, name: str | None = None) -> Iterator[str]:
    if text := draft.notes.get(note):
        yield from _comment(text)
    yield _pair(name or note, value)


def _comment(text: str) -> Iterator[str]:
    """`text` as wrapped comment lines. Line breaks in it, for example from a server's message, become spaces."""
    line = "#"
    plain = "".join(character if character.isprintable() else " " for character in text)
    for word in plain.split():
        if len(line) + 1 + len(word) > _COMMENT_COLUMNS and line != "#":
            yield line
            line = "#"
        line = f"{line} {word}"
    yield line


def _pair(key: str, value: Any) -> str:
    """One line of TOML. Raises SettingsError for null, and tomlkit's errors for other unsupported values."""
    if _contains_null(value):
        raise SettingsError(f"{key} contains null, which TOML does not have; remove it")
    return f"{tomlkit.key(key).as_string()} = {_inline(value)}"


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{tomlkit.key(key).as_string()} = {_inline(item)}" for key, item in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    return str(tomlkit.item(value).as_string())


def _contains_null(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_contains_null, value.values()))
    return any(map(_contains_null, value)) if isinstance(value, list) else value is None


def action_names() -> tuple[str, ...]:
    """The valid action names, in file order."""
    return tuple(_ACTIONS)
