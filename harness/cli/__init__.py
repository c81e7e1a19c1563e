"""The ``harness`` command. Each verb gathers its settings and hands on; what it does stands elsewhere."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from harness import __version__
from harness.ci.github import command, in_github
from harness.errors import HarnessError
from harness.exit_codes import INTERRUPTED, NOT_TESTED

from .capacity import capacity
from .check import check
from .compare import compare
from .completion import completion
from .conformance import conformance
from .doctor import doctor
from .export import export
from .gate import gate
from .init import init
from .judge import judge
from .load import load
from .report import report
from .requirements import requirements
from .serve import serve


class _Verbs(click.Group):
    """Any misuse is one sentence and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:

        try:
            return super().invoke(ctx)
        except HarnessError as problem:
            click.echo(f"harness: {problem}", err=True)
            if in_github(os.environ):
                click.echo(command("error", str(problem), title="harness"))
            sys.exit(NOT_TESTED)
        except (KeyboardInterrupt, click.Abort):  # where no test was going on that had to be ended first
            click.echo("harness: interrupted", err=True)
            sys.exit(INTERRUPTED)


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="harness")
def main() -> None:
    """Load and conformance harness for APIs that stream an AI agent's run over Server-Sent Events.

    \b
    harness check                                   try it, on the embedded server
    harness init --target URL                       get to know a server of your own: writes harness.toml
    harness doctor                                  is this machine, is that server fit for a test?
    harness check --target https://agent.example.com
    harness conformance --target URL -k resume      the conformance suite alone
    harness load --target URL --users 50            the load alone
    harness capacity --objective "ttft_p95_ms<800"  the highest rate that it can take

    The bearer token comes from HARNESS_TARGET__TOKEN, the settings file or --token-file.
    Exit codes: 0 all held, 1 a violation, a missed objective, or a measurement too poor to tell, 2 usage,
    target unreachable or nothing tested, 130 interrupted.
    """


for verb in (
    init,
    doctor,
    completion,
    check,
    conformance,
    load,
    capacity,
    report,
    compare,
    gate,
    export,
    judge,
    serve,
    requirements,
):
    main.add_command(verb)
