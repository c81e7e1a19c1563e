"""A server with a known capacity: N concurrent runs of fixed duration; other runs wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import fmean
from typing import Any

from tests.load.run_server import Behaviour, Connection, Run, RunServer


class SlotConnection(Connection):
    server: SlotServer

    def play(self, sock: Any, run: Run, fault: str, last_event_id: str | None) -> None:
        with self.server.slots:
            run.started = time.monotonic()
            super().play(sock, run, fault, last_event_id)
            self.server.service_times_s.append(time.monotonic() - run.started)


class SlotServer(RunServer):
    """Capacity: slots / service time runs per second; the first token is sent when a slot is free."""

    def __init__(self, slots: int, behaviour: Behaviour) -> None:
        super().__init__(behaviour)
        self.RequestHandlerClass = SlotConnection
        self.slots = threading.Semaphore(slots)
        self.capacity = slots / (behaviour.tokens * behaviour.gap_s)
        self.service_times_s: list[float] = []
        self._slots = slots

    @property
    def measured_capacity(self) -> float:
        """The capacity that the server really had: on a busy machine, runs take longer."""
        return self._slots / fmean(self.service_times_s)


@contextmanager
def slot_server(slots: int, **behaviour: Any) -> Iterator[SlotServer]:
    with SlotServer(slots, Behaviour(**behaviour)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
