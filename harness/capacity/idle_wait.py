"""Waits between steps until the server is idle, so that a step does not measure work left over from the last one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from harness.config.settings import Settings
from harness.config.target import Target
from harness.suite.preflight import PreflightError, preflight

_PAUSE_S = 1.0
_CALIBRATION_RUNS = 2
_FACTOR = 2.0  # the server is idle when a run takes at most _FACTOR * baseline + _MARGIN_MS
_MARGIN_MS = 50.0
_POLL_S = 0.1


class IdleWait:
    """Measures how long a single run takes on the idle server, and waits until it takes about as long again.

    interrupted: returns True to stop waiting.
    """

    def __init__(self, settings: Settings, interrupted: Callable[[], bool]) -> None:
        self._target = Target(settings)
        self._timeout_s = settings.budgets.run
        self._interrupted = interrupted
        self._baseline_ms: float | None = None

    def calibrate(self) -> None:
        """Measure the duration of a run before there is any load. If one does not end, there is no baseline."""
        durations_ms = [self._run_ms() for _ in range(_CALIBRATION_RUNS)]
        measured_ms = [duration_ms for duration_ms in durations_ms if duration_ms is not None]
        self._baseline_ms = max(measured_ms) if len(measured_ms) == _CALIBRATION_RUNS else None

    def wait(self) -> bool:
        """Wait until a run takes about the baseline. Returns False on timeout (budgets.run) or interruption."""
        time.sleep(_PAUSE_S)
        deadline_s = time.monotonic() + self._timeout_s
        while self._baseline_ms is not None:
            duration_ms = self._run_ms()
            if duration_ms is not None and duration_ms <= _FACTOR * self._baseline_ms + _MARGIN_MS:
                break
            if time.monotonic() > deadline_s or self._interrupted():
                return False
            time.sleep(_PAUSE_S)
        return not self._interrupted()

    def _run_ms(self) -> float | None:
        """Duration of a single run, from send to terminal event; None if it had none."""
        with suppress(PreflightError, asyncio.CancelledError):
            return asyncio.run(self._run())
        return None

    async def _run(self) -> float | None:
        task = asyncio.create_task(preflight(self._target))
        while not task.done():
            await asyncio.wait({task}, timeout=_POLL_S)
            if self._interrupted():
                task.cancel()
        exchange = await task
        sent_ns, terminal_ns = exchange.timing.sent_ns, exchange.summary.terminal_ns
        return None if sent_ns is None or terminal_ns is None else (terminal_ns - sent_ns) / 1e6
