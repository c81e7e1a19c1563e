"""The restart of the server during a load, in the process that writes the results: it runs the command, and adds up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gevent

from harness.config.load_settings import LoadSettings
from harness.config.settings import Settings
from harness.contract.evidence.redaction import Redactor
from harness.load.restarts.account import RestartAccount
from harness.load.restarts.moment import RESTART, PlannedRestart, RestartBySuite, RestartMoment
from harness.load.stats.stats_batch import StatsBatch
from harness.results.restart_cost import RestartCost
from harness.run_clock import RUN_CLOCK
from harness.shell_command import CommandError, run_shell

logger = logging.getLogger(__name__)


def moment_of(load: LoadSettings, by_suite: Path | None, start_wall_ns: int) -> RestartMoment | None:
    """When the server is restarted during a load that begins at `start_wall_ns`, epoch ns; None if it is not.

    by_suite: the file by which the suite tells that it restarts the server.
    """
    if by_suite is not None:
        return RestartBySuite(by_suite)
    return None if load.restart_at is None else PlannedRestart(start_wall_ns + round(load.restart_at * 1e9))


class ServerRestart:
    """The restart during one test. by_suite: as for `moment_of`. run: runs the command."""

    def __init__(
        self,
        settings: Settings,
        by_suite: Path | None = None,
        *,
        run: Callable[[str, float], None] | None = None,
    ) -> None:
        self._load = settings.load
        self._by_suite = by_suite
        self._command = settings.target.restart_command
        self._within_s = settings.budgets.restart
        redact = Redactor(settings.secrets())
        self._run = run or partial(run_shell, mask=redact.sentence)
        self._account: RestartAccount | None = None
        self._greenlet: gevent.Greenlet | None = None
        self._is_running = False
        self._command_s: float | None = None
        self._problem: str | None = None

    def started(self, start_wall_ns: int) -> None:
        """The load begins at this moment, epoch ns."""
        moment = moment_of(self._load, self._by_suite, start_wall_ns)
        if moment is None:
            return
        self._account = RestartAccount(moment)
        if isinstance(moment, PlannedRestart):
            self._greenlet = gevent.spawn(self._restart_at, moment.at_wall_ns)

    def _restart_at(self, at_wall_ns: int) -> None:
        gevent.sleep(max(0.0, (at_wall_ns - RUN_CLOCK.wall_ns()) / 1e9))
        if self._command is None:
            logger.warning("restart the server now: load.restart_at has come")
            return
        logger.info("restarting the server by target.restart_command")
        began_s = time.monotonic()
        self._is_running = True
        try:
            self._run(self._command, self._within_s)
        except CommandError as problem:
            self._problem = str(problem)
            logger.error("target.restart_command %s", problem)  # noqa: TRY400 - message for the user
        finally:
            self._is_running = False
        self._command_s = time.monotonic() - began_s

    def add(self, batch: StatsBatch) -> None:
        """Take one process's batch."""
        if self._account is not None:
            self._account.add(batch)

    def stop(self) -> None:
        """The load has ended: wait for the command if it runs, so that it does not leave the server half restarted."""
        if self._greenlet is not None and self._is_running:
            self._greenlet.join()
        elif self._greenlet is not None:
            self._greenlet.kill()

    @property
    def begun_s(self) -> float | None:
        """When the restart began, epoch s; None while it has not."""
        begun_ns = None if self._account is None else self._account.begun_ns
        return None if begun_ns is None else begun_ns / 1e9

    @property
    def cost(self) -> RestartCost | None:
        """What the restart cost; None if there was none."""
        if self._account is None:
            return None
        how = "suite" if self._by_suite is not None else "hand" if self._command is None else "command"
        return self._account.cost(how, self._command_s, self._problem)

    def measured(self) -> StatsBatch:
        """The time to the first good run, as a batch; empty without it."""
        batch = StatsBatch()
        cost = self.cost
        if cost is not None and cost.first_good_ms is not None:
            batch.record("recovery_ms", RESTART, cost.at_ns // 1_000_000_000, cost.first_good_ms)
        return batch

    def document(self) -> dict[str, Any]:
        """The cost for the manifest; empty without a restart."""
        cost = self.cost
        return {} if cost is None else {"restart": cost.document()}
