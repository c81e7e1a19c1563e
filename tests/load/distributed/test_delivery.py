from __future__ import annotations

from typing import Any

import gevent

from harness.load.distributed.delivery import Deduplicator, SendQueue
from harness.load.stats.collector import Collector
from harness.load.stats.stats_batch import StatsBatch
from harness.load.stats.stream_metrics import RUN


class Master:
    """An deduplicator that adds up what is delivered."""

    def __init__(self, test: str) -> None:
        self.delivered: list[tuple[str, int]] = []
        self.deduplicator = Deduplicator(test, self._deliver)

    def _deliver(self, batch: StatsBatch, worker: str) -> None:
        self.delivered.append((worker, sum(batch.ledger.values())))


def test_batches_are_kept_until_they_are_confirmed() -> None:
    collector = Collector("worker-0")
    queue = SendQueue("t", collector)
    assert queue.message()["batches"] == []
    collector.schedule("fresh", RUN)
    first = queue.message()
    collector.schedule("fresh", RUN)
    collector.schedule("fresh", RUN)
    second = queue.message()
    assert [number for number, _ in first["batches"]] == [0]
    assert [number for number, _ in second["batches"]] == [0, 1]
    assert len(queue) == 2
    queue.confirmed("different test", [0, 1])
    assert len(queue) == 2
    queue.confirmed("t", [0])
    assert [number for number, _ in queue.message()["batches"]] == [1]
    queue.confirmed("t", [1, 1, 7])
    assert len(queue) == 0
    assert queue.message()["batches"] == []


def test_each_batch_is_delivered_once() -> None:
    collector = Collector("worker-0")
    queue = SendQueue("t", collector)
    master = Master("t")
    collector.schedule("fresh", RUN)
    unconfirmed = queue.message()
    assert master.deduplicator.receive("client", unconfirmed) == [0]
    collector.schedule("fresh", RUN)
    collector.schedule("fresh", RUN)
    assert master.deduplicator.receive("client", queue.message()) == [0, 1]
    assert master.deduplicator.receive("client", unconfirmed) == [0]
    assert master.delivered == [("worker-0", 1), ("worker-0", 2)]


def test_each_worker_has_its_own_sequence_numbers() -> None:
    master = Master("t")
    for client in ("a", "b"):
        collector = Collector(f"worker-{client}")
        collector.schedule("fresh", RUN)
        master.deduplicator.receive(client, SendQueue("t", collector).message())
    assert master.delivered == [("worker-a", 1), ("worker-b", 1)]


def test_batches_of_an_earlier_test_are_confirmed_and_not_delivered() -> None:
    collector = Collector("worker-0")
    collector.schedule("fresh", RUN)
    master = Master("second")
    assert master.deduplicator.receive("client", SendQueue("first", collector).message()) == [0]
    assert master.delivered == []


def test_a_batch_that_is_being_encoded_is_not_left_out() -> None:
    """While one message is made, the streams go on, and a drain may make the next one: it has both batches."""
    collector = Collector("w")
    messages: list[dict[str, Any]] = []
    queue = SendQueue("t", collector, pause=lambda: gevent.sleep(0.001))
    collector.add_value(collector.schedule("fresh", RUN), "session_ms", 1.0)
    first = gevent.spawn(lambda: messages.append(queue.message()))
    gevent.sleep(0)
    collector.schedule("fresh", RUN)
    messages.append(queue.message())
    first.join()
    assert [[number for number, _ in message["batches"]] for message in messages] == [[0], [0, 1]]


def test_a_batch_whose_sender_ends_while_it_is_encoded_is_sent_next() -> None:
    collector = Collector("w")
    queue = SendQueue("t", collector, pause=lambda: gevent.sleep(10))
    collector.add_value(collector.schedule("fresh", RUN), "session_ms", 1.0)
    sender = gevent.spawn(queue.message)
    gevent.sleep(0)
    sender.kill()
    assert [number for number, _ in queue.message()["batches"]] == [0]
