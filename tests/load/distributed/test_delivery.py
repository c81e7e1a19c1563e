from __future__ import annotations

from harness.load.distributed.delivery import Deduplicator, SendQueue
from harness.load.stats.collector import Collector
from harness.load.stats.stats_batch import StatsBatch
from harness.load.stats.stream_metrics import RUN


class Master:
    """An inbox that adds up what is delivered."""

    def __init__(self, test: str) -> None:
        self.delivered: list[tuple[str, int]] = []
        self.inbox = Deduplicator(test, self._deliver)

    def _deliver(self, delta: StatsBatch, worker: str) -> None:
        self.delivered.append((worker, sum(delta.ledger.values())))


def test_parcels_are_kept_until_they_are_confirmed() -> None:
    collector = Collector("worker-0")
    outbox = SendQueue("t", collector)
    assert outbox.message()["parcels"] == []
    collector.schedule("fresh", RUN)
    first = outbox.message()
    collector.schedule("fresh", RUN)
    collector.schedule("fresh", RUN)
    second = outbox.message()
    assert [number for number, _ in first["parcels"]] == [0]
    assert [number for number, _ in second["parcels"]] == [0, 1]
    assert len(outbox) == 2
    outbox.confirmed("another test", [0, 1])
    assert len(outbox) == 2
    outbox.confirmed("t", [0])
    assert [number for number, _ in outbox.message()["parcels"]] == [1]
    outbox.confirmed("t", [1, 1, 7])
    assert len(outbox) == 0
    assert outbox.message()["parcels"] == []


def test_each_parcel_is_merged_once() -> None:
    collector = Collector("worker-0")
    outbox = SendQueue("t", collector)
    master = Master("t")
    collector.schedule("fresh", RUN)
    lost_receipt = outbox.message()
    assert master.inbox.take("client", lost_receipt) == [0]
    collector.schedule("fresh", RUN)
    collector.schedule("fresh", RUN)
    assert master.inbox.take("client", outbox.message()) == [0, 1]
    assert master.inbox.take("client", lost_receipt) == [0]
    assert master.delivered == [("worker-0", 1), ("worker-0", 2)]


def test_workers_number_their_parcels_apart() -> None:
    master = Master("t")
    for client in ("a", "b"):
        collector = Collector(f"worker-{client}")
        collector.schedule("fresh", RUN)
        master.inbox.take(client, SendQueue("t", collector).message())
    assert master.delivered == [("worker-a", 1), ("worker-b", 1)]


def test_counts_of_an_earlier_test_are_confirmed_and_not_added() -> None:
    collector = Collector("worker-0")
    collector.schedule("fresh", RUN)
    master = Master("second")
    assert master.inbox.take("client", SendQueue("first", collector).message()) == [0]
    assert master.delivered == []
