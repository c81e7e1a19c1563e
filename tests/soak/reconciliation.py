"""Compares the ledger of a load with the requests that the server counted, key by key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.results.records import StreamRecord

REPORT_EVERY_S = 3.0
"""Locust's workers report to the master in this interval: a killed worker takes what it did since with it."""

SLACK_S = 10.0
"""More than a stream of the soak lasts, and a busy machine delays a report."""

BROKEN_OFF = ("truncated", "refused", "timed out", "abandoned", "in flight")
"""How a request can end that a server never saw, because it was killed or stopped before it read it."""


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Both counts, and every difference between them.

    counted: requests that the server counted. before: those of them that checked the target before the load.
    sent: streams of the ledger that have a row and were sent. unread: sent, but not counted, around a restart of the
    server. unreported: counted, but without a row, because their worker was killed. unexplained: sentences about every
    other difference.
    """

    counted: int
    before: int
    sent: int
    unread: int
    unreported: int
    unexplained: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether every difference has its cause."""
        return (
            not self.unexplained and self.counted - self.before - self.unreported == self.sent - self.unread
        )


def reconcile(
    requests: Iterable[tuple[float, str]],
    rows: Iterable[StreamRecord],
    *,
    worker_kills: Sequence[float],
    restarts: Sequence[tuple[float, float]],
) -> Reconciliation:
    """requests: time, epoch s, and key, as the server counted them. rows: all streams with a row.

    worker_kills: epoch s. restarts: from the signal until the server listened again, epoch s.
    """
    counted = list(requests)
    sent = [row for row in rows if row.sent_ns is not None]
    first_sent = (
        min((row.sent_ns or 0 for row in sent), default=0) / 1e9 - 0.001
    )  # clocks are read one after the other
    requests = [(at, key) for at, key in counted if at >= first_sent]
    more_counted = Counter(key for _, key in requests) - Counter(row.idempotency_key for row in sent)
    more_sent = Counter(row.idempotency_key for row in sent) - Counter(key for _, key in requests)
    unexplained: list[str] = []
    for key, count in more_counted.items():
        times = sorted(at for at, counted_key in requests if counted_key == key)[-count:]
        if not all(_before_a_kill(at, worker_kills) for at in times):
            unexplained.append(
                f"the server counted {count} requests more with the key {key}, at {times}; workers were killed at "
                f"{list(worker_kills)}"
            )
    for key, count in more_sent.items():
        ended = [
            row
            for row in sent
            if row.idempotency_key == key and row.outcome in BROKEN_OFF and _in_a_restart(row, restarts)
        ]
        if len(ended) < count:
            outcomes = sorted(row.outcome for row in sent if row.idempotency_key == key)
            unexplained.append(f"the server did not count {count} requests with the key {key}: {outcomes}")
    return Reconciliation(
        counted=len(counted),
        before=len(counted) - len(requests),
        sent=len(sent),
        unread=more_sent.total(),
        unreported=more_counted.total(),
        unexplained=tuple(unexplained),
    )


def _before_a_kill(at: float, kills: Sequence[float]) -> bool:
    return any(kill - REPORT_EVERY_S - SLACK_S <= at <= kill + 1 for kill in kills)


def _in_a_restart(row: StreamRecord, restarts: Sequence[tuple[float, float]]) -> bool:
    at = (row.sent_ns or 0) / 1e9
    return any(stopped - 1 <= at <= listening + 1 for stopped, listening in restarts)
