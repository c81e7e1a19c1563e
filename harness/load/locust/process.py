"""One Locust process: its signals, its parent, and interpreter settings for a load test."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import gevent
from gevent.monkey import get_original

from harness import parent_process
from harness.errors import LocalResourceError, SettingsError
from harness.exit_codes import FAILED, INTERRUPTED
from harness.formatting import visible
from harness.results.schema import ResultsError

STOP_ALONE_S = 1.0
"""How long streams may continue when the command that started the load is gone."""

_EXIT_ALONE_S = 2.5
"""A worker that has not ended by then exits: nobody is left who would stop its load."""

_RECORD_ALONE_S = 20.0
"""The same for a process that writes results."""

_start_thread: Any = get_original("_thread", "start_new_thread")
_sleep: Any = get_original("time", "sleep")
_SWITCH_INTERVAL_S = 0.0005
_GC_THRESHOLDS = (20_000, 20, 100)

T = TypeVar("T")


def exit_on_error(work: Callable[[], T]) -> T:
    """The result of `work`. On SettingsError or ResultsError, print it to standard error and exit with 2."""
    try:
        return work()
    except (SettingsError, ResultsError) as problem:
        sys.stderr.write(f"error: {visible(str(problem))}\n")
        sys.exit(2)


def start_watching(on_hangup: Callable[[], None], *, records: bool) -> None:
    """Handle Ctrl-C, the end of the terminal, and the end of the command of the harness that started this process.

    For a process whose imports are done. on_hangup: called before the test is interrupted because of the latter two.
    records: whether the process writes results, which it may complete.
    """
    # The event loop's clock stood still during the imports; Locust's --run-time would start that long ago.
    hub = gevent.get_hub()
    hub.loop.update_now()
    # A stream that this machine could not send is counted with its reason; a traceback for each would hide the rest.
    hub.NOT_ERROR = (*hub.NOT_ERROR, LocalResourceError)
    atexit.register(_accept_reaped_workers)  # runs before what Locust has registered
    interrupt = _once(_interrupt_main_greenlet)

    def hang_up() -> None:
        on_hangup()
        interrupt()

    gevent.signal_handler(signal.SIGINT, interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        gevent.signal_handler(signal.SIGHUP, hang_up)
    wake = hub.loop.async_()  # the one way into the event loop from another thread
    wake.start(hang_up)
    parent_process.at_end_of_parent(
        wake.send,
        within_s=_RECORD_ALONE_S if records else _EXIT_ALONE_S,
        exit_code=INTERRUPTED,
        start_thread=_start_thread,
        sleep=_sleep,
    )


def watch_parent() -> None:
    """In each worker that is forked after this call: exit when the parent process has ended.

    Locust tells its workers to quit if it can. If their master was killed, they would go on sending load for a
    minute, and nobody could receive their results.
    """
    master = os.getpid()
    os.register_at_fork(
        after_in_child=lambda: parent_process.exit_with(
            master, start_thread=_start_thread, sleep=_sleep, exit_code=FAILED
        )
    )


def tune() -> None:
    """Avoid pauses of the event loop during a test."""
    # Exempt the imported modules from garbage collection: a full collection of them takes 0.1 s.
    gc.collect()
    gc.freeze()
    # Streams leave no reference cycles, so collecting every 700 objects would find nothing.
    gc.set_threshold(*_GC_THRESHOLDS)
    # Where each greenlet was spawned takes a kilobyte for each stream, and nothing reads it.
    gevent.config.track_greenlet_tree = False
    # The thread that writes results yields to the event loop sooner than after Python's default 5 ms.
    sys.setswitchinterval(_SWITCH_INTERVAL_S)


def free_earlier_tests() -> None:
    """Free what earlier tests of this process left. Call it between tests.

    `tune` exempts also the parts of the test before, which are there until the next one has begun.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()  # or the next test's collection would take longer than it may


def _accept_reaped_workers() -> None:
    """Let Locust wait for workers that ended long ago.

    At its end it waits for each. gevent has waited for those that were killed during the test, so the system does not
    know them any more; Locust would log that as fast as it can for 3 s and end with a traceback.
    """
    wait = os.waitpid

    def waitpid(pid: int, options: int) -> tuple[int, int]:
        try:
            return wait(pid, options)
        except ChildProcessError:
            return pid, 0

    os.waitpid = waitpid


def _once(work: Callable[[], None]) -> Callable[[], None]:
    """Runs `work` on the first call only: a second Ctrl-C must not interrupt the writing of results."""
    called: list[bool] = []

    def call() -> None:
        if not called:
            called.append(True)
            work()

    return call


def _interrupt_main_greenlet() -> None:
    # Python's default raises KeyboardInterrupt anywhere, even between reading bytes and decoding them; the stream
    # would then look as if the server had lost some.
    gevent.get_hub().handle_system_error(KeyboardInterrupt, KeyboardInterrupt())
