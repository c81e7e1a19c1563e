"""Records a load test: counts in memory, and the results file, written from a thread.

SQLite waits for the disk and for other writers. On the event loop that would stop every stream of this process,
so one native thread does all the writing.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import gevent
from gevent.event import Event
from gevent.threadpool import ThreadPool

from harness.errors import SettingsError
from harness.load.schedule.plan import first_measured_second
from harness.load.stats.live import implementation_used, receive_stamp
from harness.load.stats.run_totals import RunTotals
from harness.load.stats.stats_batch import StatsBatch
from harness.results.ledger import Ledger
from harness.results.reader import Results
from harness.results.saturation import fault_sentence
from harness.results.schema import RESULTS_FILE, ResultsError
from harness.results.summary import write_summary
from harness.results.writer import ResultsWriter
from harness.run_clock import RUN_CLOCK

_WRITE_EVERY_S = 1.0

logger = logging.getLogger(__name__)


class Listener(Protocol):
    """Receives what the recorder receives, in the writer's thread: a slow listener delays the file, not the streams."""

    def started(self, start_wall_ns: int, measured_from: int | None) -> None:
        """The load begins at this moment, epoch ns. measured_from: the first epoch second that counts, or None."""

    def add(self, batch: StatsBatch, worker: str) -> None:
        """One process's batch. It is shared: read it only in this thread."""

    def flush(self) -> None:
        """Called about once a second, after all batches of that second were added."""

    def close(self, state: str, lost: Sequence[str]) -> None:
        """The test has ended and its results are written. state: "finished" or "interrupted". lost: workers."""


