"""Pushes a load's numbers to an OpenTelemetry collector while it goes on, and a last time at its end.

A collector that is slow or gone must cost neither streams nor results, so pushes have a native thread of their own,
which gets finished numbers and nothing that others still change; while it is at work, nothing waits for it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from gevent.monkey import get_original

from harness.export.metric_families import Family, load_families
from harness.load.stats.live import LiveStats
from harness.load.stats.stats_batch import StatsBatch

_LAST_PUSH_S = 25.0
"""The SDK gives a push ten seconds, and one may be under way when the last one comes."""

logger = logging.getLogger(__name__)


class Sender(Protocol):
    """Where the numbers go; harness.export.otel.Pusher is one."""

    url: str

    def push(self, families: Sequence[Family]) -> bool:
        """Send them; whether they arrived. Called in a thread of its own."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class OtlpPush:
    """Hears what the books are told (harness.load.stats.recorder.Listener), and pushes it.

    has_warmup: whether a beginning will be left out. every_s: the time from push to push.
    """

    def __init__(
        self,
        sender: Sender,
        *,
        target: str,
        has_warmup: bool,
        every_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pushed = self.failed = 0
        self._live = LiveStats("telemetry", lambda _: None, has_warmup=has_warmup)
        self._target = target
        self._every_s = every_s
        self._clock = clock
        self._pushed_at = clock()
        self._sender = sender
        self._idle = True
        self._arrived = False
        # Not gevent's: whoever waits here is a native thread, and so is who answers.
        self._queue: Any = get_original("queue", "SimpleQueue")()
        self._over: Any = get_original("_thread", "allocate_lock")()
        self._over.acquire()
        get_original("_thread", "start_new_thread")(self._push_all, ())

    def started(self, start_wall_ns: int, measured_from: int | None) -> None:
        """The load begins."""
        self._live.started(start_wall_ns, measured_from)

    def add(self, delta: StatsBatch, worker: str) -> None:
        """Count what happened in one process."""
        self._live.add(delta, worker)

    def flush(self) -> None:
        """Push when it is time, and the push before has ended."""
        if self._idle and self._clock() - self._pushed_at >= self._every_s:
            self._pushed_at = self._clock()
            self._idle = False
            self._queue.put(self._families())

    def close(self, state: str, lost: Sequence[str]) -> None:  # noqa: ARG002 - a listener's
        """Push the final numbers, and wait until they are there, or the collector has had its time."""
        self._queue.put(self._families())
        self._queue.put(None)
        if not self._over.acquire(timeout=_LAST_PUSH_S):
            logger.error("the final numbers did not reach %s within %g s", self._sender.url, _LAST_PUSH_S)
        elif not self._arrived:
            logger.error("the final numbers did not reach %s", self._sender.url)
        else:
            logger.info("the numbers were pushed to %s %d times", self._sender.url, self.pushed)

    def _families(self) -> list[Family]:
        return load_families(self._live, self._target)

    def _push_all(self) -> None:
        try:
            while (families := self._queue.get()) is not None:
                self._arrived = self._push(families)
                self._idle = True
            self._sender.close()
        finally:
            self._over.release()

    def _push(self, families: list[Family]) -> bool:
        try:
            arrived = self._sender.push(families)
        except Exception:
            logger.exception("the numbers could not be pushed to %s", self._sender.url)
            arrived = False
        self.pushed += arrived
        self.failed += not arrived
        if self.failed == 1 and not arrived:
            logger.error(
                "the numbers did not reach %s; the test goes on, and so do the tries", self._sender.url
            )
        return arrived
