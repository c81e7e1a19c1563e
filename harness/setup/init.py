"""``harness init``: gets to know a target by a few bounded requests, asks for the rest, writes ``harness.toml``."""

from __future__ import annotations

import base64
import binascii
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from rich.text import Text

from harness.config.settings import CONFIG_FILE, BudgetSettings, Settings
from harness.config.sources import load_settings, read_token
from harness.contract.evidence.redaction import Redactor
from harness.contract.exchange import Exchange
from harness.contract.expectations import Budgets
from harness.errors import SettingsError
from harness.setup.curl import CurlRequest, json_object, read_curl, split_url
from harness.setup.probe import (
    NO_ENDPOINT,
    Observed,
    Probe,
    Refusal,
    is_long,
    observe,
    probing,
    refusal,
    stream_problem,
    streamed_ms,
)
from harness.setup.prompts import Prompt
from harness.setup.settings_draft import (
    TOKEN_VARIABLE,
    SettingsDraft,
    action_names,
    generous_budget_s,
    settings_text,
)

_ROUNDS = 4  # how often a person may correct what the target refused
_OPEN_TO_ALL = "The server answered 200 without a token too, which the suite will find."
_EXPECTED = {"failure": "error", "cancelled": "cancelled"}
_CLAIMS = ("organizationId", "organization_id", "org_id", "orgId", "organization", "org", "tenant_id")
_USUAL = BudgetSettings()
_PATIENT = Budgets(first_event_s=30.0, terminal_close_s=5.0, heartbeat_s=30.0, run_s=120.0)
"""What a run may take when it is tried for the first time: budgets are suggested by it."""

_FIELDS = {
    "toolId": "the action's toolId",
    "toolName": "its toolName",
    "aiDescription": "its aiDescription",
    "runtimeScope": "its runtimeScope",
}


class InitError(SettingsError):
    """No settings file could be made of what the target answered; the text is one sentence."""


def first_draft(
    target: str | None,
    path: str | None,
    organization: str | None,
    token_file: Path | None,
    curl_file: Path | None,
    actions: Mapping[str, str],
    questions: Prompt,
    variables: Mapping[str, str],
) -> SettingsDraft:
    """What flags, the curl command and the environment say. Raises SettingsError for what cannot be read."""
    curl = _curl_request(curl_file, variables) if curl_file is not None else None
    base_url, own_path = _address(target, curl, questions)
    draft = SettingsDraft(base_url, path=path or own_path or SettingsDraft.path, organization_id=organization)
    draft.exported = variables.get(TOKEN_VARIABLE)
    draft.token = read_token(token_file) if token_file is not None else draft.exported
    if curl is not None:
        _take_curl(draft, curl)
    for name, text in actions.items():
        if name not in action_names():
            raise SettingsError(f"there is no action {name!r}; known are {', '.join(action_names())}")
        flag = f"--action {name}='{{\"toolId\": …}}' with the whole workflowAction"
        draft.actions[name] = _action_of(text, f"--action {name}", questions, flag)
    if draft.organization_id is None and (claim := _claimed_organization(draft.token)):
        draft.organization_id, draft.notes["organization_id"] = claim
    return draft


def _action_of(text: str, what: str, questions: Prompt, flag: str) -> dict[str, Any]:
    """The workflowAction of a JSON object, or of a bare toolId, whose other fields are asked for."""
    text = text.strip()
    if not text or text[0] in '{["':
        return json_object(text, what)
    rest = {name: questions.ask(said, flag) for name, said in _FIELDS.items() if name != "toolId"}
    return {"toolId": text, **rest}


def _curl_request(file: Path, variables: Mapping[str, str]) -> CurlRequest:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise SettingsError(f"cannot read the curl command in {file}: {problem}") from None
    return read_curl(text, variables, file.parent)


def _address(target: str | None, curl: CurlRequest | None, questions: Prompt) -> tuple[str, str]:
    if target is None and curl is not None:
        return curl.base_url, curl.path
    if target is None:
        target = questions.ask("URL of the server under test, with the path of the endpoint", "--target URL")
    if "://" not in target:
        raise SettingsError(f"{target!r} is no URL; write http:// or https:// before it")
    return split_url(target)


