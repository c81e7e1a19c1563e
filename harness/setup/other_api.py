"""``harness init`` for APIs other than workflow actions: settings from a curl command or from a profile's name."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomlkit

from harness.atomic_file import write_text
from harness.config.parsing import masked_address
from harness.config.settings import CONFIG_FILE
from harness.config.sources import settings_alone
from harness.config.target import Target
from harness.contract.evidence.redaction import Redactor
from harness.contract.exchange import Ending, Exchange
from harness.errors import SettingsError
from harness.formatting import counted, shown_path, visible
from harness.profiles import library
from harness.profiles.profile import WORKFLOW_ACTIONS
from harness.profiles.recognition import recognize_request
from harness.setup.curl import CurlRequest, split_url, unread_token
from harness.setup.settings_draft import refuse_secrets
from harness.suite.preflight import preflight
from harness.terminal.safe_console import SafeConsole


@dataclass(slots=True)
class OtherApiDraft:
    """What a settings file for an API with a profile has. token: sent, and never written. curl: where it is
    from.
    """

    base_url: str
    profile: str
    path: str | None = None
    variables: dict[str, Any] = field(default_factory=dict)
    prompt: str | None = None
    body: dict[str, Any] = field(default_factory=dict)
    token: str | None = None
    curl: CurlRequest | None = None
    notes: list[str] = field(default_factory=list)

    def target(self) -> dict[str, Any]:
        """The table [target]."""
        table: dict[str, Any] = {"base_url": self.base_url, "profile": self.profile}
        if self.path is not None and self.path != library.load(self.profile).run.path:
            table["path"] = self.path
        if self.variables:
            table["variables"] = self.variables
        if self.body:
            table["body"] = self.body
        if self.prompt:
            table["actions"] = {"success": self.prompt}
        return table

    def text(self, connection: Mapping[str, Any]) -> str:
        """The settings file. Raises SettingsError if it would hold a secret."""
        comments = "".join(f"# {visible(note)}\n" for note in self.notes)
        text = comments + tomlkit.dumps({"target": {**self.target(), **connection}})
        refuse_secrets(text, self.token, self.path)
        return text


def draft_of_curl(curl: CurlRequest) -> OtherApiDraft | None:
    """The settings for the API of a curl command; None if it is that of workflow actions, or of no profile."""
    found = recognize_request(curl.path, curl.body, is_form=curl.form_as is not None)
    if found is None or found.profile.name == WORKFLOW_ACTIONS:
        return None
    draft = OtherApiDraft(
        curl.base_url,
        found.profile.name,
        None if "${" in found.profile.run.path else curl.path,
        dict(found.variables),
        found.prompt,
        {} if curl.form_as else {name: value for name, value in found.further.items() if value is not None},
        curl.token,
        curl,
    )
    if curl.form_as and found.further:
        draft.notes.append(
            f"fields of the curl command's form that the profile {draft.profile} does not send: "
            f"{', '.join(found.further)}; to send them, change a copy of it (harness profile show {draft.profile})"
        )
    if curl.left_out:
        draft.notes.append(
            f"header fields of the curl command to set in [target.headers]: {', '.join(curl.left_out)}"
        )
    return draft


def other_api(
    target: str | None,
    profile: str | None,
    variables: Mapping[str, Any],
    path: str | None,
    curl: CurlRequest | None,
) -> OtherApiDraft | None:
    """The settings for an API that an option names, or that the curl command shows; None for workflow actions.

    Raises SettingsError for options that do not fit together.
    """
    draft = None
    if curl is not None and profile != WORKFLOW_ACTIONS:
        draft = draft_of_curl(curl)
    if draft is None:
        if profile is None or profile == WORKFLOW_ACTIONS:
            if variables:
                raise SettingsError("--model and --var are for other profiles: use --profile NAME")
            return None
        if target is None:
            raise SettingsError(
                f"--profile {profile} needs --target URL, or --from-curl with a request of that API"
            )
        base_url, url_path = split_url(target)
        draft = OtherApiDraft(base_url, profile, url_path or None)
    if profile is not None and profile != draft.profile:
        raise SettingsError(f"the curl command is of the profile {draft.profile}, not of {profile}")
    if target is not None and curl is not None:
        base_url, url_path = split_url(target)
        draft.base_url, draft.path = base_url, url_path or draft.path
    draft.path = path or draft.path
    draft.variables |= variables
    return draft


def write_settings(
    draft: OtherApiDraft, file: Path, *, exported_token: str | None, connection: Mapping[str, Any]
) -> int:
    """Send one request, and write the settings file if it was answered with a stream. Returns the exit code.

    connection: settings of the target about TLS. Raises SettingsError or PreflightError if the target cannot be tested.
    """
    if draft.curl is not None and draft.curl.token_unread and not draft.token:
        raise unread_token(draft.curl)
    console = SafeConsole(stderr=True, highlight=False, soft_wrap=True)
    target = {**draft.target(), **connection}
    with_token = {**target, "token": draft.token} if draft.token else target
    run = asyncio.run(preflight(Target(settings_alone({"target": with_token}, "the options of init"))))
    if run.head is None:
        raise SettingsError(
            f"{masked_address(draft.base_url)} cannot be reached: {run.ending_detail or run.ending}"
        )
    console.print(f"profile  {draft.profile}: {library.load(draft.profile).title}", markup=False)
    console.print(f"run      {_seen(run)}", markup=False)
    if problem := _stream_problem(run):
        console.print(Redactor([draft.token or ""]).sentence(problem), style="yellow")
    write_text(file, draft.text(connection))
    console.print(f"wrote {shown_path(file)}", markup=False)
    if draft.token and draft.token != exported_token:
        console.print("next: export HARNESS_TARGET__TOKEN=…   (the token is not in the file)", markup=False)
    config = "" if file == Path(CONFIG_FILE) else f" --config {shown_path(file)}"
    console.print(f"next: harness check{config}", markup=False)
    return 0


def _stream_problem(run: Exchange) -> str:
    """What the suite needs and the stream does not have, as a sentence; empty if nothing."""
    if run.ending is not Ending.COMPLETE:
        return f"the stream did not end properly: {run.describe()}"
    if run.outcome is None:
        return f"the stream does not end as the profile says; is it of this API? {run.describe()}"
    return ""


def _seen(run: Exchange) -> str:
    return f"{counted(len(run.events), 'event')}, {counted(len(run.tokens), 'token')}, {run.outcome or 'no outcome'}"
