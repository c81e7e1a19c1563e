"""Child processes of a test: started apart from the terminal, told to stop once, waited for."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO

from harness.config.settings import ENV_PREFIX, Settings

_PATIENCE_S = 40.0  # for a child that was told to stop, to write what it has
_POLL_S = 0.1


class ChildProcesses:
    """Starts processes, and passes SIGINT and SIGTERM on to them, so that each writes what there is.

    Each child has a session of its own: a Ctrl-C in the terminal reaches it once, through here.
    """

    def __init__(self) -> None:
        self.interrupted = False
        self._running: list[subprocess.Popen[bytes]] = []

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], output: IO[bytes] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a process; its output goes to the terminal, or into `output`."""
        child = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output is not None else None,
            start_new_session=True,
        )
        self._running.append(child)
        if self.interrupted:
            child.send_signal(signal.SIGINT)
        return child

    def wait(self, child: subprocess.Popen[bytes], look: Callable[[], None] | None = None) -> int:
        """Wait for a child's end, and return its exit code. One that will not stop when told to is killed.

        look: called again and again meanwhile.
        """
        left_s = _PATIENCE_S
        while True:
            if look is not None:
                look()
            with suppress(subprocess.TimeoutExpired):
                return child.wait(_POLL_S)
            if self.interrupted:
                left_s -= _POLL_S
            if left_s <= 0:
                child.kill()

    def _pass_on(self, _number: int, _frame: FrameType | None) -> None:
        if self.interrupted:
            return
        self.interrupted = True
        for child in self._running:
            if child.poll() is None:
                child.send_signal(signal.SIGINT)

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Within the block SIGINT and SIGTERM go to the children, and end nothing here."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, self._pass_on) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)


_NOT_PASSED_ON = (ENV_PREFIX, "LOCUST_", "PYTEST_")


@contextmanager
def private_settings(settings: Settings) -> Iterator[Path]:
    """The settings in a file that only this user can read, for processes of ours, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="harness-") as folder:
        path = Path(folder) / "harness.toml"
        settings.write_private(path)
        yield path


def clean_environment() -> dict[str, str]:
    """The environment for load and suite, without what would change what they do behind the settings' back.

    HARNESS_* variables are resolved, and must not outrank flags again. LOCUST_* and PYTEST_* are Locust's and
    pytest's own options: one could take checks away, or users, or keep either from starting.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith(_NOT_PASSED_ON)}