def _take_curl(draft: SettingsDraft, curl: CurlRequest) -> None:
    """What the command says, where no flag said it before."""
    body = dict(curl.body)
    organization, action = body.pop("organizationId", None), body.pop("workflowAction", None)
    for name in ("sessionId", "runId"):  # each run has its own
        body.pop(name, None)
    if isinstance(organization, str) and draft.organization_id is None:
        draft.organization_id = organization
        draft.notes["organization_id"] = "from the curl command's body"
    if isinstance(action, dict):
        draft.actions["success"] = action
    draft.body = body
    draft.token = draft.token or curl.token
    draft.verify_tls, draft.ca_file = curl.verify_tls, curl.ca_file
    if curl.left_out:
        names = ", ".join(curl.left_out)
        draft.notes["access"] = f"The curl command sends {names} too, which the harness does not."


def _claimed_organization(token: str | None) -> tuple[str, str] | None:
    """The organization that a JSON Web Token names (RFC 7519), and where; its signature is the server's to check."""
    parts = (token or "").split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None
    for name in _CLAIMS if isinstance(claims, dict) else ():
        if isinstance(claims.get(name), str) and claims[name]:
            return claims[name], f"from the token's claim {name}"
    return None


class Interview:
    """Gets to know one target, step by step; what it learns is in its draft."""

    def __init__(self, draft: SettingsDraft, questions: Prompt, console: Console) -> None:
        self.draft = draft
        self._questions = questions
        self._console = console

    def learn(self, *, once: bool) -> None:
        """Everything. once: send no request but the one run of each action. Raises InitError."""
        self._reach()
        self._complete()
        run = self._first_run()
        try:
            self._look_at(run, once=once)
        finally:  # a server may say the token in its answer
            self.draft.notes = {name: self._masked(note) for name, note in self.draft.notes.items()}

    def _look_at(self, run: Exchange, *, once: bool) -> None:
        self._tell(
            "run", f"{len(run.events)} events, {run.outcome or 'no terminal event'}", self._run_note(run)
        )
        self._other_actions(run)
        if problem := stream_problem(run):
            self._warn(problem)
            return
        if not once:
            self._choices(run)

    def _masked(self, text: str) -> str:
        return Redactor([self.draft.token or ""]).text(text)

    def _reach(self) -> None:
        """One request without a token and without an action: does anybody answer, and what is said to strangers?"""
        probe = self._probe()
        answer = probing(probe.anonymous_request)
        if problem := _unreachable(answer):
            raise InitError(f"{self._where()}: {problem}")
        if answer.status in (401, 403):
            asks = (answer.head.value("www-authenticate") if answer.head else None) or "no WWW-Authenticate"
            self._tell("no token", f"refused with {answer.status}", asks)
            return
        if answer.status in NO_ENDPOINT:
            self._tell(
                "path",
                f"seems wrong: POST {self.draft.path} got {answer.status}",
                "give --path, or a URL with its path",
            )
            return
        self._tell("no token", f"got {answer.status}", "401 is what the suite wants to see")
        if answer.status == 200:
            self.draft.notes["access"] = (
                "The server answered 200 without a token too: the suite will find that."
            )

    def _complete(self) -> None:
        """Ask for what a first request cannot do without."""
        draft = self.draft
        if draft.token is None and self._questions.is_interactive:
            answer = self._questions.ask(
                "Bearer token (not shown, not stored; empty for none)", "", default="", hidden=True
            )
            draft.token = answer or None
        if draft.organization_id is None and self._questions.is_interactive:
            draft.organization_id = self._questions.ask(
                "organizationId", "--organization ORG", default="org-1"
            )
        elif draft.organization_id is None:
            draft.organization_id = "org-1"
            draft.notes["organization_id"] = "Nothing says which it is: this is the documentation's example."
        if "success" not in draft.actions:
            draft.actions["success"] = self._ask_action()

    def _ask_action(self) -> dict[str, Any]:
        flag = "--action success='{\"toolId\": …}' with the workflowAction of a run that ends well, or --from-curl FILE"
        first = self._questions.ask(
            "An action that ends with done (its toolId, or the whole workflowAction as JSON)", flag
        )
        return _action_of(first, "the action", self._questions, flag)

    def _probe(self) -> Probe:
        target = self.draft.target()
        target["actions"] = {"success": {}, **target["actions"]}  # before one is known
        try:
            return Probe(Settings.model_validate({"target": target}), _PATIENT)
        except ValidationError as problem:
            first = problem.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise SettingsError(f"{place}: {first['msg'].removeprefix('Value error, ')}") from None

    def _first_run(self) -> Exchange:
        """The first run that the target accepts; a person may correct what it refuses."""
        for _ in range(_ROUNDS):
            run = self._run("success")
            found = refusal(run)
            if found is None:
                return run
            self._correct(found)
        raise InitError(f"{self._where()} refused what was tried {_ROUNDS} times; see above")

    def _run(self, action: str) -> Exchange:
        probe = self._probe()
        return probing(lambda: probe.run(action))

    def _where(self) -> str:
        return self.draft.base_url.rstrip("/") + self.draft.path

    def _correct(self, found: Refusal) -> None:
        """Ask for another value of what the target refused. Raises InitError where that is of no use."""
        draft, sentence = self.draft, f"{self._where()}: {found.sentence}"
        given = "" if draft.token else "no token is given: "
        advice = {
            "token": f"{given}export {TOKEN_VARIABLE}=… or use --token-file",
            "organization": f"check --organization ({draft.organization_id!r} was sent) and the token",
            "path": f"the path seems wrong ({draft.path!r} was asked): give --path, or a URL with its path",
            "action": "check --action success=… against what the server says",
        }.get(found.setting)
        if advice is None or not self._questions.is_interactive:
            raise InitError(self._masked(f"{sentence}{f'; {advice}' if advice else ''}"))
        self._warn(found.sentence)
        match found.setting:
            case "token":
                draft.token = self._questions.ask(
                    "Bearer token (not shown, not stored)", "--token-file", hidden=True
                )
            case "organization":
                draft.organization_id = self._questions.ask(
                    "organizationId", "--organization", default=draft.organization_id
                )
            case "path":
                draft.path = self._questions.ask("Path of the endpoint", "--path", default=draft.path)
            case _:
                draft.actions["success"] = self._ask_action()

    def _run_note(self, run: Exchange) -> str:
        """What the first run shows: noted beside its settings, and said."""
        draft = self.draft
        first = run.events[0] if run.events else None
        first_s = run.offset_ms(first.arrival_ns) / 1000 if first else 0.0
        whole_s = run.offset_ms(run.timing.ended_ns) / 1000
        note = f"first event after {_duration(first_s)}, all within {_duration(whole_s)}"
        draft.notes["actions.success"] = (
            f"seen: {len(run.events)} events, {note}, {run.outcome or 'no terminal event'}"
        )
        if run.outcome is not None and run.outcome != "done":
            draft.notes["actions.success"] += ". It has to end with done: name another one."
        for name, seen_s, usual_s in (
            ("first_event", first_s, _USUAL.first_event),
            ("run", whole_s, _USUAL.run),
        ):
            if (budget_s := generous_budget_s(seen_s, usual_s)) is not None:
                draft.budgets[name] = budget_s
                draft.notes[f"budgets.{name}"] = f"one run took {seen_s:.1f} s, of the usual {usual_s:g} s"
        tokens = run.tokens
        if tokens:
            draft.notes["ttft"] = (
                f"time to first token of the one run that was seen: {run.offset_ms(tokens[0].arrival_ns):.0f} ms"
            )
        return note

    def _other_actions(self, first: Exchange) -> None:
        """Run each other action that is given once; find one that streams for long enough."""
        draft = self.draft
        if "long" not in draft.actions and is_long(first):
            draft.actions["long"] = draft.actions["success"]
            draft.notes["actions.long"] = f"the same: it streamed for {streamed_ms(first) / 1000:.1f} s"
        elif "long" not in draft.actions and self._questions.is_interactive:
            said = "A workflowAction that streams for a second or more, as JSON (empty to leave it out)"
            if answer := self._questions.ask(said, "--action long=…", default=""):
                draft.actions["long"] = json_object(answer, "the action")
        for name in [
            name for name in draft.actions if name != "success" and f"actions.{name}" not in draft.notes
        ]:
            self._try_action(name)

    def _try_action(self, name: str) -> None:
        if name == "echo":  # its text is put in by the scenario that needs it
            return
        run = self._run(name)
        problem = refusal(run)
        wanted = _EXPECTED.get(name, "done")
        note = (
            problem.sentence
            if problem
            else f"{len(run.events)} events, ended with {run.outcome or run.describe()}"
        )
        right = problem is None and run.outcome == wanted and (name != "long" or is_long(run))
        if not right:
            short = f"; streamed for {streamed_ms(run):.0f} ms" if name == "long" and not problem else ""
            note += f"{short}. That is not what the suite needs of it."
        self.draft.notes[f"actions.{name}"] = f"seen: {note}"
        self._tell(f"action {name}", "as wanted" if right else "NOT as wanted", note)

    def _choices(self, run: Exchange) -> None:
        long_action = "long" if "long" in self.draft.actions else None
        probe = self._probe()
        for one in probing(lambda: observe(probe, run, long_action)):
            self._note_choice(one)
        if long_action is None:
            self.draft.notes["resume_start"] = "not tried: it takes [target.actions.long]"

    def _note_choice(self, one: Observed) -> None:
        self.draft.notes[one.setting] = f"seen: {one.reason}"
        if one.declares and one.value is not None and one.setting != "retry":
            self.draft.seen[one.setting] = one.value
        value = (
            {None: "not known", True: "yes", False: "no"}.get(one.value)
            if not isinstance(one.value, str)
            else one.value
        )
        self._tell(one.setting.replace("_", " "), str(value), one.reason)

    def _tell(self, what: str, found: str, more: str = "") -> None:
        more = f"  {self._masked(more)}" if more else ""
        line = Text.assemble((f"  {what:14} ", "bold"), found, (more, "dim"))
        self._console.print(line)

    def _warn(self, sentence: str) -> None:
        self._console.print(Text(f"  {self._where()}: {self._masked(sentence)}", "yellow"))


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _unreachable(answer: Exchange) -> str | None:
    if answer.head is not None:
        return None
    detail = answer.ending_detail or str(answer.ending)
    if "certificate" in detail:
        return f"{detail}; name its authority with --ca-file, or use --no-verify-tls for a server of your own"
    return f"it cannot be reached: {detail}"


