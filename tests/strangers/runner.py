"""Runs verbs in this process, with a bound on memory and time."""

from __future__ import annotations

import io
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import click

from harness.cli import main

MEMORY_BYTES = 400 * 1024 * 1024
"""What a verb may take in addition to what this process has already."""
CPU_S = 20
"""Generous: what is meant takes less than a second. Without a bound it would take minutes, or all of the memory."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a verb ended. sentence: the line on standard error that begins with "harness: "; empty without one."""

    code: int
    stdout: str
    stderr: str

    @property
    def sentence(self) -> str:
        lines = [line for line in self.stderr.splitlines() if line.startswith("harness: ")]
        return lines[0] if len(lines) == 1 else ""


class TooLongError(Exception):
    pass


def verb(*arguments: str, variables: dict[str, str] | None = None) -> Ended:
    """`harness ARGUMENTS`. Whatever it raises that is no error of the command line is raised."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with bounded(), _variables(variables or {}), redirect_stdout(out), redirect_stderr(err):
        try:
            main.main(args=list(arguments), prog_name="harness")
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        except click.ClickException as problem:
            raise AssertionError(problem) from problem
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
    return Ended(code, *texts)


@contextmanager
def _variables(variables: dict[str, str]) -> Iterator[None]:
    before = {name: value for name, value in os.environ.items() if name.startswith("HARNESS_")}
    for name in before:
        del os.environ[name]
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            os.environ.pop(name, None)
        os.environ.update(before)


@contextmanager
def bounded() -> Iterator[None]:
    """In the block, this process has MEMORY_BYTES more than before and CPU_S seconds of CPU time."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY_BYTES, before[1]))
    handler = signal.signal(signal.SIGPROF, _too_long)
    signal.setitimer(signal.ITIMER_PROF, CPU_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def _too_long(_number: int, _frame: FrameType | None) -> None:
    raise TooLongError(f"more than {CPU_S} s of CPU time: {sys.argv}")


def assert_one_sentence(ended: Ended, *words: str) -> None:
    """Exit code 2, one sentence of one line that has these words, and nothing else that could be a result."""
    shown = f"exit {ended.code}\n{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}"
    assert ended.code == 2, shown
    assert "Traceback" not in ended.stderr, shown
    assert ended.sentence, shown
    assert len(ended.sentence) < 1_000, shown
    for word in words:
        assert word in ended.sentence, shown
