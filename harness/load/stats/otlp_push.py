"""Pushes a load test's metrics to an OpenTelemetry collector, periodically and once at the end.

A slow or unreachable collector must not affect streams or results, so a native thread does the pushing. It gets
finished metric families, never shared state, and nothing waits for it during the test.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from harness.export.load_families import load_families
from harness.export.metric_families import Family
from harness.load.stats.live import LiveStats
from harness.load.stats.push_thread import PushThread
from harness.load.stats.stats_batch import StatsBatch

_LAST_PUSH_S = 25.0
"""The SDK allows a push 10 s, and one may be in progress when the last one is queued."""

logger = logging.getLogger(__name__)


class Sender(Protocol):
    """The destination, for example harness.export.otel.Pusher."""

    url: str

    def push(self, families: Sequence[Family]) -> bool:
        """Send the families. Returns whether they arrived. Called in the pushing thread."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class OtlpPush:
    """A harness.load.stats.recorder.Listener that pushes metrics.

    has_warmup: whether there is a warm-up, which is left out. every_s: the push interval. problem: after `close`, that
    the final metrics did not reach the collector, which include all earlier ones; None if they did.
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
        self.problem: str | None = None
        self._live = LiveStats("telemetry", lambda _: None, has_warmup=has_warmup)
        self._target = target
        self._every_s = every_s
        self._clock = clock
        self._pushed_at = clock()
        self._sender = sender
        self._idle = True
        self._arrived = False
        self._thread: PushThread[list[Family]] = PushThread(self._push, sender.close)

    def started(self, start_wall_ns: int, measured_from: int | None) -> None:
        """See Listener."""
        self._live.started(start_wall_ns, measured_from)

    def add(self, batch: StatsBatch, worker: str) -> None:
        """See Listener."""
        self._live.add(batch, worker)

    def flush(self) -> None:
        """Push if the interval is over and the previous push has ended."""
        if self._idle and self._clock() - self._pushed_at >= self._every_s:
            self._pushed_at = self._clock()
            self._idle = False
            self._thread.put(self._families())

    def close(self, state: str, lost: Sequence[str]) -> None:  # noqa: ARG002 - Listener
        """Push the final metrics and wait for the push, at most 25 s."""
        self._thread.put(self._families())
        url = self._sender.url
        if not self._thread.finish(_LAST_PUSH_S):
            self.problem = f"the final metrics did not reach {url} within {_LAST_PUSH_S:g} s"
        elif not self._arrived:
            self.problem = f"the final metrics did not reach {url}"
        if self.problem is None:
            logger.info("pushed metrics to %s %d times", url, self.pushed)
        else:
            arrived = f"{self.pushed} of {self.pushed + self.failed} pushes arrived"
            self.problem += f" ({arrived}); check [export] otlp_endpoint"
            logger.error("%s", self.problem)

    def _families(self) -> list[Family]:
        return load_families(self._live, self._target)

    def _push(self, families: list[Family]) -> None:
        try:
            arrived = self._sender.push(families)
        except Exception:
            logger.exception("pushing metrics to %s failed", self._sender.url)
            arrived = False
        self.pushed += arrived
        self.failed += not arrived
        if self.failed == 1 and not arrived:
            logger.error(
                "metrics did not reach %s; the test continues and later pushes are still tried",
                self._sender.url,
            )
        self._arrived = arrived
        self._idle = True
