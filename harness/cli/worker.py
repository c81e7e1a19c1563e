"""``harness worker``: one worker of a load that a master on this or another machine runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from .options import locustfile_option, settings_from_options, target_options


@click.command()
@target_options
@locustfile_option
@click.option("--master", metavar="HOST", default="127.0.0.1", show_default=True, help="Host of the master.")
@click.option(
    "--master-port",
    type=click.IntRange(1, 65535),
    default=5557,
    show_default=True,
    help="Port of the master.",
)
def worker(master: str, master_port: int, locustfile: Path | None, **options: Any) -> None:
    """Send load for a master, harness load --workers.

    Load and objectives come from the master; the settings of the target, with the token, are those of this command. A
    worker uses one CPU core. It waits five minutes for its master, and ends with the test.

    \b
    Example: harness worker --master load-master.internal
    """
    from harness.commands.worker import run_worker

    sys.exit(run_worker(settings_from_options(**options), master, master_port, locustfile))
