"""Child processes of a test: starts them in their own sessions, forwards signals once, waits for them.

No child outlives this process, and this process does not outlive its terminal or the process that started it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO

from harness.atomic_file import temporary_folder
from harness.config.settings import ENV_PREFIX
from harness.parent_process import ENDED, OwnParent, ParentPipe

_STOP_TIMEOUT_S = 40.0  # for an interrupted child to write its results
_POLL_S = 0.1
_DESCRIPTORS = Path("/proc/self/fd")


class ChildProcesses:
    """Starts processes and forwards SIGINT and SIGTERM to them, so that each can write its results.

    Each child has its own session: a Ctrl-C in the terminal reaches it once, through this class. When the terminal or
    the process that started this one is gone, the children stop at once, as they do when this process is killed.
    """

    def __init__(self) -> None:
        self.interrupted = False
        self._running: list[subprocess.Popen[bytes]] = []
        self._pipe = ParentPipe()
        self._own_parent = OwnParent()
        self._terminals = [descriptor for descriptor in (0, 1, 2) if os.isatty(descriptor)]

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], output: IO[bytes] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a process. Its standard output and error go to `output`, or to the terminal."""
        child = subprocess.Popen(
            command,
            env={**environment, **self._pipe.environment()},
            pass_fds=(self._pipe.descriptor,),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output is not None else None,
            start_new_session=True,
        )
        self._running.append(child)
        if self.interrupted:
            child.send_signal(signal.SIGINT)
        return child

    def wait(self, child: subprocess.Popen[bytes], poll: Callable[[], None] | None = None) -> int:
        """Wait for a child's exit code. An interrupted child that does not end in time is killed.

        poll: called repeatedly while waiting.
        """
        remaining_s = _STOP_TIMEOUT_S
        while True:
            if poll is not None:
                poll()
            if not self.interrupted and self._own_parent.has_ended:
                sys.stderr.write(f"harness: {ENDED}\n")
                self._hang_up()
            with suppress(subprocess.TimeoutExpired):
                return child.wait(_POLL_S)
            if self.interrupted:
                remaining_s -= _POLL_S
            if remaining_s <= 0:
                child.kill()

    def _forward(self, _number: int, _frame: FrameType | None) -> None:
        if self.interrupted:
            return
        self.interrupted = True
        for child in self._running:
            if child.poll() is None:
                child.send_signal(signal.SIGINT)

    def _on_hangup(self, _number: int, _frame: FrameType | None) -> None:
        # What is written to a terminal that is gone fails, and would keep the results from being completed.
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in self._terminals:
            os.dup2(nowhere, descriptor)
        os.close(nowhere)
        self._hang_up()

    def _hang_up(self) -> None:
        self.interrupted = True
        self._pipe.close()

    @contextmanager
    def signals(self) -> Iterator[None]:
        """In the block, SIGINT and SIGTERM are forwarded to the children and do not end this process.

        SIGHUP stops them too, at once, unless it is ignored (nohup).
        """
        handlers = {signal.SIGINT: self._forward, signal.SIGTERM: self._forward}
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            handlers[signal.SIGHUP] = self._on_hangup
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, earlier in before.items():
                signal.signal(number, earlier)


@contextmanager
def interruptible() -> Iterator[None]:
    """In the block, SIGINT and SIGTERM raise KeyboardInterrupt: no child has results to write yet."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


_REMOVED_PREFIXES = (ENV_PREFIX, "LOCUST_", "PYTEST_")


@contextmanager
def private_settings(text: str) -> Iterator[Path]:
    """A settings file with secrets, for child processes (`Settings.private_text`), as a path that they can open.

    It is in memory, and only a process of this user can open it: it ends with this process, however that ends. Where
    the system has no such files, it is a file in a temporary folder that only this user can read.
    """
    if hasattr(os, "memfd_create") and _DESCRIPTORS.is_dir():
        with os.fdopen(os.memfd_create("harness-settings"), "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text)
            file.flush()
            yield Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")
        return
    with temporary_folder() as folder:
        path = folder / "harness.toml"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        yield path


def clean_environment() -> dict[str, str]:
    """The environment for load and suite, without variables that would override the settings.

    HARNESS_* variables are already in the settings, where command line options have overridden them. LOCUST_* and
    PYTEST_* are options of Locust and pytest, which could for example deselect checks or change the number of users.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith(_REMOVED_PREFIXES)}
