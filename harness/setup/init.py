"""``harness init``: probes a target with a few requests, asks for the missing settings, writes ``harness.toml``."""

from __future__ import annotations

import asyncio
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from harness.atomic_file import ensure_writable as file_is_writable
from harness.atomic_file import write_text
from harness.config.parsing import masked_address, shown_address
from harness.config.settings import CONFIG_FILE, BudgetSettings
from harness.config.sources import read_token, settings_alone
from harness.contract.evidence.redaction import Redactor
from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Budgets
from harness.errors import SettingsError
from harness.formatting import counted, shown_path
from harness.setup.curl import CurlRequest, json_object, split_url, unread_token
from harness.setup.probe import (
    NO_ENDPOINT_STATUSES,
    Observation,
    Probe,
    ProbeTimeError,
    Refusal,
    RequestTime,
    is_long,
    observe,
    refusal,
    stream_problem,
    streamed_ms,
    unsuitable,
)
from harness.setup.prompts import Prompt
from harness.setup.settings_draft import (
    SECOND_ORGANIZATION_VARIABLE,
    SECOND_TOKEN_VARIABLE,
    TOKEN_VARIABLE,
    SettingsDraft,
    action_names,
    settings_text,
    suggested_budget_s,
)
from harness.setup.token_claims import claimed_organization
from harness.suite.preflight import other_protocol, wrong_target
from harness.terminal.safe_console import SafeConsole

_MAX_TRIES = 4  # first runs, each after the user corrected a setting
_DEFAULT_BUDGETS = BudgetSettings()
_PROBE_BUDGETS = Budgets(first_event_s=15.0, terminal_close_s=5.0, heartbeat_s=15.0, run_s=120.0)
"""Generous limits for the first runs; the observed times then suggest the budgets of the settings file."""
MOST_S = 240.0
"""All requests together may take so long."""

_ENDLESS = frozenset({Ending.TIMED_OUT, Ending.LIMIT})
_ACTION_FIELDS = ("toolName", "aiDescription", "runtimeScope")


class InitError(SettingsError):
    """The target's answers do not allow a settings file; the message is one sentence."""


def first_draft(
    target: str | None,
    path: str | None,
    organization: str | None,
    token_file: Path | None,
    curl: CurlRequest | None,
    actions: Mapping[str, str],
    prompt: Prompt,
    variables: Mapping[str, str],
) -> SettingsDraft:
    """The settings from flags, curl command and environment. Raises SettingsError for unusable ones."""
    base_url, url_path = _address(target, curl, prompt)
    draft = SettingsDraft(base_url, path=path or url_path or SettingsDraft.path, organization_id=organization)
    draft.exported = variables.get(TOKEN_VARIABLE)
    draft.second_exported = (
        SECOND_TOKEN_VARIABLE in variables and SECOND_ORGANIZATION_VARIABLE not in variables
    )
    draft.token = read_token(token_file) if token_file is not None else draft.exported
    if curl is not None:
        _apply_curl(draft, curl)
    for name, text in actions.items():
        if name not in action_names():
            raise SettingsError(f"unknown action {name!r}; the actions are {', '.join(action_names())}")
        flag = f"--action {name}='{{\"toolId\": …}}' with the whole workflowAction"
        draft.actions[name] = _parse_action(text, f"--action {name}", prompt, flag)
    if draft.organization_id is None and (claim := claimed_organization(draft.token)):
        draft.organization_id, draft.notes["organization_id"] = claim
    return draft


def _parse_action(text: str, what: str, prompt: Prompt, flag: str) -> dict[str, Any]:
    """A workflowAction from a JSON object, or from a bare toolId; the prompt then asks for the other fields."""
    text = text.strip()
    if not text or text[0] in '{["':
        return json_object(text, what)
    fields = {name: prompt.ask(f"{name} of the action", flag) for name in _ACTION_FIELDS}
    return {"toolId": text, **fields}


def _address(target: str | None, curl: CurlRequest | None, prompt: Prompt) -> tuple[str, str]:
    if target is None and curl is not None:
        return curl.base_url, curl.path
    if target is None:
        target = prompt.ask("URL of the endpoint under test, including its path", "--target URL")
    if "://" not in target:
        raise SettingsError(f"{target!r} is not a URL; add http:// or https:// in front")
    return split_url(target)


