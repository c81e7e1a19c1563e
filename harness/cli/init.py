"""The verbs before a first test: init, doctor, completion."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import get_completion_class

from harness.config.settings import SettingsError

from .options import load_options, out_option, settings_of, target_options


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
    from harness.setup.prompts import whoever_is_there

    ensure_writable(out or Path("harness.toml"), force=force)
    questions = whoever_is_there()
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


@click.command()
@target_options
@load_options
@out_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def doctor(out: Path | None, as_json: bool, **options: Any) -> None:
    """Look this machine over, and the target where one is named: what stands in the way of a test, and what to do.

    Two requests are sent to the target, one of which runs its long action (or success). Give the options of
    the load that is planned: limits are held against it. Exit codes: 0 nothing failed, 1 something did, 2 usage.

    \b
    Example: harness doctor --target https://agent.example.com --rate 200
    """
    from harness.setup.doctor import run_doctor

    sys.exit(run_doctor(settings_of(**options), out, as_json=as_json))


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes verbs and options in a shell.

    \b
    bash: harness completion bash > ~/.local/share/bash-completion/completions/harness
    zsh:  harness completion zsh > "${fpath[1]}/_harness"
    fish: harness completion fish > ~/.config/fish/completions/harness.fish

    \b
    Example: eval "$(harness completion bash)"
    """
    from . import main

    found = get_completion_class(shell)
    if found is None:
        raise SettingsError(f"there is no completion for {shell}")
    click.echo(found(main, {}, "harness", "_HARNESS_COMPLETE").source())
