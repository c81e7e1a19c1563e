from __future__ import annotations

from harness.results.records import StreamRecord
from tests.soak.reconciliation import reconcile

KILLS = [1_000.0]
RESTARTS = [(2_000.0, 2_003.0)]


def row(key: str | None, sent: float | None = 500.0, outcome: str = "done") -> StreamRecord:
    return StreamRecord(
        journey="fresh",
        step="run",
        worker="w",
        intended_ns=int((sent or 0) * 1e9),
        outcome=outcome,
        sent_ns=None if sent is None else int(sent * 1e9),
        idempotency_key=key,
    )


def both(requests: list[tuple[float, str]], rows: list[StreamRecord]) -> tuple[bool, int, int, int]:
    found = reconcile(requests, rows, worker_kills=KILLS, restarts=RESTARTS)
    return found.agrees, len(found.unexplained), found.unread, found.unreported


def test_equal_counts_agree() -> None:
    rows = [row("a"), row("b", 501), row("b", 502), row("c", None, "refused")]
    assert both([(500, "a"), (501, "b"), (502, "b")], rows) == (True, 0, 0, 0)


def test_a_request_that_checks_the_target_comes_before_the_load() -> None:
    found = reconcile([(499, "x"), (500, "a")], [row("a")], worker_kills=KILLS, restarts=RESTARTS)
    assert (found.agrees, found.counted, found.before, found.sent) == (True, 2, 1, 1)


def test_requests_without_a_row_are_those_of_a_killed_worker_or_wrong() -> None:
    assert both([(500, "a"), (995, "x")], [row("a")]) == (True, 0, 0, 1)
    assert both([(500, "a"), (700, "x")], [row("a")]) == (False, 1, 0, 1)  # long before
    assert both([(500, "a"), (1_005, "x")], [row("a")]) == (False, 1, 0, 1)  # after it was killed
    assert both([(500, "a"), (501, "a")], [row("a")]) == (False, 1, 0, 1)  # one of two with this key


def test_rows_without_a_request_were_sent_to_a_server_that_was_restarted_or_are_wrong() -> None:
    assert both([(500, "a")], [row("a"), row("x", 2_001, "truncated")]) == (True, 0, 1, 0)
    assert both([(500, "a")], [row("a"), row("x", 2_001, "done")]) == (False, 1, 1, 0)
    assert both([(500, "a")], [row("a"), row("x", 1_500, "truncated")]) == (False, 1, 1, 0)
