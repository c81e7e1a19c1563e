"""Starts the calibrated target on a core of its own, and asks it what it sent: the truth of a benchmark."""

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
_START_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Rhythm:
    """What a target sends: `tokens` tokens and a `done` a stream; both times 0 is a blast, without `t`."""

    tokens: int
    first_token_us: int = 0
    gap_us: int = 0

    @property
    def stream_s(self) -> float:
        """How long one stream takes."""
        return (self.first_token_us + self.tokens * self.gap_us) / 1e6

    def options(self) -> list[str]:
        """As both targets take it."""
        return [
            *("--tokens", str(self.tokens)),
            *("--first-token-us", str(self.first_token_us)),
            *("--gap-us", str(self.gap_us)),
        ]


class Target:
    """One that runs. `kind`: "c", or "python" where no compiler is at hand."""

    def __init__(self, process: subprocess.Popen[str], port: int, kind: str, rhythm: Rhythm) -> None:
        self.port = port
        self.kind = kind
        self.rhythm = rhythm
        self.base_url = f"http://127.0.0.1:{port}"
        self._process = process

    def report(self) -> dict[str, Any]:
        """What it sent since it started, and how late since `reset`. Times in microseconds.

        open, streams, broken_off: streams under way, whole, and left by the client. events: handed to the
        kernel (of a blast: once the whole answer was). held_back: writes that a full socket did not take.
        lateness_us: of sends against its own schedule. first_token_us: from the reading of a request to
        the send of its first token.
        """
        with urllib.request.urlopen(f"{self.base_url}/report", timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def reset(self) -> None:
        """Begin its distributions anew: what comes before a window is no part of it."""
        with urllib.request.urlopen(f"{self.base_url}/reset", b"", timeout=10) as answer:
            answer.read()


def compiler() -> str | None:
    """A C compiler, where there is one and the system has epoll."""
    return (shutil.which("gcc") or shutil.which("cc")) if sys.platform == "linux" else None


def build(with_compiler: str) -> Path:
    """The target's program, compiled unless it already is. Raises CalledProcessError."""
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
    """Let this process, and those it starts, open as many files as it may; returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def cores() -> tuple[int | None, int | None]:
    """A core for the target and one for the client; None where there is only one, or they cannot be had."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    free = sorted(os.sched_getaffinity(0))
    return (free[0], free[1]) if len(free) > 1 else (None, None)


def pinned(command: list[str], core: int | None) -> list[str]:
    """The command, confined to that core."""
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
    """A target for the length of the block. kind: "c" or "python"; None takes the better one that there is.

    Raises RuntimeError when it does not start.
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
            process.communicate(timeout=_START_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _port(process: subprocess.Popen[str]) -> int:
    line = process.stdout.readline() if process.stdout else ""
    try:
        port: int = json.loads(line)["port"]
    except (ValueError, KeyError) as problem:
        raise RuntimeError(f"the target did not start; it said {line!r}") from problem
    return port
