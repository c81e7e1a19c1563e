"""The results file of a load test, written beside the test by a thread of its own.

SQLite waits for a disk and for other writers. On the hub that would stop every stream of this process,
so all of it happens in one native thread; the hub only hands over what is to be written.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import gevent
from gevent.event import Event
from gevent.threadpool import ThreadPool

from harness.errors import SettingsError
from harness.load.stats.live import receive_stamp
from harness.load.stats.stats_batch import StatsBatch
from harness.results import metrics
from harness.results.ledger import Ledger
from harness.results.reader import Results
from harness.results.schema import ResultsError
from harness.results.writer import ResultsWriter

RESULTS_FILE = "results.sqlite"
SUMMARY_FILE = "summary.json"
_WRITE_EVERY_S = 1.0

logger = logging.getLogger(__name__)


class Listener(Protocol):
    """Hears what the books are told, in the thread that writes them: so it holds up no stream, but the writing."""

    def started(self, start_wall_ns: int, measured_from: int | None) -> None:
        """The load begins at that moment, epoch ns; measured_from: the first epoch second that counts."""

    def add(self, delta: StatsBatch, worker: str) -> None:
        """What happened in one process. It is shared, and may be read only in this thread."""

    def flush(self) -> None:
        """About a second is over, and all that was heard of it has been added."""

    def close(self, state: str, lost: Sequence[str]) -> None:
        """The test is over, and its results are written. state: "finished" or "interrupted"; lost: workers."""


class ResultsRecorder:
    """What one test left: counts in memory, and all of it in a results file where one is wanted.

    collect: called about every second, and once more at the end, for what this process itself gathered.
    keep_runs: how many rows of single streams the file may hold, a sample where there are more; None for all.
    listeners: told of everything. One that fails is told no more, and costs no results.
    """

    def __init__(
        self,
        path: Path | None,
        manifest: dict[str, Any],
        collect: Callable[[], None],
        *,
        keep_runs: int | None = None,
        listeners: Sequence[Listener] = (),
    ) -> None:
        self.path = path
        self.ledger = Ledger()
        self.violations: Counter[str] = Counter()
        self.warnings: Counter[str] = Counter()
        self.totals: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.failures = 0
        self.problem: str | None = None
        self._manifest = manifest
        self._collect = collect
        self._keep_runs = keep_runs
        self._listeners = list(listeners)
        self._open_streams: dict[str, dict[str, int]] = {}  # by worker and journey, as it last told
        self._heard_at: dict[str, float] = {}  # by worker, epoch s
        self._waiting: list[tuple[StatsBatch, str]] = []
        self._closing = Event()
        self._writer: ResultsWriter | None = None
        self._is_part = False  # of a test that another process began, and will end
        self._thread = ThreadPool(1)
        self._in_thread(self._open)
        self._ticker = gevent.spawn(self._tick)

    def add(self, delta: StatsBatch, worker: str) -> None:
        """Take what happened in one process; it is written within about a second."""
        for (_, _, outcome), count in delta.ledger.items():
            self.ledger.add(outcome, count)
        for (requirement, _), count in delta.violations.items():
            self.violations[requirement] += count
        self.warnings.update(delta.warnings)
        self.totals.update(delta.totals)
        self.faults.update(delta.faults)
        self.failures += sum(delta.failures.values())
        self._heard_at[worker] = time.time()
        if delta.open is not None:
            self._open_streams[worker] = delta.open
        if delta and (self.path is not None or self._listeners):
            self._waiting.append((delta, worker))

    def started(self, start_wall_ns: int, warmup_s: float) -> None:
        """The load begins at that moment, epoch ns, and counts after its warm-up: from the next whole second."""
        measured_from = None
        if warmup_s > 0:
            measured_from = -(-(start_wall_ns + round(warmup_s * 1e9)) // 1_000_000_000)
            self._in_thread(self._note, {"measured_from": measured_from, "warmup_s": warmup_s})
        self._notify_all(lambda listener: listener.started(start_wall_ns, measured_from))

    @property
    def closing(self) -> bool:
        """Whether `close` was called."""
        return bool(self._closing.is_set())

    def close(self, state: str, lost: list[str]) -> None:
        """Write the rest, the manifest's end and summary.json. state: "finished" or "interrupted".

        lost: the workers that died. Streams that they had open when they last told are lost with them; of
        what they began after that, nothing is known and nothing is counted.
        """
        self._closing.set()
        self._ticker.join()
        self._collect()
        self._manifest_at_end(state, lost)
        for worker in lost:
            self._write_off(worker)
        self._flush()
        self._in_thread(self._finish)
        self._notify_all(lambda listener: listener.close(state, lost))
        self._thread.kill()

    def _write_off(self, worker: str) -> None:
        counts = self._open_streams.get(worker)
        if counts:
            second = int(self._heard_at[worker])
            ledger = Counter({(second, journey, "lost"): count for journey, count in counts.items()})
            self.add(StatsBatch(ledger=ledger, open={}), worker)

    def summary_line(self) -> str:
        """The ledger in one line."""
        counts = self.ledger.as_dict()
        terms = [f"{count} {word}" for word, count in counts.items() if count and word != "scheduled"]
        said = f"streams: {self.ledger.scheduled} scheduled = {' + '.join(terms) or '0'}"
        if not self.ledger.adds_up:
            said += f"; THIS DOES NOT ADD UP: {self.ledger.missing} missing"
        violated = ", ".join(f"{name} ({count})" for name, count in sorted(self.violations.items()))
        said = f"{said}; {self.failures} failed; violations: {violated or 'none'}"
        return f"{said}; {metrics.fault_sentence(self.faults)}" if self.faults else said

    def _tick(self) -> None:
        while not self._closing.wait(_WRITE_EVERY_S):
            self.flush()

    def flush(self) -> None:
        """Take what this process gathered since, and write all that has come."""
        self._collect()
        self._flush()

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._notify_all(lambda listener: _deliver(listener, waiting))
        self._in_thread(self._write, waiting, dict(self.faults))

    def _notify_all(self, what: Callable[[Listener], None]) -> None:
        """Tell the listeners in the writer's thread: two threads that fold one histogram count it twice."""
        if self._listeners:
            self._listeners = self._thread.apply(_notify, (self._listeners, what))

    def _in_thread(self, work: Callable[..., None], *arguments: Any) -> None:
        """Do it in the writer's thread, and wait; what fails there is said once, and fails the test."""
        if self.path is None or self.problem is not None:
            return
        try:
            self._thread.apply(work, arguments)
        except (ResultsError, OSError) as problem:
            self.problem = str(problem)
            logger.error("%s", problem)  # noqa: TRY400 - a sentence for the user

    def _open(self) -> None:
        if self.path is None:
            return
        known = _manifest_of(self.path)
        self._writer = ResultsWriter(self.path, keep_runs=self._keep_runs)
        self._writer.set_manifest(**{key: value for key, value in self._manifest.items() if key not in known})
        self._is_part = known.get("state") == "running" and "load_state" not in known
        self._writer.set_manifest(state="running", load_state="running")
        self._writer.commit()

    def _note(self, manifest: dict[str, Any]) -> None:
        if self._writer is not None:
            self._writer.set_manifest(**manifest)
            self._writer.commit()

    def _write(self, deltas: list[tuple[StatsBatch, str]], faults: dict[str, int]) -> None:
        if self._writer is not None:
            if faults:  # with the streams that they are missing from
                self._writer.set_manifest(harness_faults=faults)
            for delta, worker in deltas:
                delta.write_to(self._writer, worker)
            self._writer.commit()

    def _manifest_at_end(self, state: str, lost: list[str]) -> None:
        heard = {worker: self._heard_at.get(worker) for worker in lost}
        of_the_whole = {} if self._is_part else {"state": state, "ended_at": datetime.now(UTC).isoformat()}
        self._manifest = {
            **of_the_whole,
            "load_state": state,
            "receive_stamp": receive_stamp(self.totals["reads_stamped"], self.totals["reads_unstamped"]),
            "tokens": self.totals["tokens"],
            "coalesced_tokens": self.totals["coalesced_tokens"],
            "load_warnings": dict(self.warnings),
            "harness_faults": dict(self.faults),
            "workers_lost": lost,
            "counted_until": {
                worker: None if at is None else datetime.fromtimestamp(at, UTC).isoformat()
                for worker, at in heard.items()
            },
        }

    def _finish(self) -> None:
        if self._writer is None or self.path is None:
            return
        self._writer.set_manifest(**self._manifest)
        self._writer.close()
        with Results(self.path) as results:
            summary = json.dumps(metrics.summary(results), indent=2)
        name = SUMMARY_FILE.replace("summary", self.path.stem.replace("results", "summary"))
        (self.path.parent / name).write_text(f"{summary}\n", encoding="utf-8")


def _deliver(listener: Listener, waiting: Sequence[tuple[StatsBatch, str]]) -> None:
    for delta, worker in waiting:
        listener.add(delta, worker)
    listener.flush()


def _notify(listeners: Sequence[Listener], what: Callable[[Listener], None]) -> list[Listener]:
    """Tell each; returns those that did not fail."""
    left = []
    for listener in listeners:
        try:
            what(listener)
        except Exception:
            logger.exception("what only shows the numbers has failed, and shows them no more")
        else:
            left.append(listener)
    return left


def _manifest_of(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    with Results(path) as results:
        return results.manifest


def free_file(out: Path, *, first: bool) -> Path:
    """Where the next load test of this process goes: results.sqlite, then results-2.sqlite and so on.

    Raises SettingsError when the first one's place is taken by an earlier load test, because two tests in
    one file would be added up, and ResultsError when it is no results file at all.
    """
    path = out / RESULTS_FILE
    if first:
        if _holds_a_load_test(path):
            raise SettingsError(f"{path} holds an earlier load test; choose another directory or remove it")
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