def _apply_curl(draft: SettingsDraft, curl: CurlRequest) -> None:
    """Fill the draft from the command; values given by flags stay. Raises SettingsError for a form."""
    if curl.form_as is not None:
        raise SettingsError(
            "the curl command sends a form, and no profile has such a request; draft one: harness profile init "
            "--from-curl FILE ANSWER"
        )
    body = dict(curl.body)
    organization, action = body.pop("organizationId", None), body.pop("workflowAction", None)
    for name in ("sessionId", "runId"):  # generated for each run
        body.pop(name, None)
    if isinstance(organization, str) and draft.organization_id is None:
        draft.organization_id = organization
        draft.notes["organization_id"] = "from the curl command's body"
    if isinstance(action, dict):
        draft.actions["success"] = action
    draft.body = body
    draft.token = draft.token or curl.token
    draft.verify_tls = curl.verify_tls
    if curl.token_unread and not draft.token:
        raise unread_token(curl)
    foreign = curl.token_unread not in ("", f"${TOKEN_VARIABLE}")
    unread = [f"the token in {curl.token_unread} (yours was used)", *curl.unread] if foreign else curl.unread
    draft.unread = f"not read, because only the command names it: {'; '.join(unread)}" if unread else ""
    if curl.left_out:
        names = ", ".join(curl.left_out)
        draft.notes["access"] = f"Header fields of the curl command that the harness does not send: {names}."


