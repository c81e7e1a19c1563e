"""At-least-once delivery of StatsBatches from workers to the master, with sequence numbers to drop duplicates.

A worker keeps a batch and sends it again until the master confirms it. Every message names its test: leftovers of
an earlier test of the same session are not counted in the next.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

from gevent import GreenletExit
from gevent.lock import RLock

from harness.load.stats.collector import Collector
from harness.load.stats.stats_batch import StatsBatch

logger = logging.getLogger(__name__)


class SendQueue:
    """A worker's batches of one test that the master has not confirmed.

    pause: lets the streams go on for a moment; called while a batch is encoded.
    """

    def __init__(self, test: str, collector: Collector, pause: Callable[[], object] = lambda: None) -> None:
        self.test = test
        self._pause = pause
        self._encoding = RLock()
        self._collector = collector
        self._unconfirmed: dict[int, dict[str, Any]] = {}  # by sequence number
        self._next = 0

    def __len__(self) -> int:
        return len(self._unconfirmed)

    def message(self) -> dict[str, Any]:
        """A message with every unconfirmed batch, including a new one if anything happened since the last call."""
        with self._encoding:  # a batch that is being encoded is in no message yet
            batch = self._collector.take()
            if batch:
                try:
                    content = batch.to_message(self._pause)
                except GreenletExit:
                    # Locust ends the sender during a pause; a drain sends the batch.
                    self._add(batch.to_message())
                    raise
                self._add(content)
        batches = [[number, content] for number, content in self._unconfirmed.items()]
        return {"test": self.test, "worker": self._collector.worker, "batches": batches}

    def _add(self, content: dict[str, Any]) -> None:
        self._unconfirmed[self._next] = content
        self._next += 1

    def confirmed(self, test: str, numbers: list[int]) -> None:
        """The master has received these batches."""
        if test == self.test:
            for number in numbers:
                self._unconfirmed.pop(number, None)


class Deduplicator:
    """The master's side: delivers each batch of its test once."""

    def __init__(self, test: str, deliver: Callable[[StatsBatch, str], None]) -> None:
        self.test = test
        self._deliver = deliver
        self._received_below: Counter[str] = Counter()  # by client: every lower number has been received
        self._received_above: dict[str, set[int]] = {}  # by client: numbers received out of order

    def receive(self, client: str, message: dict[str, Any]) -> list[int]:
        """Deliver the batches that are new. Returns the sequence numbers to confirm."""
        batches = message["batches"]
        if message["test"] == self.test:
            for number, content in batches:
                if self._is_new(client, number):
                    self._deliver(StatsBatch.from_message(content), message["worker"])
                    self._remember(client, number)
        elif batches:
            logger.error("%s sent results of an earlier test too late to count them", message["worker"])
        return [number for number, _ in batches]

    def _is_new(self, client: str, number: int) -> bool:
        return number >= self._received_below[client] and number not in self._received_above.get(client, ())

    def _remember(self, client: str, number: int) -> None:
        above = self._received_above.setdefault(client, set())
        above.add(number)
        while self._received_below[client] in above:
            above.remove(self._received_below[client])
            self._received_below[client] += 1
