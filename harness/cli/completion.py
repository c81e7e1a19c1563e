"""``harness completion``: the shell completion script."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from harness.errors import SettingsError


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for a shell.

    \b
    bash: harness completion bash > ~/.local/share/bash-completion/completions/harness
    zsh:  harness completion zsh > "${fpath[1]}/_harness"
    fish: harness completion fish > ~/.config/fish/completions/harness.fish

    \b
    Example: eval "$(harness completion bash)"
    """
    from . import main

    completion_class = get_completion_class(shell)
    if completion_class is None:
        raise SettingsError(f"no completion for the shell {shell}")
    click.echo(completion_class(main, {}, "harness", "_HARNESS_COMPLETE").source())
