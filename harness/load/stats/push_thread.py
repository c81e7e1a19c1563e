"""A native thread that sends what it is given, one item after another, so that a slow receiver delays nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from gevent.monkey import get_original

T = TypeVar("T")

_END = object()


class PushThread(Generic[T]):
    """Calls `push` with each item in its own thread, and `close` after the last one."""

    def __init__(self, push: Callable[[T], None], close: Callable[[], None]) -> None:
        self._push = push
        self._close = close
        # Unpatched: both sides of the queue and the lock are native threads.
        self._queue: Any = get_original("queue", "SimpleQueue")()
        self._finished: Any = get_original("_thread", "allocate_lock")()
        self._finished.acquire()
        get_original("_thread", "start_new_thread")(self._push_all, ())

    def put(self, item: T) -> None:
        """Send it after what was put before."""
        self._queue.put(item)

    def finish(self, within_s: float) -> bool:
        """Nothing more is put: wait until all was sent. False if that takes longer than `within_s`."""
        self._queue.put(_END)
        return bool(self._finished.acquire(timeout=within_s))

    def _push_all(self) -> None:
        try:
            while (item := self._queue.get()) is not _END:
                self._push(item)
            self._close()
        finally:
            self._finished.release()
