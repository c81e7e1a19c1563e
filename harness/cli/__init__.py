"""The ``harness`` command. The modules here declare the options of its verbs; harness.commands does the work.

``harness --help`` imports all of them, so they import click and the standard library only, and the rest when they run.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path
from typing import Any

import click

from harness import __version__
from harness.errors import HarnessError
from harness.exit_codes import INTERRUPTED, NOT_TESTED
from harness.formatting import visible

from .lazy_group import LazyGroup

_VERBS = (
    "ab",
    "capacity",
    "check",
    "comment",
    "compare",
    "completion",
    "conformance",
    "doctor",
    "export",
    "gate",
    "init",
    "judge",
    "load",
    "profile",
    "report",
    "requirements",
    "serve",
    "trend",
    "worker",
)


_LINE_CHARS = 1_000  # of a message
_LOST_OUTPUT = (errno.EPIPE, errno.ENOSPC, errno.EIO)


def _open_closed_streams() -> None:
    """Open the standard streams that the caller has closed (``>&-``).

    A file that is opened later would get the number of one, and everything that is printed.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            continue
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
        nowhere = Path(os.devnull).open("r+", encoding="utf-8")  # noqa: SIM115 - open until the process ends
        setattr(sys, name, nowhere)


def _leave_standard_output() -> None:
    """Send what is still in its buffer nowhere: the interpreter writes that at its end, and would fail."""
    if sys.stdout is sys.__stdout__ and sys.stdout is not None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _print_system_error(problem: OSError) -> None:
    """Say which file, or that the output, cannot be used: a name that is too long, a folder without permission."""
    what = "write its output"
    if problem.filename is None:
        _leave_standard_output()
    else:
        what = f"use {visible(str(problem.filename))}"
    click.echo(f"harness: cannot {_shortened(what)}: {problem.strerror}", err=True)


def _shortened(text: str) -> str:
    """The text with the middle of very long lines left out, as of one that repeats a value of 5,000 digits."""
    return "\n".join(
        line if len(line) <= _LINE_CHARS else f"{line[: _LINE_CHARS // 2]} … {line[-_LINE_CHARS // 2 :]}"
        for line in text.split("\n")
    )


def _has_lines(problem: click.UsageError) -> bool:
    """Whether line breaks of a message are its own, as in one that points into an expression; others are of a name."""
    return isinstance(problem, click.BadParameter) and not isinstance(
        getattr(problem.param, "type", None), click.Path
    )


class _Harness(LazyGroup):
    """Prints a HarnessError as one sentence and ends with exit code 2."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """See click.Group. What the encoding of a terminal or pipe lacks, for example ≤, is printed as an escape."""
        _open_closed_streams()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        return super().main(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except HarnessError as problem:
            from harness.ci.workflow_commands import in_github, workflow_command

            text = _shortened(str(problem))
            click.echo(f"harness: {text}", err=True)
            if in_github(os.environ):
                click.echo(workflow_command("error", text, title="harness"))
            sys.exit(NOT_TESTED)
        except click.NoSuchOption as problem:
            if not problem.possibilities:
                raise
            near = " or ".join(map(repr, problem.possibilities))  # click would sort them by the alphabet
            raise click.UsageError(f"{problem.message} Did you mean {near}?", ctx=problem.ctx) from None
        except click.UsageError as problem:
            text = problem.format_message()
            shown = _shortened(visible(text, keep="\n\t" if _has_lines(problem) else ""))
            if text == shown:
                raise
            raise click.UsageError(shown, ctx=problem.ctx) from None
        except OSError as problem:
            if problem.filename is None and problem.errno not in _LOST_OUTPUT:
                raise
            _print_system_error(problem)
            sys.exit(NOT_TESTED)
        except (KeyboardInterrupt, click.Abort):  # no test was running that handles the signal itself
            click.echo("harness: interrupted", err=True)
            sys.exit(INTERRUPTED)


@click.group(
    cls=_Harness,
    package=__name__,
    names=_VERBS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="harness")
def main() -> None:
    """Load and conformance harness for APIs that stream an AI agent's run over Server-Sent Events.

    \b
    harness check                                   try it on the embedded server
    harness init --target URL                       set up your own server: writes harness.toml
    harness doctor                                  check this machine and the server before a test
    harness check --target https://agent.example.com
    harness conformance --target URL -k resume      run the conformance suite only
    harness load --target URL --users 50            run the load only
    harness capacity --objective "ttft_p95_ms<800"  find the highest rate that meets the objectives

    Set the bearer token in HARNESS_TARGET__TOKEN, in the settings file or with --token-file.

    \b
    Exit codes:
      0    passed
      1    a violation, a missed objective, or an inconclusive measurement
      2    wrong usage, target unreachable, or nothing tested
      3    the load was aborted by a condition of --abort-on
      130  interrupted
    """
