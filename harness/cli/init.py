"""``harness init``: write a harness.toml for a server."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from harness.errors import SettingsError

from . import complete
from .options import organization_option, path_option, profile_options, token_file_option


@click.command()
@click.option("--target", metavar="URL", help="Server under test; the URL may include the path.")
@profile_options
@path_option
@organization_option
@token_file_option
@click.option(
    "--from-curl",
    "curl_file",
    type=click.Path(path_type=Path),
    help="File with a working curl command. URL, token, organization, action and body are read from it.",
)
@click.option(
    "--action",
    "actions",
    multiple=True,
    metavar="NAME=ACTION",
    shell_complete=complete.actions,
    help="The workflowAction for a situation, as JSON. On a terminal its toolId is enough; you are asked for the "
    "rest. Situations: success, long, failure, cancelled, silent, quiet, echo, recall.",
)
@click.option("--ca-file", type=click.Path(path_type=Path), help="Certificate authority of the target.")
@click.option("--no-verify-tls", is_flag=True, help="Do not verify the target's certificate.")
@click.option("--once", is_flag=True, help="Run each action once; skip the retry, conflict and cut probes.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="File to write.  [default: harness.toml]"
)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def init(
    target: str | None,
    profile: str | None,
    model: str | None,
    variables: Sequence[tuple[str, Any]],
    path: str | None,
    organization: str | None,
    token_file: Path | None,
    curl_file: Path | None,
    actions: Sequence[str],
    ca_file: Path | None,
    no_verify_tls: bool,
    once: bool,
    out: Path | None,
    force: bool,
) -> None:
    """Write a commented harness.toml for your server.

    The API of a curl command is recognized; --profile names it. For workflow-actions, the default, it
    sends the server a few requests to detect how it behaves. On a terminal you are asked for what cannot be
    detected; elsewhere, pass options. The token is read from HARNESS_TARGET__TOKEN, --token-file or the
    curl command, and is never written to the file.

    \b
    Example: harness init --target https://agent.example.com/agent/workflow-actions --action success=echo
    """
    from harness.config.sources import read_token
    from harness.setup.curl import read_curl_file
    from harness.setup.init import ensure_writable, first_draft, run_init
    from harness.setup.other_api import other_api, write_settings
    from harness.setup.prompts import default_prompt
    from harness.setup.settings_draft import TOKEN_VARIABLE

    ensure_writable(out or Path("harness.toml"), force=force)
    given = {**dict(variables), **({} if model is None else {"model": model})}
    curl = read_curl_file(curl_file) if curl_file is not None else None
    other = other_api(target, profile, given, path, curl)
    if other is not None:
        if actions or organization is not None or once:
            raise SettingsError(
                f"--action, --organization and --once are for workflow-actions, not for {other.profile}"
            )
        exported = os.environ.get(TOKEN_VARIABLE)
        other.token = read_token(token_file) if token_file is not None else exported or other.token
        tls: dict[str, Any] = {} if ca_file is None else {"ca_file": str(ca_file)}
        tls |= {"verify_tls": False} if no_verify_tls else {}
        sys.exit(write_settings(other, out or Path("harness.toml"), exported_token=exported, connection=tls))
    prompt = default_prompt()
    draft = first_draft(
        target, path, organization, token_file, curl, _parse_actions(actions), prompt, os.environ
    )
    draft.verify_tls = draft.verify_tls and not no_verify_tls
    draft.ca_file = str(ca_file) if ca_file is not None else draft.ca_file
    sys.exit(run_init(draft, prompt, out, force=force, once=once))


def _parse_actions(actions: Sequence[str]) -> dict[str, str]:
    """``NAME=ACTION`` pairs as a mapping."""
    parsed = {}
    for option in actions:
        name, equals, text = option.partition("=")
        if not equals or name in parsed:
            mistake = "is given twice" if equals else "has no ="
            raise SettingsError(f'--action {name} {mistake}; write --action success=\'{{"toolId": "…"}}\'')
        parsed[name] = text
    return parsed