class ResultsRecorder:
    """Records one load test.

    path: the results file; None to keep counts only. collect: called about once a second and once at the end; it
    adds this process's own batches. keep_streams: the most stream rows that the file may hold (a sample beyond
    that); None for all. listeners: a listener that raises is dropped and costs no results.
    """

    def __init__(
        self,
        path: Path | None,
        manifest: dict[str, Any],
        collect: Callable[[], None],
        *,
        keep_streams: int | None = None,
        listeners: Sequence[Listener] = (),
    ) -> None:
        self.path = path
        self.totals = RunTotals()
        self.problem: str | None = None
        self._manifest = manifest
        self._collect = collect
        self._keep_streams = keep_streams
        self._listeners = list(listeners)
        self._last_report_s: dict[str, float] = {}  # by worker, epoch s
        self._unwritten: list[tuple[StatsBatch, str]] = []
        self._closing = Event()
        self._writer: ResultsWriter | None = None
        self._adds_to_open_results = False  # another process began this results file and will end it
        self._thread = ThreadPool(1)
        self._in_thread(self._open)
        self._ticker = gevent.spawn(self._flush_periodically)

    @property
    def ledger(self) -> Ledger:
        """The ledger of all journeys, without the streams that are in flight."""
        return self.totals.ledger()

    def add(self, batch: StatsBatch, worker: str) -> None:
        """Take one process's batch. It is written within about a second."""
        self.totals.add(batch, worker)
        self._last_report_s[worker] = RUN_CLOCK.now_s()
        if batch and (self.path is not None or self._listeners):
            self._unwritten.append((batch, worker))

    def started(self, start_wall_ns: int, warmup_s: float) -> None:
        """The load begins at this moment, epoch ns. It counts from the first whole second after the warm-up."""
        measured_from = None
        if warmup_s > 0:
            measured_from = first_measured_second(start_wall_ns, warmup_s)
            self._in_thread(self._set_manifest, {"measured_from": measured_from, "warmup_s": warmup_s})
        self._notify_all(lambda listener: listener.started(start_wall_ns, measured_from))

    @property
    def closing(self) -> bool:
        """Whether `close` was called."""
        return bool(self._closing.is_set())

    def close(
        self,
        state: str,
        lost: list[str],
        *,
        ends_test: bool = False,
        aborted: str | None = None,
        more: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        """Write the rest, the end of the manifest and summary.json. state: "finished", "interrupted" or "aborted".

        lost: workers whose final batch is missing. The streams that they last reported as open count as lost;
        streams that they started later are unknown and not counted. ends_test: whether the process that began the
        results file is gone, so that its end is written here. aborted: why the load was aborted, if it was. more: more
        keys of the manifest, once all batches are there.
        """
        if ends_test:
            self._adds_to_open_results = False
        self._closing.set()
        self._ticker.join()
        self._collect()
        self._add_final_manifest(state, lost)
        self._manifest |= more()
        if aborted is not None:
            self._manifest["load_aborted"] = aborted
        for worker in lost:
            self._count_open_as_lost(worker)
        self._flush()
        self._in_thread(self._finish)
        self._notify_all(lambda listener: listener.close(state, lost))
        self._thread.kill()

    def _count_open_as_lost(self, worker: str) -> None:
        counts = self.totals.open.get(worker)
        if counts:
            second = int(self._last_report_s[worker])
            ledger = Counter({(second, journey, "lost"): count for journey, count in counts.items()})
            self.add(StatsBatch(ledger=ledger, open={}), worker)

    def summary_line(self) -> str:
        """The ledger, failures and violations in one line."""
        ledger, faults = self.ledger, self.totals.faults
        terms = [
            f"{count} {outcome}"
            for outcome, count in ledger.as_dict().items()
            if count and outcome != "scheduled"
        ]
        violations = [f"{name} ({count})" for name, count in self.totals.violation_counts().items()]
        line = f"streams: {ledger.scheduled} scheduled = {' + '.join(terms) or '0'}"
        if not ledger.adds_up:
            line += f"; THIS DOES NOT ADD UP: {ledger.missing} missing"
        line += f"; {self.totals.failures} failed; violations: {', '.join(violations) or 'none'}"
        return f"{line}; {fault_sentence(faults)}" if faults else line

    def _flush_periodically(self) -> None:
        while not self._closing.wait(_WRITE_EVERY_S):
            self.flush()

    def flush(self) -> None:
        """Collect this process's batches and write everything received so far."""
        self._collect()
        self._flush()

    def _flush(self) -> None:
        batches, self._unwritten = self._unwritten, []
        self._notify_all(lambda listener: _deliver(listener, batches))
        self._in_thread(self._write, batches, dict(self.totals.faults))

    def _notify_all(self, call: Callable[[Listener], None]) -> None:
        """Call the listeners in the writer's thread: two threads folding one histogram would count it twice."""
        if self._listeners:
            self._listeners = self._thread.apply(_notify, (self._listeners, call))

    def _in_thread(self, work: Callable[..., None], *arguments: Any) -> None:
        """Run in the writer's thread and wait. The first error is logged and fails the test; later work is skipped."""
        if self.path is None or self.problem is not None:
            return
        try:
            self._thread.apply(work, arguments)
        except (ResultsError, OSError) as problem:
            self.problem = str(problem)
            logger.error("%s", problem)  # noqa: TRY400 - message for the user

    def _open(self) -> None:
        if self.path is None:
            return
        existing = _manifest_of(self.path)
        self._writer = ResultsWriter(self.path, keep_streams=self._keep_streams)
        self._writer.set_manifest(
            **{key: value for key, value in self._manifest.items() if key not in existing}
        )
        self._adds_to_open_results = existing.get("state") == "running" and "load_state" not in existing
        self._writer.set_manifest(state="running", load_state="running")
        self._writer.commit()

    def _set_manifest(self, manifest: dict[str, Any]) -> None:
        if self._writer is not None:
            self._writer.set_manifest(**manifest)
            self._writer.commit()

    def _write(self, batches: list[tuple[StatsBatch, str]], faults: dict[str, int]) -> None:
        if self._writer is not None:
            if faults:  # in the same commit as the streams that ended in them
                self._writer.set_manifest(harness_faults=faults)
            for batch, worker in batches:
                batch.write_to(self._writer, worker)
            self._writer.commit()

    def _add_final_manifest(self, state: str, lost: list[str]) -> None:
        run_state = (
            {} if self._adds_to_open_results else {"state": state, "ended_at": RUN_CLOCK.now().isoformat()}
        )
        counted_until = {worker: self._last_report_s.get(worker) for worker in lost}
        totals = self.totals.totals
        self._manifest = {
            **run_state,
            "load_state": state,
            "receive_stamp": receive_stamp(totals["reads_stamped"], totals["reads_unstamped"]),
            "receive_reader": implementation_used(totals["reads_native"], totals["reads_python"]),
            "token_reader": implementation_used(totals["tokens_native"], totals["tokens_python"]),
            "tokens": totals["tokens"],
            "coalesced_tokens": totals["coalesced_tokens"],
            "load_warnings": dict(self.totals.warnings),
            "harness_faults": dict(self.totals.faults),
            "workers_lost": lost,
            "counted_until": {
                worker: None if at is None else datetime.fromtimestamp(at, UTC).isoformat()
                for worker, at in counted_until.items()
            },
        }

    def _finish(self) -> None:
        if self._writer is None or self.path is None:
            return
        self._writer.set_manifest(**self._manifest)
        self._writer.close()
        if not self._adds_to_open_results:
            write_summary(self.path)


def _deliver(listener: Listener, batches: Sequence[tuple[StatsBatch, str]]) -> None:
    for batch, worker in batches:
        listener.add(batch, worker)
    listener.flush()


def _notify(listeners: Sequence[Listener], call: Callable[[Listener], None]) -> list[Listener]:
    """Call each listener. Returns those that did not raise."""
    healthy = []
    for listener in listeners:
        try:
            call(listener)
        except Exception:
            logger.exception("a live view failed and is switched off; the results are not affected")
        else:
            healthy.append(listener)
    return healthy


def _manifest_of(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    with Results(path) as results:
        return results.manifest


def free_file(out: Path, *, first: bool) -> Path:
    """The results file of this process's next load test: results.sqlite, then results-2.sqlite and so on.

    first: whether it is the process's first test. Raises SettingsError if the first file already holds a load
    test, because two tests in one file would be added up, and ResultsError if it is not a results file.
    """
    path = out / RESULTS_FILE
    if first:
        if _holds_a_load_test(path):
            raise SettingsError(
                f"{path} already holds a load test; choose a different directory or remove the file"
            )
        return path
    number = 2
    while _holds_a_load_test(path := out / f"results-{number}.sqlite"):
        number += 1
    return path


def _holds_a_load_test(path: Path) -> bool:
    if not path.exists():
        return False
    with Results(path) as results:
        return results.ledger().scheduled > 0
