"""Starts the calibrated target on a separate core, and reads its report: the truth of a benchmark."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "bench"
SOURCE = Path(__file__).with_name("paced_target.c")

_COMPILE = ("-O2", "-std=gnu11", "-Wall", "-Wextra")
_STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Rhythm:
    """The events of each stream: `tokens` tokens and a `done`. With both times 0: a blast, without `t`.

    api: the profile of its events. For openai-chat the end is the last chunk and [DONE].
    """

    tokens: int
    first_token_us: int = 0
    gap_us: int = 0
    api: str = "workflow-actions"

    @property
    def events(self) -> int:
        """Events of one stream."""
        return self.tokens + (2 if self.api == "openai-chat" else 1)

    @property
    def stream_s(self) -> float:
        """Duration of one stream."""
        return (self.first_token_us + self.tokens * self.gap_us) / 1e6

    def options(self) -> list[str]:
        """The command-line options of both targets."""
        return [
            *("--tokens", str(self.tokens)),
            *("--first-token-us", str(self.first_token_us)),
            *("--gap-us", str(self.gap_us)),
            *("--api", self.api),
        ]


class Target:
    """A running target. kind: "c", or "python" if there is no compiler."""

    def __init__(self, process: subprocess.Popen[str], port: int, kind: str, rhythm: Rhythm) -> None:
        self.port = port
        self.kind = kind
        self.rhythm = rhythm
        self.base_url = f"http://127.0.0.1:{port}"
        self.pid = process.pid
        self._process = process

    def report(self) -> dict[str, Any]:
        """Counts since its start, distributions since `reset`. Times in microseconds.

        open, streams, broken_off: streams in flight, complete, and closed early by the client. events: written to the
        kernel (of a blast: counted after the whole response). held_back: writes that a full socket did not accept.
        lateness_us: sends against the schedule. first_token_us: from a request's arrival to sending its first token;
        the arrival is the kernel's, in Python the time of the read.
        """
        with urllib.request.urlopen(f"{self.base_url}/report", timeout=10) as response:
            report: dict[str, Any] = json.load(response)
        return report

    def reset(self) -> None:
        """Clear the distributions, at the start of a window."""
        with urllib.request.urlopen(f"{self.base_url}/reset", b"", timeout=10) as response:
            response.read()

    def wait(self, timeout_s: float) -> int:
        """Wait for its end; returns its exit code."""
        return self._process.wait(timeout_s)


def compiler() -> str | None:
    """A C compiler; None if there is none, or the system has no epoll."""
    return (shutil.which("gcc") or shutil.which("cc")) if sys.platform == "linux" else None


def build(with_compiler: str) -> Path:
    """Compile the target, or return the cached program. Raises CalledProcessError."""
    recipe = SOURCE.read_bytes() + " ".join((with_compiler, *_COMPILE)).encode()
    program = BUILD / f"paced_target-{hashlib.sha256(recipe).hexdigest()[:12]}"
    if not program.is_file():
        BUILD.mkdir(parents=True, exist_ok=True)
        unfinished = program.with_suffix(f".{os.getpid()}")
        subprocess.run(
            [with_compiler, *_COMPILE, "-o", str(unfinished), str(SOURCE)], check=True, timeout=120
        )
        unfinished.replace(program)
    return program


def raise_file_limit() -> int:
    """Raise this process's limit of open files to the hard limit, also for child processes; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def cores() -> tuple[int | None, int | None]:
    """A core for the target and one for the client; None if there is only one, or pinning is not supported."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    available = sorted(os.sched_getaffinity(0))
    return (available[0], available[1]) if len(available) > 1 else (None, None)


def pinned(command: list[str], core: int | None) -> list[str]:
    """The command, pinned to a core."""
    if core is None:
        return command
    script = (
        "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); os.execvp(sys.argv[2], sys.argv[2:])"
    )
    return [sys.executable, "-S", "-c", script, str(core), *command]


@contextmanager
def running_target(
    rhythm: Rhythm, *, core: int | None = None, kind: str | None = None, lifetime_s: int = 900
) -> Iterator[Target]:
    """Run a target for the block. kind: "c" or "python"; None means C if possible.

    Raises RuntimeError if it does not start.
    """
    with_compiler = compiler()
    kind = kind or ("c" if with_compiler else "python")
    if kind == "c":
        if with_compiler is None:
            raise RuntimeError("the C target needs Linux and a C compiler: install gcc")
        command = [str(build(with_compiler))]
    else:
        command = [sys.executable, "-m", "tests.benchmarks.paced_server"]
    command += [*rhythm.options(), "--lifetime-s", str(lifetime_s)]
    raise_file_limit()
    process = subprocess.Popen(
        pinned(command, core), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        yield Target(process, _port(process), kind, rhythm)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _port(process: subprocess.Popen[str]) -> int:
    line = process.stdout.readline() if process.stdout else ""
    try:
        port: int = json.loads(line)["port"]
    except (ValueError, KeyError) as problem:
        raise RuntimeError(f"the target did not start; its output: {line!r}") from problem
    return port