def run_init(draft: SettingsDraft, questions: Prompt, out: Path | None, *, force: bool, once: bool) -> int:
    """Get to know the target, and write the settings file. Returns the exit code.

    Raises SettingsError: for a file that is there without `force`, for a target that refuses what it is sent.
    """
    file = out or Path(CONFIG_FILE)
    ensure_writable(file, force=force)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    interview = Interview(draft, questions, console)
    console.print(f"asking {draft.base_url.rstrip('/')}{draft.path}")
    interview.learn(once=once)
    text = settings_text(draft, "harness init")
    _ensure_readable(text)
    _write(file, text, force=force)
    for line in _next_steps(draft, file):
        console.print(line)
    return 0


def ensure_writable(file: Path, *, force: bool) -> None:
    """Raises SettingsError where the file is there already and may not be overwritten, or has no folder."""
    if file.exists() and not force:
        raise SettingsError(
            f"{file} is there already; use --force to overwrite it, or --out for another file"
        )
    if not file.absolute().parent.is_dir():
        raise SettingsError(f"there is no folder {file.absolute().parent}; make it, or choose another --out")


def _ensure_readable(text: str) -> None:
    """The file is read back as every other verb will. Raises SettingsError."""
    with tempfile.TemporaryDirectory(prefix="harness-") as folder:
        path = Path(folder) / CONFIG_FILE
        path.write_text(text, encoding="utf-8")
        load_settings(path)


def _write(file: Path, text: str, *, force: bool) -> None:
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    try:
        with os.fdopen(os.open(file, flags, 0o644), "w", encoding="utf-8") as written:
            written.write(text)
    except FileExistsError:
        raise SettingsError(f"{file} is there already; use --force to overwrite it") from None
    except OSError as problem:
        raise SettingsError(f"cannot write {file}: {problem.strerror}") from None


def _next_steps(draft: SettingsDraft, file: Path) -> list[str]:
    config = "" if file == Path(CONFIG_FILE) else f" --config {file}"
    steps = [f"wrote {file}"]
    if draft.token and draft.token != draft.exported:
        steps.append(f"next: export {TOKEN_VARIABLE}=…   (the token is not in the file)")
    return [*steps, f"      harness doctor{config}", f"      harness check{config}"]
