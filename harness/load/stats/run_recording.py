"""Everything that one test's results go to: the results file, the live snapshot and the OTLP push."""

from __future__ import annotations

import logging
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from harness.config.settings import Settings
from harness.contract.evidence.redaction import Redactor
from harness.exit_codes import ABORTED
from harness.export.otel import Pusher, interval_s
from harness.export.otel_traces import TracePusher
from harness.gate.expressions import parse_abort_condition
from harness.gate.objective import parse_objectives
from harness.load.restarts.moment import RESTART
from harness.load.restarts.server_restart import ServerRestart
from harness.load.stats.abort_watch import AbortWatch
from harness.load.stats.live import LiveStats, SnapshotDocument
from harness.load.stats.otlp_push import OtlpPush
from harness.load.stats.otlp_traces import OtlpTraces
from harness.load.stats.recorder import ResultsRecorder
from harness.load.stats.scrape import Scraper
from harness.load.stats.stats_batch import StatsBatch
from harness.results.manifest import manifest_at_start
from harness.results.writer import ResultsWriter

OnAbort = Callable[[str], None]
"""Ends the load. Called once, with the reason in one sentence."""

Publish = Callable[[SnapshotDocument], None]
Collect = Callable[[], Iterable[tuple[StatsBatch, str]]]
"""Takes this process's own batches, each with the name under which it is recorded."""

SCRAPER = "scraper"
"""The name under which the values of the server's own metrics arrive."""

logger = logging.getLogger(__name__)


class RunRecording:
    """Records one test.

    path: the results file, or None. collect: called about once a second and once at the end. publish: receives the
    live snapshots; None for none. users: of a closed loop, else None. lasts_s: planned length of the test, or None.
    on_abort: called when a condition of the settings' abort_on is met; `aborted` is then the reason. restarts: the file
    by which the suite tells that it restarts the server.
    Raises ResultsError if the push to a collector cannot be set up.
    """

    def __init__(
        self,
        settings: Settings,
        path: Path | None,
        collect: Collect,
        *,
        publish: Publish | None = None,
        users: int | None = None,
        lasts_s: float | None = None,
        on_abort: OnAbort = lambda _: None,
        restarts: Path | None = None,
    ) -> None:
        self.aborted: str | None = None
        self._on_abort = on_abort
        self._abort_watch = AbortWatch(
            map(parse_abort_condition, settings.load.abort_on), has_warmup=settings.load.warmup > 0
        )
        self._warmup_s = settings.load.warmup
        self._collect_batches = collect
        self.live = None if publish is None else _live_stats(settings, path, publish, users, lasts_s)
        self._pushes = list(_otlp_pushes(settings))
        self._recorder = ResultsRecorder(
            path,
            manifest_at_start(settings.document(), Redactor(settings.secrets()).own_value(sys.argv)),
            self._collect,
            keep_streams=settings.load.keep_streams,
            listeners=[self._abort_watch, *([] if self.live is None else [self.live]), *self._pushes],
        )
        self._scraper = None if settings.scrape.url is None else Scraper(settings.scrape)
        self._restart = ServerRestart(settings, restarts)
        if self.live is not None:
            self.live.flush()

    def started(self, start_wall_ns: int) -> None:
        """The load begins at this moment, epoch ns."""
        self._recorder.started(start_wall_ns, self._warmup_s)
        self._restart.started(start_wall_ns)
        if self._scraper is not None:
            self._scraper.start()

    def add(self, batch: StatsBatch, worker: str) -> None:
        """Record one process's batch."""
        self._restart.add(batch)
        self._recorder.add(batch, worker)

    def flush(self) -> None:
        """Write everything known so far."""
        self._recorder.flush()

    @property
    def closing(self) -> bool:
        """Whether `close` was called."""
        return self._recorder.closing

    def close(self, state: str, lost: list[str], *, ends_test: bool = False) -> int | None:
        """Write the end of the results; every batch has been added. Returns the exit code that the results require.

        state: "finished" or "interrupted"; an aborted load is neither. lost: workers whose final batch is missing.
        ends_test: whether the command that began the results file is gone and will not end it. Exit code: 2 if the
        results could not be written, 3 if the load was aborted, 1 if they are incomplete or streams failed, else None.
        """
        state = state if self.aborted is None else "aborted"
        if self._scraper is not None:
            self._scraper.stop()
        self._restart.stop()
        self._recorder.close(
            state, lost, ends_test=ends_test, aborted=self.aborted, more=self._restart.document
        )
        logger.info("%s", self._recorder.summary_line())
        if self._recorder.problem is not None:
            if self.live is not None:  # the command that started the load names the reason
                self.live.problem = self._recorder.problem
                self.live.flush()
            return 2
        self._store_problems()
        if self.aborted is not None:
            return ABORTED
        ledger = self._recorder.ledger
        if lost:
            logger.error("the last results of %s are missing: lost, or unable to stop", ", ".join(lost))
        if not ledger.adds_up:
            logger.error("the ledger does not add up: %d streams are missing", ledger.missing)
        return 1 if lost or self._recorder.totals.faults or not ledger.adds_up else None

    def _store_problems(self) -> None:
        """Add what is missing to the manifest: what did not reach a collector, and what was not scraped.

        The last push comes after the end of the results.
        """
        problems = [push.problem for push in self._pushes if push.problem is not None]
        if self._scraper is not None and self._scraper.problem is not None:
            problems.append(self._scraper.problem)
        if problems and self._recorder.path is not None:
            with ResultsWriter(self._recorder.path) as writer:
                writer.set_manifest(load_notes=problems)

    def _collect(self) -> None:
        if self.aborted is None and self._abort_watch.sentence is not None and not self.closing:
            self.aborted = self._abort_watch.sentence
            self._on_abort(self.aborted)
        if self.live is not None:
            self.live.problem = self._recorder.problem or self.aborted
            self.live.restarted_s = self._restart.begun_s
        if self._scraper is not None and (scrapes := self._scraper.take()):
            self._recorder.add(StatsBatch(scrapes=scrapes), SCRAPER)
        for batch, worker in self._collect_batches():
            self.add(batch, worker)
        if self.closing:
            self._recorder.add(self._restart.measured(), RESTART)


def _live_stats(
    settings: Settings, path: Path | None, publish: Publish, users: int | None, lasts_s: float | None
) -> LiveStats:
    load = settings.load
    return LiveStats(
        uuid.uuid4().hex,
        publish,
        target=settings.target.base_url or "",
        plan=load.describe if load.is_open else "",
        users=users,
        results=path,
        objectives=parse_objectives(settings.objectives),
        has_warmup=load.warmup > 0,
        lasts_s=lasts_s,
    )


def _otlp_pushes(settings: Settings) -> Iterator[OtlpPush | OtlpTraces]:
    """What is sent to an OpenTelemetry collector, if one is configured. Raises ResultsError."""
    export = settings.export
    if export.otlp_endpoint is not None:
        yield OtlpPush(
            Pusher(export.otlp_endpoint, time.time_ns()),
            target=settings.target.base_url or "",
            has_warmup=settings.load.warmup > 0,
            every_s=interval_s(),
        )
    if export.otlp_traces_endpoint is not None:
        yield OtlpTraces(TracePusher(export.otlp_traces_endpoint, export.genai_conventions))
