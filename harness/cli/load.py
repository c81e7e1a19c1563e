"""``harness load``: the load only, headless or from Locust's web page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.errors import SettingsError

from .artifact_options import artifact_options
from .options import (
    DurationType,
    gate_options,
    load_options,
    locustfile_option,
    out_option,
    restart_at_option,
    settings_from_options,
    target_options,
)
from .output_options import output_options

if TYPE_CHECKING:
    from harness.ci.artifacts import Artifacts
    from harness.terminal.output import Output


@click.command()
@target_options
@load_options
@restart_at_option
@out_option
@gate_options
@artifact_options
@output_options
@locustfile_option
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Wait for this number of harness worker processes, on other machines too, in place of --processes.",
)
@click.option(
    "--workers-wait",
    type=DurationType(),
    default=300.0,
    help="Give up if the workers have not connected after this time.  [default: 5m]",
)
@click.option(
    "--master-host",
    metavar="ADDRESS",
    default="*",
    help="Address on which to listen for the workers.  [default: every address]",
)
@click.option(
    "--master-port",
    type=click.IntRange(1, 65535),
    default=5557,
    show_default=True,
    help="Port on which to listen for the workers.",
)
@click.option("--web", is_flag=True, help="Serve Locust's web page and start tests from it.")
@click.option(
    "--web-port",
    type=click.IntRange(1, 65535),
    default=8089,
    show_default=True,
    help="Port of the page.",
)
@click.option(
    "--web-host",
    metavar="ADDRESS",
    default="127.0.0.1",
    show_default=True,
    help="Address on which the page listens; one that other machines reach needs --web-login.",
)
@click.option(
    "--web-login",
    is_flag=True,
    help="Ask for a password: that in HARNESS_WEB_PASSWORD, or a random one, which is printed.",
)
def load(
    out: Path | None,
    artifacts: Artifacts,
    baseline: Path | None,
    output: Output,
    locustfile: Path | None,
    workers: int | None,
    workers_wait: float,
    master_host: str,
    master_port: int,
    web: bool,
    web_port: int,
    web_host: str,
    web_login: bool,
    **options: Any,
) -> None:
    """Run the load only, and check every stream.

    Runs Locust headless, or with --web from its web page. With --workers, the load comes from harness worker processes
    (docs/scale.md); results, gate and exit code are those of all of them together.

    \b
    Example: harness load --target https://agent.example.com --rate 5 --duration 2m --processes 2
    """
    from harness.commands.load import run_load
    from harness.load.locust.command import RemoteWorkers

    remote = None if workers is None else RemoteWorkers(workers, master_host, master_port, workers_wait)
    if web:
        from harness.commands.load_web import PageAddress, run_load_web

        if baseline is not None or artifacts.files:
            raise SettingsError(
                "--web gives no verdict; remove --baseline, --junit, --ctrf, --badge, --summary-md and --comment-md"
            )
        address = PageAddress(web_host, web_port, web_login)
        settings = settings_from_options(**options)
        sys.exit(run_load_web(settings, out, address, remote=remote, locustfile=locustfile))
    settings = settings_from_options(**options)
    sys.exit(run_load(settings, out, artifacts, baseline, output, remote=remote, locustfile=locustfile))
