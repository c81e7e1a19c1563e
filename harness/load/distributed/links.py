"""Delivers the workers' results to the master, and makes sure that none are missing at the end of a test.

Batches are sent with Locust's own reports. At the end of a test Locust's master would wait half a second for its
workers and then leave. So while it is stopping, it tells each worker to drain (stop its users, close its collector,
send every batch, confirm), and waits until all have drained or are gone. The master answers that too: what a process
has sent just before its end may never leave the machine, and a worker would be lost whose results are all there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import Event
from gevent.lock import RLock
from locust.env import Environment
from locust.runners import STATE_MISSING, MasterRunner, WorkerRunner

from harness.config.settings import Settings
from harness.load.distributed.delivery import Deduplicator, SendQueue
from harness.load.journeys.cpu_yield import CpuYield
from harness.load.schedule.plan import LoadPlan
from harness.load.stats.collector import Collector
from harness.load.stats.stats_batch import StatsBatch
from harness.run_clock import RUN_CLOCK

READY = "harness-ready"
DRAIN = "harness-drain"
DRAINED = "harness-drained"
RECEIVED = "harness-received"
ARRIVALS_FINISHED = "harness-arrivals-finished"
_PLAN_OPTION = "harness_plan"
_REPORT_KEY = "harness"  # holds the batches in Locust's reports

_LONGEST_ENCODING_S = 0.0005  # at a time: an arrival may be due

_RESEND_AFTER_S = 1.0
_GIVE_UP_SENDING_S = 10.0
_READY_WITHIN_S = 5.0
_DRAIN_GRACE_S = 15.0  # in addition to the time that users have to finish
_CHECK_WORKERS_EVERY_S = 0.1
_START_AFTER_S = 1.5  # every worker must have its pacer before the first arrival is due

logger = logging.getLogger(__name__)


class WorkerLink:
    """The worker's end."""

    def __init__(self, environment: Environment, runner: WorkerRunner) -> None:
        self._environment = environment
        self._events: Any = environment.events
        self._runner = runner
        self._queue: SendQueue | None = None
        self._confirmed = Event()
        self._drained_test = ""  # the master knows that this worker has drained
        self._draining = RLock()
        runner.register_message(DRAIN, self._on_drain, concurrent=True)
        runner.register_message(RECEIVED, self._on_received)
        events: Any = environment.events
        events.report_to_master.add_listener(self._on_report)
        runner.send_message(READY)

    def plan(self) -> LoadPlan | None:
        """The test that the master is starting, or None if it sent no plan.

        Raises SettingsError if this worker cannot follow the plan.
        """
        message = getattr(self._environment.parsed_options, _PLAN_OPTION, None)
        return None if message is None else LoadPlan.from_message(message, self._runner.client_id)

    def arrivals_finished(self) -> None:
        """Tell the master that all arrivals of this process have started and ended."""
        message = getattr(self._environment.parsed_options, _PLAN_OPTION, None)
        if message is not None:
            self._runner.send_message(ARRIVALS_FINISHED, {"test": message["test"]})

    def open(self, test: str, collector: Collector) -> None:
        """Send this collector's batches from now on."""
        if self._queue:
            logger.error("%d batches of an earlier test never reached the master", len(self._queue))
        self._queue = SendQueue(test, collector, CpuYield(longest_slice_s=_LONGEST_ENCODING_S).yield_if_due)

    def _on_received(self, msg: Any, **_: Any) -> None:
        if self._queue is not None:
            self._queue.confirmed(msg.data["test"], msg.data["numbers"])
            if msg.data.get("drained"):
                self._drained_test = msg.data["test"]
            self._confirmed.set()

    def _on_report(self, data: dict[str, Any], **_: Any) -> None:
        if self._queue is not None:
            data[_REPORT_KEY] = self._queue.message()

    def _on_drain(self, **_: Any) -> None:
        self.drain()

    def drain(self) -> None:
        """Stop the users, send until the master has confirmed every batch and that it has all. Gives up after 10 s."""
        with self._draining:
            if self._queue is None:
                return
            self._runner.stop()  # fires test_stop, which closes the collector
            queue, give_up = self._queue, time.monotonic() + _GIVE_UP_SENDING_S
            self._send_until(lambda: not queue, self._send, give_up)
            if queue:
                logger.error("the master did not confirm the last %d batches of results", len(queue))
                return
            test = {"test": queue.test}
            self._send_until(
                lambda: self._drained_test == queue.test,
                lambda: self._runner.send_message(DRAINED, test),
                give_up,
            )

    def _send_until(self, is_confirmed: Callable[[], bool], send: Callable[[], None], give_up: float) -> None:
        """Send until it is confirmed. give_up: on the monotonic clock, in s."""
        send()
        while not is_confirmed() and time.monotonic() < give_up:
            self._confirmed.clear()
            if not self._confirmed.wait(_RESEND_AFTER_S):
                send()

    def _send(self) -> None:
        # With Locust's own numbers, so that its summary and the ledger cover the same streams.
        data: dict[str, Any] = {}
        self._events.report_to_master.fire(client_id=self._runner.client_id, data=data)
        self._runner.send_message("stats", data)


