"""Is the server at rest? A step that begins while the last one's work goes on would measure that, too."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from harness.config.settings import Settings
from harness.config.target import Target
from harness.suite.preflight import PreflightError, preflight

_COOL_DOWN_S = 1.0
_FIRST_RUNS = 2
_TIMES = 2.0  # what a single run took at first, and:
_LONGER_MS = 50.0
_LOOK_S = 0.1


class IdleWait:
    """Knows how long a single run takes on the server at rest, and waits until it does so again.

    interrupted: whether nobody waits for it any more.
    """

    def __init__(self, settings: Settings, interrupted: Callable[[], bool]) -> None:
        self._target = Target(settings)
        self._patience_s = settings.budgets.run
        self._interrupted = interrupted
        self._usual_ms: float | None = None

    def calibrate(self) -> None:
        """Find out how long a run takes, before there is any load. Where one does not end, it stays unknown."""
        taken_ms = [self._run_ms() for _ in range(_FIRST_RUNS)]
        known_ms = [one for one in taken_ms if one is not None]
        self._usual_ms = max(known_ms) if len(known_ms) == _FIRST_RUNS else None

    def wait(self) -> bool:
        """Wait a moment, and then until a run takes about as long as at first: for as long as a run may take."""
        time.sleep(_COOL_DOWN_S)
        until_s = time.monotonic() + self._patience_s
        while self._usual_ms is not None:
            taken_ms = self._run_ms()
            if taken_ms is not None and taken_ms <= _TIMES * self._usual_ms + _LONGER_MS:
                break
            if time.monotonic() > until_s or self._interrupted():
                return False
            time.sleep(_COOL_DOWN_S)
        return not self._interrupted()

    def _run_ms(self) -> float | None:
        """How long one run takes by itself, from its send to its terminal event; None when it had none."""
        with suppress(PreflightError, asyncio.CancelledError):
            return asyncio.run(self._run())
        return None

    async def _run(self) -> float | None:
        task = asyncio.create_task(preflight(self._target))
        while not task.done():
            await asyncio.wait({task}, timeout=_LOOK_S)
            if self._interrupted():
                task.cancel()
        exchange = await task
        sent_ns, over_ns = exchange.timing.sent_ns, exchange.summary.terminal_ns
        return None if sent_ns is None or over_ns is None else (over_ns - sent_ns) / 1e6
