"""Ends a child process with its parent, however the parent ended: also by SIGKILL, and on every system.

The parent holds the only write end of a pipe. Its end closes the pipe, and every process that has the read end sees
the end of the file. Python's standard library has nothing that a killed parent would still run.
"""

from __future__ import annotations

import _thread
import os
import signal
import stat
import time
from collections.abc import Callable, Mapping

PIPE_VARIABLE = "AGENT_RUN_PARENT_PIPE"
"""Environment variable of a child: the descriptor of the pipe's read end."""

ENDED = "the process that started this command has ended, so the test is stopped; start it with nohup to let it go on"

_CHECK_EVERY_S = 0.5

StartThread = Callable[[Callable[..., None], tuple[object, ...]], object]
"""As _thread.start_new_thread: a thread that neither delays the end of the process nor runs after a fork."""


class ParentPipe:
    """The parent's side. The child must be started with `descriptor` and the variables of `environment`."""

    def __init__(self) -> None:
        self.descriptor, self._write_end = os.pipe()  # neither is inherited unless a child is given it
        self._open = True

    def environment(self) -> Mapping[str, str]:
        """Variables for the child."""
        return {PIPE_VARIABLE: str(self.descriptor)}

    def close(self) -> None:
        """Stop the children as if this process had ended. Further calls do nothing."""
        if self._open:
            self._open = False
            os.close(self._write_end)


class OwnParent:
    """The process that started this one.

    A command that was started with nohup outlives it on purpose.
    """

    def __init__(self) -> None:
        self._pid = os.getppid()
        self._may_end = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN or self._pid <= 1

    @property
    def has_ended(self) -> bool:
        """Whether it has ended and this process must not outlive it."""
        return not self._may_end and os.getppid() != self._pid


def has_pipe() -> bool:
    """Whether this process was started by a command of the harness that it must not outlive."""
    return PIPE_VARIABLE in os.environ


def at_end_of_parent(
    stop: Callable[[], None],
    *,
    within_s: float,
    exit_code: int,
    start_thread: StartThread = _thread.start_new_thread,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """When the parent has ended, call `stop` in a native thread, and exit `within_s` later if that did not.

    Nothing happens in a process without the pipe. start_thread, sleep: those of the operating system, where a library
    has replaced them.
    """
    descriptor = _pipe_of_this_process()
    if descriptor is not None:
        start_thread(_wait_for_end_of_pipe, (descriptor, stop, within_s, exit_code, sleep))


def exit_with(
    parent: int, *, start_thread: StartThread, sleep: Callable[[float], None], exit_code: int
) -> None:
    """Exit when this process's parent is no longer `parent`; checked twice a second by a native thread."""
    start_thread(_wait_for_other_parent, (parent, exit_code, sleep))


def _pipe_of_this_process() -> int | None:
    """The read end; None without one. Processes that this one starts do not get the variable."""
    text = os.environ.pop(PIPE_VARIABLE, "")
    if not text.isdecimal():
        return None
    try:
        is_pipe = stat.S_ISFIFO(os.fstat(int(text)).st_mode)
    except (OSError, OverflowError):
        return None
    return int(text) if is_pipe else None


def _wait_for_end_of_pipe(
    descriptor: int, stop: Callable[[], None], within_s: float, exit_code: int, sleep: Callable[[float], None]
) -> None:
    try:
        while os.read(descriptor, 1):
            pass
    except OSError:  # closed in this process, which is ending
        return
    stop()
    sleep(within_s)
    os._exit(exit_code)


def _wait_for_other_parent(parent: int, exit_code: int, sleep: Callable[[float], None]) -> None:
    while os.getppid() == parent:
        sleep(_CHECK_EVERY_S)
    os._exit(exit_code)
