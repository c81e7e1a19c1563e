"""One stream of a journey, from its start until its checks are recorded."""

from __future__ import annotations

from collections.abc import Callable

import gevent

from harness.contract.exchange import Exchange
from harness.contract.finding import Finding
from harness.load.stats.collector import PendingStream
from harness.protocol.request import HttpRequest
from harness.transport.gevent_client import GeventExchange

StreamCheck = Callable[[Exchange], list[Finding]]


class StreamHandle:
    """One stream: its counts, its exchange, and the checks that it will get.

    unchecked: it has ended and is not finalized. findings: the results of its checks. fault: the harness fault
    that keeps it from being checked, or None.
    """

    __slots__ = ("_exchange", "checks", "fault", "findings", "greenlet", "live", "stream", "unchecked")

    def __init__(self, stream: PendingStream, live: GeventExchange, check: StreamCheck) -> None:
        self.stream = stream
        self.live = live
        self.checks = [check]
        self.greenlet: gevent.Greenlet | None = None
        self.unchecked = False
        self.findings: list[Finding] = []
        self.fault: str | None = None
        self._exchange: Exchange | None = None

    @property
    def request(self) -> HttpRequest:
        """What is sent."""
        return self.live.request

    @property
    def exchange(self) -> Exchange:
        """The finished exchange, always the same object. Raises RuntimeError before its end."""
        if self._exchange is None:
            self._exchange = self.live.exchange()
        return self._exchange
