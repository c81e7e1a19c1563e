"""What a restart cost, added up over the processes of a load."""

from __future__ import annotations

from collections import Counter
from typing import Any

from harness.load.restarts.account import RestartAccount
from harness.load.stats.stats_batch import StatsBatch
from harness.results.records import StreamRecord

BEGAN_S = 1_000
S = 1_000_000_000


class Begun:
    def __init__(self, at_ns: int | None = BEGAN_S * S) -> None:
        self.at_ns = at_ns

    def begun_ns(self) -> int | None:
        return self.at_ns


def row(sent_s: float, duration_s: float | None, **other: Any) -> StreamRecord:
    return StreamRecord(
        **{
            "journey": "fresh",
            "step": "run",
            "worker": "w",
            "intended_ns": round(sent_s * S),
            "sent_ns": round(sent_s * S),
            "outcome": "done",
            "duration_ms": None if duration_s is None else duration_s * 1000,
            **other,
        }
    )


def account(*batches: StatsBatch) -> RestartAccount:
    added = RestartAccount(Begun())
    for batch in batches:
        added.add(batch)
    return added


def lost(at_s: float) -> Counter[int]:
    return Counter({round(at_s * S): 1})


def first_good_ms(*batches: StatsBatch) -> float | None:
    cost = account(*batches).cost("command", 0.5, None)
    assert cost is not None
    return cost.first_good_ms


def test_the_first_good_run_was_sent_after_the_first_lost_connection() -> None:
    before = row(1_000.2, 0.3)  # sent after the command began, before the server went down
    after, later = row(1_002.5, 1.0), row(1_002.0, 2.0)
    batch = StatsBatch(lost_at=lost(1_001), rows=[before, later, after])
    cost = account(batch).cost("command", 0.5, None)
    assert cost is not None
    assert (cost.lost_after_ms, cost.first_good_ms) == (1000.0, 3500.0)


def test_only_good_runs_count() -> None:
    bad = [
        row(1_002, 0.1, outcome="error"),
        row(1_002, 0.1, reason="violates terminal.last"),
        row(1_002, 0.1, journey="restart"),  # it began before
        row(1_002, None, step="retry"),  # it begins no run
        row(1_002, 0.1, sent_ns=None),
    ]
    assert first_good_ms(StatsBatch(lost_at=lost(1_001), rows=bad)) is None
    assert first_good_ms(StatsBatch(lost_at=lost(1_001), rows=[*bad, row(1_003, 1)])) == 4000.0


def test_a_process_that_reports_an_earlier_loss_later_makes_an_earlier_run_the_first_good_one() -> None:
    batches = (
        StatsBatch(rows=[row(1_002, 1)]),
        StatsBatch(lost_at=lost(1_004), rows=[row(1_005, 1)]),
        StatsBatch(lost_at=lost(1_001)),
    )
    assert first_good_ms(*batches) == 3000.0
    assert first_good_ms(*reversed(batches)) == 3000.0


def test_without_a_lost_connection_nothing_is_known_of_the_restart() -> None:
    cost = account(StatsBatch(rows=[row(1_002, 1)])).cost("hand", None, None)
    assert cost is not None
    assert (cost.lost_after_ms, cost.first_good_ms) == (None, None)
    assert "nothing shows that the server was restarted (by hand)" in cost.sentences()[0]


def test_before_the_restart_nothing_is_collected() -> None:
    unbegun = RestartAccount(Begun(None))
    unbegun.add(StatsBatch(rows=[row(1_002, 1)]))
    assert unbegun.cost("command", None, None) is None
    assert unbegun._good == []


def test_the_kinds_of_interrupted_runs_add_up() -> None:
    first = StatsBatch(restart=Counter(interrupted=5, resumed=1, turned_away=2, errors=1))
    second = StatsBatch(restart=Counter(interrupted=3, ended=2, twice=1, lost=1))
    cost = account(first, second).cost("command", 0.5, None)
    assert cost is not None
    assert cost.interrupted == 8
    assert (cost.resumed, cost.ended, cost.twice, cost.lost, cost.unread) == (1, 2, 1, 1, 3)
    assert (cost.turned_away, cost.errors) == (2, 1)


def test_few_candidates_are_kept() -> None:
    added = account(StatsBatch(rows=[row(1_000 + number / 1e5, 0.001) for number in range(21_000)]))
    assert len(added._good) == 20_000
    added.add(StatsBatch(lost_at=lost(1_000.2)))
    added.add(StatsBatch(rows=[row(1_000.3, 1)]))  # ends after the first good run
    assert len(added._good) == 20_000
