"""When the server is restarted during a load: at a time of its settings, or when the suite does it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from harness.run_clock import RUN_CLOCK

RESTART = "restart"
"""The journey of runs that are read again after a restart."""


class RestartMoment(Protocol):
    """The moment at which the restart begins."""

    def begun_ns(self) -> int | None:
        """When it began, epoch ns; None while it has not."""


class PlannedRestart:
    """A restart at a time that every process of the load knows from the start. at_wall_ns: epoch ns."""

    def __init__(self, at_wall_ns: int) -> None:
        self.at_wall_ns = at_wall_ns

    def begun_ns(self) -> int | None:
        """When it began, epoch ns; None while it has not."""
        return self.at_wall_ns if RUN_CLOCK.wall_ns() >= self.at_wall_ns else None


class RestartBySuite:
    """A restart by the suite, which writes the time into a file just before. path: of that file.

    The time is that of the monotonic clock, which all processes of a machine share and nobody can set.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begun_ns: int | None = None

    def begun_ns(self) -> int | None:
        """When it began, epoch ns; None while it has not."""
        if self._begun_ns is None and self._path.exists():
            self._begun_ns = RUN_CLOCK.wall_ns(int(self._path.read_text(encoding="ascii")))
        return self._begun_ns
