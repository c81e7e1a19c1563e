"""Counts on their way between processes: numbered parcels, each delivered once however often it is sent.

A parcel is kept and sent again until the master says that it has it. Everything carries the test's id:
what is left over from an earlier test of the same session counts for nothing in the next.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

from harness.load.stats.collector import Collector
from harness.load.stats.stats_batch import StatsBatch

logger = logging.getLogger(__name__)


class SendQueue:
    """A worker's parcels of one test, kept until the master has them."""

    def __init__(self, test: str, collector: Collector) -> None:
        self.test = test
        self._collector = collector
        self._parcels: dict[int, dict[str, Any]] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._parcels)

    def message(self) -> dict[str, Any]:
        """Everything that the master has not confirmed; what is new becomes a parcel first."""
        delta = self._collector.take()
        if delta:
            self._parcels[self._next] = delta.to_message()
            self._next += 1
        parcels = [[number, parcel] for number, parcel in self._parcels.items()]
        return {"test": self.test, "worker": self._collector.worker, "parcels": parcels}

    def confirmed(self, test: str, numbers: list[int]) -> None:
        """The master has these."""
        if test == self.test:
            for number in numbers:
                self._parcels.pop(number, None)


class Deduplicator:
    """The master's side: merges each parcel of its test once, whoever sends it how often."""

    def __init__(self, test: str, deliver: Callable[[StatsBatch, str], None]) -> None:
        self.test = test
        self._deliver = deliver
        self._whole: Counter[str] = Counter()  # by sender: every number below has come
        self._beyond: dict[str, set[int]] = {}  # and these, while one below them is still to come

    def take(self, client: str, message: dict[str, Any]) -> list[int]:
        """Merge what is new; returns the numbers to confirm."""
        parcels = message["parcels"]
        if message["test"] == self.test:
            for number, parcel in parcels:
                if self._is_new(client, number):
                    self._deliver(StatsBatch.from_message(parcel), message["worker"])
                    self._remember(client, number)
        elif parcels:
            logger.error(
                "%s sent counts of an earlier test when it was too late to add them", message["worker"]
            )
        return [number for number, _ in parcels]

    def _is_new(self, client: str, number: int) -> bool:
        return number >= self._whole[client] and number not in self._beyond.get(client, ())

    def _remember(self, client: str, number: int) -> None:
        beyond = self._beyond.setdefault(client, set())
        beyond.add(number)
        while self._whole[client] in beyond:
            beyond.remove(self._whole[client])
            self._whole[client] += 1
