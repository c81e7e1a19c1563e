"""Data that waited for the harness: the kernel's timestamp is that of its last segment, and the bound says since when.

The event loop is stopped from before the first send until after the last one, so all of it waits for one read.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import gevent
import pytest

from harness.contract.exchange import Exchange
from harness.contract.expectations import Budgets
from harness.load.stats.stream_metrics import RUN, measure
from harness.run_clock import RUN_CLOCK
from harness.transport.endpoint import Endpoint
from harness.transport.gevent_client import GeventClient
from harness.transport.timestamps import HAS_KERNEL_TIMESTAMPS, keep_kernel_timestamps_on
from tests.contract.exchanges import LAST_CHUNK, POST, STREAM, chunk, done, head, token
from tests.transport.readers import use_reader

pytestmark = pytest.mark.skipif(not HAS_KERNEL_TIMESTAMPS, reason="no kernel timestamps on this system")

STOPPED_S = 0.08
HEAD = head(200, {**STREAM, "Transfer-Encoding": "chunked"})
BUDGETS = Budgets(first_event_s=30.0, terminal_close_s=30.0, run_s=60.0)


@pytest.fixture(params=["native", "python"], autouse=True)
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    use_reader(request.param, monkeypatch)
    hub = gevent.get_hub()
    monkeypatch.setattr(hub, "harness_poller", None, raising=False)
    keep_kernel_timestamps_on()
    RUN_CLOCK.start()


class Sender:
    """A server that waits STOPPED_S before it sends each of its parts, once `go` is set. sent_ns: before each send."""

    def __init__(self, listener: socket.socket, parts: tuple[bytes, ...]) -> None:
        self.asked, self.go, self.sent = threading.Event(), threading.Event(), threading.Event()
        self.sent_ns: list[int] = []
        self._listener = listener
        self._parts = parts
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.recv(65536)
            self.asked.set()
            self.go.wait(30)
            for part in self._parts:
                time.sleep(STOPPED_S)
                self.sent_ns.append(time.monotonic_ns())
                connection.sendall(part)
            time.sleep(0.02)  # on the loopback a send has long arrived
            self.sent.set()
            connection.recv(1)

    def join(self) -> None:
        self.go.set()
        self._thread.join(30)


@contextmanager
def stopped_while(*parts: bytes) -> Iterator[tuple[Sender, Exchange]]:
    """The exchange of a response whose parts are all sent while the event loop is stopped."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = Sender(listener, parts)
        client = GeventClient(Endpoint("127.0.0.1", listener.getsockname()[1]), BUDGETS)
        running = gevent.spawn(client.exchange, POST, "run")
        try:
            with gevent.Timeout(30):
                while not sender.asked.is_set():
                    gevent.sleep(0.001)
                gevent.sleep(0.01)
            sender.go.set()
            assert sender.sent.wait(30)  # blocks the event loop as well
            yield sender, running.get(timeout=30)
        finally:
            running.kill()
            sender.join()


def test_the_first_of_several_segments_arrived_within_the_bound() -> None:
    with stopped_while(HEAD + chunk(token(0)), chunk(token(1)) + chunk(done(2)) + LAST_CHUNK) as (
        sender,
        run,
    ):
        pass
    (arrival_ns,) = set(run.stamps_ns()[0])
    (error_ns,) = run.errors_ns().values()
    first_ns, last_ns = sender.sent_ns
    assert arrival_ns >= last_ns  # the timestamp of the last segment, also for the first token
    assert error_ns >= STOPPED_S * 1e9
    assert arrival_ns - error_ns <= first_ns  # the bound holds
    assert arrival_ns - error_ns >= run.timing.started_ns  # and is not more than what is known
    measured = measure(run, RUN, "done", scheduled=False)
    ttft_ms = measured.values["service_ttft_ms"]
    true_ms = (first_ns - (run.timing.sent_ns or 0)) / 1e6
    assert ttft_ms - measured.values["arrival_error_ms"] <= true_ms <= ttft_ms
    assert measured.lags is not None
    assert max(measured.lags.values_ns) >= STOPPED_S * 1e9  # not the 20 ms since the last segment


def test_one_segment_has_no_error_however_late_it_was_read() -> None:
    with stopped_while(HEAD + chunk(token(0)) + chunk(done(1)) + LAST_CHUNK) as (sender, run):
        pass
    assert not run.errors_ns()
    assert measure(run, RUN, "done", scheduled=False).values["arrival_error_ms"] == 0
    assert run.reads[0].lag_ns is not None
    assert run.reads[0].lag_ns >= 20_000_000
    assert run.reads[0].arrival_ns - sender.sent_ns[0] < 20_000_000


def test_without_the_kernels_count_each_late_read_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.transport.segments.SegmentCount._received", lambda _: None)
    with stopped_while(HEAD + chunk(token(0)) + chunk(done(1)) + LAST_CHUNK) as (sender, run):
        pass
    (error_ns,) = run.errors_ns().values()
    assert run.reads[0].arrival_ns - error_ns <= sender.sent_ns[0]
