"""``harness serve``: the embedded server."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from harness.errors import SettingsError
from harness.exit_codes import NOT_TESTED
from harness.formatting import shown_path, visible

from . import complete
from .options import DurationType

_STOP_WITHIN_S = 2.5
"""How long the server may take to stop when the process that started it is gone."""


@click.command()
@click.option(
    "--port",
    default=8080,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port; 0 chooses a free one.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--profile",
    metavar="NAME",
    shell_complete=complete.served_profiles,
    help="The API to have: workflow-actions, openai-chat or ag-ui.  [default: that of the settings]",
)
@click.option("--no-token", is_flag=True, help="Accept requests without a token (openai-chat).")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="NAME",
    shell_complete=complete.faults,
    help="Enable a fault (see --faults).",
)
@click.option("--faults", "list_faults", is_flag=True, help="List the faults.")
@click.option("--first-token-delay", type=DurationType(), default=0.0, help="Delay every run's first event.")
@click.option(
    "--config-out", type=click.Path(path_type=Path), help="Write a harness.toml that targets this server."
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Settings file whose path, token and organization the server accepts too.",
)
@click.option(
    "--store",
    metavar="ADDRESS",
    help="Keep the runs in a file, sqlite:PATH, or in Redis, redis://HOST:PORT/DATABASE, where replicas and a "
    "restarted server find them. SIGUSR1 restarts the server.",
)
@click.option(
    "--replicas",
    type=click.IntRange(2, 16),
    help="Serve with so many processes, each with its own port; needs --store.",
)
@click.option(
    "--stop-with-stdin", is_flag=True, help="Stop when standard input ends, that is, with the parent process."
)
def serve(
    port: int,
    host: str,
    profile: str | None,
    no_token: bool,
    faults: Sequence[str],
    list_faults: bool,
    first_token_delay: float,
    config_out: Path | None,
    config: Path | None,
    store: str | None,
    replicas: int | None,
    stop_with_stdin: bool,
) -> None:
    """Run the embedded server.

    It is a correct implementation of the API, or one with selected faults. A fault belongs to one profile.

    \b
    Examples:
      harness serve --port 8080 --fault two-terminals
      harness serve --replicas 2 --store sqlite:runs.db --config-out harness.toml
    """
    from harness.atomic_file import ensure_writable
    from harness.config.sources import load_settings
    from harness.reference.replicas import serve_replicas
    from harness.reference.server import serve as run_server
    from harness.reference.settings import DEMO_PRINCIPALS, ServerSettings

    if list_faults:
        _print_faults()
        return
    if config_out is not None:
        ensure_writable(config_out)
    if replicas is not None and store is None:
        raise click.UsageError(
            "--replicas needs --store, such as sqlite:runs.db, where the replicas find each other's runs"
        )
    settings = load_settings(config)
    api = profile or settings.target.profile
    if no_token and api != "openai-chat":
        raise SettingsError(f"--no-token is for --profile openai-chat; {api} has no such choice")
    principals = dict(DEMO_PRINCIPALS)
    if settings.target.token is not None:
        organization = settings.target.organization_id or next(iter(DEMO_PRINCIPALS.values()))
        principals[settings.target.token.get_secret_value()] = organization
    server = ServerSettings(
        host=host,
        port=port,
        principals=principals,
        first_token_delay_s=first_token_delay,
        path=settings.target.path if settings.target.profile == api else "",
        profile=api,
        needs_token=not no_token,
        store=store,
    )

    def on_ready(*bound_ports: int) -> None:
        _announce([f"http://{host}:{bound_port}" for bound_port in bound_ports], api, config_out, store)
        if stop_with_stdin:
            threading.Thread(target=_stop_at_end_of_input, daemon=True).start()

    try:
        if store is None:
            run_server(server, faults, on_ready=on_ready)
        else:
            serve_replicas(server, replicas or 1, faults, on_ready=on_ready)
    except (ValueError, OSError) as problem:
        reason = f"cannot serve on {host}:{port}: {problem}" if isinstance(problem, OSError) else str(problem)
        click.echo(f"harness: {visible(reason)}", err=True)
        sys.exit(NOT_TESTED)


def _print_faults() -> None:
    """Every fault with the requirement that it violates, what it does, and its profile if that is not the default."""
    from harness.profiles.profile import WORKFLOW_ACTIONS
    from harness.reference.faults import FAULTS, RARE_FAULTS

    for name, fault in sorted((FAULTS | RARE_FAULTS).items()):
        of_profile = "" if fault.profile == WORKFLOW_ACTIONS else f" ({fault.profile})"
        what = (fault.__doc__ or "").strip().splitlines()[0]
        click.echo(f"{name:28} {fault.breaks:28} {what}{of_profile}")


def _announce(urls: Sequence[str], profile: str, config_out: Path | None, store: str | None) -> None:
    """Write the settings for the server, then say where it listens: a script that waits for that line needs both."""
    import tomlkit

    from harness.atomic_file import write_text
    from harness.commands.reference_process import LISTENING
    from harness.reference.replicas import restart_command
    from harness.reference.settings import demo_config

    then = "for the settings that test it, start it with --config-out harness.toml"
    if config_out is not None:
        more: dict[str, Any] = {"replicas": list(urls)} if len(urls) > 1 else {}
        if store is not None:
            more |= {"own": True, "restart_command": restart_command(os.getpid())}
        write_text(config_out, tomlkit.dumps(demo_config(urls[0], profile, **more)))
        then = f"try: harness conformance --config {shown_path(config_out)}"
    click.echo(f"embedded server {LISTENING}{' and '.join(urls)} (Ctrl-C stops it)")
    click.echo(then)
    sys.stdout.flush()


def _stop_at_end_of_input() -> None:
    while os.read(
        sys.stdin.fileno(), 1
    ):  # not the buffered reader: its lock would block interpreter shutdown
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_STOP_WITHIN_S)  # the thread ends with the process
    os._exit(NOT_TESTED)
