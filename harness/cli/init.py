"""The verbs before a first test: init, doctor, completion."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from harness.errors import SettingsError


@click.command()
@click.option("--target", metavar="URL", help="Server under test; its path may stand in it.")
@click.option("--path", metavar="PATH", help="Path of the endpoint.  [default: /agent/workflow-actions]")
@click.option("--organization", metavar="ORG", help="The organization that the token belongs to.")
@click.option("--token-file", type=click.Path(path_type=Path), help="File that holds the bearer token.")
@click.option(
    "--from-curl",
    "curl_file",
    type=click.Path(path_type=Path),
    help="File with a curl command that works: URL, token, organization, action and body are taken from it.",
)
@click.option(
    "--action",
    "actions",
    multiple=True,
    metavar="NAME=ACTION",
    help="The workflowAction for a situation, as JSON; at a terminal its toolId does, and the rest is asked for. "
    "Situations: success, long, failure, cancelled, silent, quiet, echo.",
)
@click.option("--ca-file", type=click.Path(path_type=Path), help="Certificate authority of the target.")
@click.option("--no-verify-tls", is_flag=True, help="Do not check the target's certificate.")
@click.option("--once", is_flag=True, help="Run each action once, and try no retry, conflict or cut.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="File to write.  [default: harness.toml]"
)
@click.option("--force", is_flag=True, help="Overwrite the file that is there.")
def init(
    target: str | None,
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
    """Get to know a server by a few requests, and write a commented harness.toml.

    What it cannot find out it asks for at a terminal; elsewhere flags say it. The token is taken from
    HARNESS_TARGET__TOKEN, --token-file or the curl command, and is never written.

    \b
    Example: harness init --target https://agent.example.com/agent/workflow-actions --action success=echo
    """
    from harness.setup.init import ensure_writable, first_draft, run_init
    from harness.setup.prompts import default_prompt

    ensure_writable(out or Path("harness.toml"), force=force)
    questions = default_prompt()
    draft = first_draft(
        target, path, organization, token_file, curl_file, _named(actions), questions, os.environ
    )
    draft.verify_tls = draft.verify_tls and not no_verify_tls
    draft.ca_file = str(ca_file) if ca_file is not None else draft.ca_file
    sys.exit(run_init(draft, questions, out, force=force, once=once))


def _named(actions: Sequence[str]) -> dict[str, str]:
    named = {}
    for one in actions:
        name, equals, text = one.partition("=")
        if not equals or name in named:
            wrong = "is given twice" if equals else "has no ="
            raise SettingsError(f'--action {name} {wrong}; write --action success=\'{{"toolId": "…"}}\'')
        named[name] = text
    return named