class MasterLink:
    """The master's end.

    deliver: called with each worker's batch and its name. arrivals_finished: called when every worker that has a
    share of an open loop's arrivals has finished it or is gone.
    """

    def __init__(
        self,
        environment: Environment,
        runner: MasterRunner,
        deliver: Callable[[StatsBatch, str], None],
        *,
        arrivals_finished: Callable[[], None],
    ) -> None:
        self._environment = environment
        self._runner = runner
        self._deliver = deliver
        self._arrivals_finished = arrivals_finished
        self._deduplicator: Deduplicator | None = None
        self._with_arrivals: set[str] = set()  # workers that have not finished their arrivals
        self._watcher: gevent.Greenlet | None = None
        self._ready: set[str] = set()
        self._participants: set[str] = set()
        self._drained: set[str] = set()
        self._changed = Event()
        runner.register_message(READY, self._on_ready)
        runner.register_message(DRAINED, self._on_drained)
        runner.register_message(ARRIVALS_FINISHED, self._on_arrivals_finished)
        events: Any = environment.events
        events.worker_report.add_listener(self._on_report)

    def start(self, settings: Settings) -> int:
        """Begin a test: each worker receives the test's id and its share of the arrivals when it is started.

        Returns the start of the schedule, epoch ns.
        """
        runner = self._runner
        workers = [
            client.id for client in (*runner.clients.ready, *runner.clients.running, *runner.clients.spawning)
        ]
        self._wait_until_ready(set(workers))
        ramp_s = (len(workers) - 1) / runner.spawn_rate if runner.spawn_rate else 0.0
        start_wall_ns = RUN_CLOCK.wall_ns() + int((_START_AFTER_S + ramp_s) * 1e9)
        load = settings.load
        plan = LoadPlan.of(settings, start_wall_ns, None)
        self._deduplicator = Deduplicator(plan.test, self._deliver)
        self._participants = set(workers)
        self._drained = set()
        if load.is_open:
            self._with_arrivals = set(workers)
            self._watcher = gevent.spawn(self._wait_for_arrivals)
        # Locust sends the options with its start message, so a worker has the plan before it has users.
        setattr(self._environment.parsed_options, _PLAN_OPTION, plan.to_message(workers))
        return start_wall_ns

    def _wait_until_ready(self, workers: set[str]) -> None:
        """Locust counts a worker as ready shortly before its locustfile has registered with the harness."""
        give_up = time.monotonic() + _READY_WITHIN_S
        while missing := workers - self._ready:
            if time.monotonic() > give_up:
                logger.error(
                    "no answer from %s: do they run the same locustfile?", ", ".join(sorted(missing))
                )
                return
            self._changed.clear()
            self._changed.wait(0.2)

    def _wait_for_arrivals(self) -> None:
        # Polling, because a worker that dies sends no message.
        while self._with_arrivals & self._present():
            gevent.sleep(_CHECK_WORKERS_EVERY_S)
        self._arrivals_finished()

    def finish(self) -> list[str]:
        """Drain every worker: on return, all batches of those that drained have been delivered.

        Returns the names of the workers whose final batch is missing.
        """
        if self._watcher is not None:
            self._watcher.kill()
            self._watcher = None
        if self._deduplicator is None:
            return []
        for client in self._present():
            self._runner.send_message(DRAIN, {"test": self._deduplicator.test}, client)
        deadline = time.monotonic() + float(self._environment.stop_timeout) + _DRAIN_GRACE_S
        while (self._participants & self._present()) - self._drained and time.monotonic() < deadline:
            self._changed.clear()
            self._changed.wait(0.2)
        index_of: Any = self._runner.get_worker_index
        return sorted(f"worker-{index_of(client)}" for client in self._participants - self._drained)

    def _present(self) -> set[str]:
        return {client.id for client in self._runner.clients.all if client.state != STATE_MISSING}

    def _on_report(self, client_id: str, data: dict[str, Any], **_: Any) -> None:
        message = data.pop(_REPORT_KEY, None)
        if message is None or self._deduplicator is None:
            return
        if message["test"] == self._deduplicator.test:
            self._participants.add(client_id)  # including one that joined late
        numbers = self._deduplicator.receive(client_id, message)
        if numbers:
            self._runner.send_message(RECEIVED, {"test": message["test"], "numbers": numbers}, client_id)

    def _on_ready(self, msg: Any, **_: Any) -> None:
        self._ready.add(msg.node_id)
        self._changed.set()
        if self._watcher is not None and msg.node_id not in self._participants:
            logger.warning("%s joined during the test and gets no share of the arrivals", msg.node_id)

    def _on_arrivals_finished(self, msg: Any, **_: Any) -> None:
        if self._deduplicator is not None and msg.data["test"] == self._deduplicator.test:
            self._with_arrivals.discard(msg.node_id)

    def _on_drained(self, msg: Any, **_: Any) -> None:
        if self._deduplicator is not None and msg.data["test"] == self._deduplicator.test:
            self._drained.add(msg.node_id)
            self._changed.set()
        answer = {"test": msg.data["test"], "numbers": [], "drained": True}
        self._runner.send_message(RECEIVED, answer, msg.node_id)