class Discovery:
    """Detects the settings of one target, step by step; the results are in its draft."""

    def __init__(self, draft: SettingsDraft, prompt: Prompt, console: Console) -> None:
        self.draft = draft
        self._prompt = prompt
        self._console = console
        self._limit = RequestTime(MOST_S)

    def run(self, *, once: bool) -> None:
        """Run every step. once: run each action once, and try no retry, conflict or resume. Raises InitError."""
        self._check_reachable()
        self._ask_missing()
        run = self._first_run()
        try:
            self._examine(run, once=once)
        finally:  # a server may repeat the token in its response
            self.draft.notes = {name: self._masked(note) for name, note in self.draft.notes.items()}

    def _examine(self, run: Exchange, *, once: bool) -> None:
        count = counted(len(run.events), "event")
        self._print("run", f"{count}, {run.outcome or 'no terminal event'}", self._record_first_run(run))
        if run.ending in _ENDLESS:
            self._warn(f"{stream_problem(run)}; nothing else was tried")
            return
        try:
            self._try_other_actions(run)
            if problem := stream_problem(run):
                self._warn(problem)
            elif not once:
                self._observe_behaviour(run)
        except ProbeTimeError as over:
            self._warn(f"{over}; the rest was not tried")

    def _masked(self, text: str) -> str:
        return Redactor([self.draft.token or ""]).sentence(text)

    def _check_reachable(self) -> None:
        """Send a request without token and action: is the server reachable, and how does it refuse?"""
        probe = self._probe()
        answer = asyncio.run(probe.anonymous_request())
        if problem := asyncio.run(other_protocol(probe.target.endpoint, answer)):
            raise InitError(f"{self._url()} {problem}")
        if problem := _unreachable(answer):
            raise InitError(f"{self._url()}: {problem}")
        if answer.status in (401, 403):
            challenge = answer.head.value("www-authenticate") if answer.head else None
            self._print("no token", f"refused with {answer.status}", challenge or "no WWW-Authenticate")
            return
        if answer.status in NO_ENDPOINT_STATUSES:
            self._print(
                "path",
                f"probably wrong: POST {shown_address(self.draft.path)} got {answer.status}",
                "use --path, or a URL with its path",
            )
            return
        self._print("no token", f"got {answer.status}", "the suite expects 401")
        if answer.status == 200:
            self.draft.notes["access"] = (
                "The server answered 200 to a request without a token; the suite will report that."
            )

    def _ask_missing(self) -> None:
        """Ask for the settings that the first run needs."""
        draft = self.draft
        if draft.token is None and self._prompt.is_interactive:
            answer = self._prompt.ask(
                "Bearer token (hidden, not stored; empty for none)", "", default="", hidden=True
            )
            draft.token = answer or None
        if draft.organization_id is None and self._prompt.is_interactive:
            draft.organization_id = self._prompt.ask("organizationId", "--organization ORG", default="org-1")
        elif draft.organization_id is None:
            draft.organization_id = "org-1"
            draft.notes["organization_id"] = "not given: this is the example from the documentation"
        if "success" not in draft.actions:
            draft.actions["success"] = self._ask_action()

    def _ask_action(self) -> dict[str, Any]:
        flag = "--action success='{\"toolId\": …}' with a workflowAction that ends with done, or --from-curl FILE"
        question = "action that ends with done (its toolId, or the whole workflowAction as JSON)"
        answer = self._prompt.ask(question, flag)
        return _parse_action(answer, "the action", self._prompt, flag)

    def _probe(self) -> Probe:
        target = self.draft.target()
        # Placeholders until the values are known. The first request has no token, so it starts no run.
        target["actions"] = {"success": {}, **target["actions"]}
        target.setdefault("organization_id", "unknown")
        return Probe(settings_alone({"target": target}, "the options of init"), _PROBE_BUDGETS, self._limit)

    def _first_run(self) -> Exchange:
        """The first run that the target accepts; the user may correct refused settings."""
        for _ in range(_MAX_TRIES):
            run = self._run_action("success")
            refused = refusal(run)
            if refused is None or refused.setting == "server":
                self._require_endpoint(run)
            if refused is None:
                return run
            self._ask_correction(refused)
        raise InitError(f"{self._url()} refused {_MAX_TRIES} attempts; see above")

    def _require_endpoint(self, run: Exchange) -> None:
        if problem := wrong_target(self._probe().target, run):
            raise InitError(self._masked(f"{self._url()} {problem}"))

    def _run_action(self, action: str) -> Exchange:
        return asyncio.run(self._probe().run(action))

    def _url(self) -> str:
        return shown_address(self.draft.base_url.rstrip("/") + self.draft.path)

    def _ask_correction(self, refused: Refusal) -> None:
        """Ask for a new value of the refused setting. Raises InitError if that cannot help or no user can answer."""
        draft, sentence = self.draft, f"{self._url()}: {refused.sentence}"
        missing = "" if draft.token else "no token given: "
        advice = {
            "token": f"{missing}export {TOKEN_VARIABLE}=… or use --token-file",
            "organization": f"check --organization ({draft.organization_id!r} was sent) and the token",
            "path": f"the path {masked_address(draft.path)} is probably wrong: use --path, or a URL with its path",
            "action": "check --action success=… against the server's message",
        }.get(refused.setting)
        if advice is None or not self._prompt.is_interactive:
            raise InitError(self._masked(f"{sentence}{f'; {advice}' if advice else ''}"))
        self._warn(refused.sentence)
        match refused.setting:
            case "token":
                draft.token = self._prompt.ask(
                    "Bearer token (hidden, not stored)", "--token-file", hidden=True
                )
            case "organization":
                draft.organization_id = self._prompt.ask(
                    "organizationId", "--organization", default=draft.organization_id
                )
            case "path":
                draft.path = self._prompt.ask("path of the endpoint", "--path", default=draft.path)
            case _:
                draft.actions["success"] = self._ask_action()

    def _record_first_run(self, run: Exchange) -> str:
        """Write what the first run shows into the draft's notes and budgets; return its timing in words."""
        draft = self.draft
        first = run.events[0] if run.events else None
        first_s = run.offset_ms(first.arrival_ns) / 1000 if first else 0.0
        whole_s = run.offset_ms(run.timing.ended_ns) / 1000
        timing = f"first event after {_duration(first_s)}, finished after {_duration(whole_s)}"
        count = counted(len(run.events), "event")
        draft.notes["actions.success"] = f"observed: {count}, {timing}, {run.outcome or 'no terminal event'}"
        if run.outcome is not None and run.outcome != "done":
            draft.notes["actions.success"] += ". The suite needs an action here that ends with done."
        for name, observed_s, default_s in (
            ("first_event", first_s, _DEFAULT_BUDGETS.first_event),
            ("run", whole_s, _DEFAULT_BUDGETS.run),
        ):
            if (budget_s := suggested_budget_s(observed_s, default_s)) is not None:
                draft.budgets[name] = budget_s
                draft.notes[f"budgets.{name}"] = (
                    f"observed in one run: {observed_s:.1f} s; default: {default_s:g} s"
                )
        tokens = run.tokens
        if tokens:
            draft.notes["ttft"] = (
                f"time to first token of one run: {run.offset_ms(tokens[0].arrival_ns):.0f} ms"
            )
        return timing

    def _try_other_actions(self, first: Exchange) -> None:
        """Run each of the other actions once. Use `first` as long action if it streamed long enough, or ask for one."""
        draft = self.draft
        if "long" not in draft.actions and is_long(first):
            draft.actions["long"] = draft.actions["success"]
            draft.notes["actions.long"] = f"same action: it streamed for {streamed_ms(first) / 1000:.1f} s"
        elif "long" not in draft.actions and self._prompt.is_interactive:
            question = "workflowAction that streams for a second or more, as JSON (empty to skip)"
            if answer := self._prompt.ask(question, "--action long=…", default=""):
                draft.actions["long"] = json_object(answer, "the action")
        for name in [
            name for name in draft.actions if name != "success" and f"actions.{name}" not in draft.notes
        ]:
            self._try_action(name)

    def _try_action(self, name: str) -> None:
        if name == "echo":  # its scenario fills in the text
            return
        run = self._run_action(name)
        refused = refusal(run)
        if refused is not None:
            note = refused.sentence
        else:
            note = f"{counted(len(run.events), 'event')}, ended with {run.outcome or run.describe()}"
        heartbeat_s = self.draft.budgets.get("heartbeat", _DEFAULT_BUDGETS.heartbeat)
        reason = "" if refused is not None else unsuitable(name, run, heartbeat_s)
        suitable = refused is None and reason is None
        if not suitable:
            note += f"{f'; {reason}' if reason else ''}. Not what the suite needs here."
        self.draft.notes[f"actions.{name}"] = f"observed: {note}"
        self._print(f"action {name}", "as expected" if suitable else "NOT as expected", note)

    def _observe_behaviour(self, run: Exchange) -> None:
        long_action = "long" if "long" in self.draft.actions else None
        for observation in asyncio.run(observe(self._probe(), run, long_action)):
            self._record(observation)
        if long_action is None:
            self.draft.notes["resume_start"] = "not tried: needs [target.actions.long]"

    def _record(self, observation: Observation) -> None:
        setting, value, reason = observation.setting, observation.value, observation.reason
        self.draft.notes[setting] = f"observed: {reason}"
        if observation.declares and value is not None and setting != "retry":
            self.draft.observed[setting] = value
        text = value if isinstance(value, str) else {None: "undecided", True: "yes", False: "no"}[value]
        self._print(setting.replace("_", " "), text, reason)

    def _print(self, name: str, result: str, detail: str = "") -> None:
        detail = f"  {self._masked(detail)}" if detail else ""
        self._console.print(Text.assemble((f"  {name:16} ", "bold"), result, (detail, "dim")))

    def _warn(self, sentence: str) -> None:
        self._console.print(Text(f"  {self._url()}: {self._masked(sentence)}", "yellow"))


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _unreachable(answer: Exchange) -> str | None:
    if answer.head is not None:
        return None
    detail = answer.ending_detail or str(answer.ending)
    if "certificate" in detail:
        return (
            f"{detail}; give the certificate of its CA with --ca-file (the setting target.ca_file), or use "
            "--no-verify-tls for your own test server"
        )
    return f"cannot be reached: {detail}"


