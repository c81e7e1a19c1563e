"""The verb that runs the embedded server."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import click

from harness.config.sources import load_settings
from harness.exit_codes import NOT_TESTED

from .options import DurationType


@click.command()
@click.option(
    "--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one."
)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--fault", "faults", multiple=True, metavar="NAME", help="Switch a defect on (see --faults).")
@click.option("--faults", "list_faults", is_flag=True, help="List the defects there are.")
@click.option("--first-token-delay", type=DurationType(), default=0.0, help="Delay every run's first event.")
@click.option("--config-out", type=click.Path(path_type=Path), help="Write a harness.toml that points at it.")
@click.option(
    "--config", type=click.Path(path_type=Path), help="Settings file whose token it shall accept too."
)
@click.option(
    "--stop-with-stdin", is_flag=True, help="Stop when standard input ends: with the parent process."
)
def serve(
    port: int,
    host: str,
    faults: Sequence[str],
    list_faults: bool,
    first_token_delay: float,
    config_out: Path | None,
    config: Path | None,
    stop_with_stdin: bool,
) -> None:
    """Run the embedded server: a correct implementation of the API, or one with chosen defects.

    \b
    Example: harness serve --port 8080 --fault two-terminals
    """
    from harness.commands.reference_process import LISTENING
    from harness.reference.faults import RARE_FAULTS
    from harness.reference.faults.base import FAULTS
    from harness.reference.server import serve as run_server
    from harness.reference.settings import DEMO_PRINCIPALS, ServerSettings, demo_config

    if list_faults:
        for name, fault in sorted((FAULTS | RARE_FAULTS).items()):
            click.echo(f"{name:28} {fault.breaks:28} {(fault.__doc__ or '').strip().splitlines()[0]}")
        return
    settings = load_settings(config)
    principals = dict(DEMO_PRINCIPALS)
    if settings.target.token is not None:
        principals[settings.target.token.get_secret_value()] = settings.target.organization_id
    server = ServerSettings(
        host=host,
        port=port,
        principals=principals,
        first_token_delay_s=first_token_delay,
        path=settings.target.path,
    )

    def on_ready(taken: int) -> None:
        url = f"http://{host}:{taken}"
        click.echo(f"embedded server {LISTENING}{url} (Ctrl-C stops it)")
        if config_out is not None:
            import tomlkit

            config_out.write_text(tomlkit.dumps(demo_config(url)), encoding="utf-8")
            click.echo(f"try: harness conformance --config {config_out}")
        else:
            click.echo(f"try: harness conformance --target {url}")
        sys.stdout.flush()
        if stop_with_stdin:
            threading.Thread(target=_stop_at_end_of_input, daemon=True).start()

    try:
        run_server(server, faults, on_ready=on_ready)
    except (ValueError, OSError) as problem:
        said = f"cannot serve on {host}:{port}: {problem}" if isinstance(problem, OSError) else str(problem)
        click.echo(f"harness: {said}", err=True)
        sys.exit(NOT_TESTED)


def _stop_at_end_of_input() -> None:
    while os.read(sys.stdin.fileno(), 1):  # the buffered reader's lock would outlive the interpreter
        pass
    os.kill(os.getpid(), signal.SIGTERM)
