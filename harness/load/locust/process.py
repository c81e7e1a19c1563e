"""One Locust process: its signals, its parent, and interpreter settings for a load test."""

from __future__ import annotations

import gc
import inspect
import os
import signal
import sys
from collections.abc import Callable
from typing import TypeVar

import gevent

from harness.errors import LocalResourceError, SettingsError
from harness.results.schema import ResultsError

_CHECK_PARENT_EVERY_S = 0.5
_SWITCH_INTERVAL_S = 0.0005
_GC_THRESHOLDS = (20_000, 20, 100)

T = TypeVar("T")


def exit_on_error(work: Callable[[], T]) -> T:
    """The result of `work`. On SettingsError or ResultsError, print it to standard error and exit with 2."""
    try:
        return work()
    except (SettingsError, ResultsError) as problem:
        sys.stderr.write(f"error: {problem}\n")
        sys.exit(2)


def start_watching() -> None:
    """Handle Ctrl-C, in a process whose imports are done."""
    # The event loop's clock stood still during the imports; Locust's --run-time would start that long ago.
    hub = gevent.get_hub()
    hub.loop.update_now()
    # A stream that this machine could not send is counted with its reason; a traceback for each would hide the rest.
    hub.NOT_ERROR = (*hub.NOT_ERROR, LocalResourceError)
    gevent.signal_handler(signal.SIGINT, _once(_interrupt_main_greenlet))


def watch_parent() -> None:
    """In each worker that is forked after this call: exit when the parent process has ended.

    Locust tells its workers to quit if it can. If their master was killed, they would go on sending load for a
    minute. The greenlet starts before the fork, so every worker has one.
    """
    gevent.spawn(_exit_after_parent, os.getpid())


def tune() -> None:
    """Avoid pauses of the event loop during a test."""
    # Locust calls inspect.stack when a test stops. The first call takes 50 ms or more.
    inspect.stack()
    # Exempt the imported modules from garbage collection: a full collection of them takes 0.1 s.
    gc.collect()
    gc.freeze()
    # Streams leave no reference cycles, so collecting every 700 objects would find nothing.
    gc.set_threshold(*_GC_THRESHOLDS)
    # The thread that writes results yields to the event loop sooner than after Python's default 5 ms.
    sys.setswitchinterval(_SWITCH_INTERVAL_S)


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


def _exit_after_parent(first_pid: int) -> None:
    while os.getpid() == first_pid or os.getppid() == first_pid:
        gevent.sleep(_CHECK_PARENT_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)