def run_init(draft: SettingsDraft, prompt: Prompt, out: Path | None, *, force: bool, once: bool) -> int:
    """Probe the target and write the settings file. Returns the exit code.

    Raises SettingsError if the file exists (without `force`), or the target refuses the first run.
    """
    file = out or Path(CONFIG_FILE)
    ensure_writable(file, force=force)
    console = SafeConsole(stderr=True, highlight=False, soft_wrap=True)
    if draft.unread:
        console.print(draft.unread, markup=False)
    address = shown_address(draft.base_url.rstrip("/") + draft.path)
    console.print(f"probing {address} (requests take at most {MOST_S / 60:g} min)")
    Discovery(draft, prompt, console).run(once=once)
    text = settings_text(draft, "harness init")
    _ensure_readable(text)
    _write(file, text, force=force)
    for line in _next_steps(draft, file):
        console.print(line, markup=False)
    return 0


def ensure_writable(file: Path, *, force: bool) -> None:
    """Raises SettingsError if the file exists and may not be overwritten, or cannot be written in its folder."""
    if os.path.lexists(file) and not force:
        raise SettingsError(
            f"{file} already exists; use --force to overwrite it, or --out for a different file"
        )
    if not file.absolute().parent.is_dir():
        raise SettingsError(f"no folder {file.absolute().parent}; create it, or choose a different --out")
    file_is_writable(file)


def _ensure_readable(text: str) -> None:
    """Load the text alone, without HARNESS_* variables: they may complete it later. Raises SettingsError."""
    settings_alone(tomllib.loads(text), CONFIG_FILE)


def _write(file: Path, text: str, *, force: bool) -> None:
    if os.path.lexists(file) and not force:  # written by another program since the check at the start
        raise SettingsError(f"{file} already exists; use --force to overwrite it")
    write_text(file, text)


def _next_steps(draft: SettingsDraft, file: Path) -> list[str]:
    name = shown_path(file)
    config = "" if file == Path(CONFIG_FILE) else f" --config {name}"
    steps = [f"wrote {name}"]
    if draft.token and draft.token != draft.exported:
        steps.append(f"next: export {TOKEN_VARIABLE}=…   (the token is not in the file)")
    if draft.second_exported:
        steps.append(
            f"note: {SECOND_TOKEN_VARIABLE} is set; add its organization to {name}: [target.second_principal], "
            "organization_id"
        )
    first = "next:" if len(steps) == 1 or not steps[1].startswith("next:") else "     "
    return [*steps, f"{first} harness doctor{config}", f"      harness check{config}"]
