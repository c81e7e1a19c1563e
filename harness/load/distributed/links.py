"""How the workers' counts reach the process that writes them, and that none are left behind at the end.

Parcels travel with Locust's own reports. At the end of a test Locust's master would wait half a second
for its workers and then leave; so while it is stopping it asks each of them to drain (stop its users,
close its books, ship all, and say so) and waits until they have, or are gone.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import Event
from gevent.lock import RLock
from locust.env import Environment
from locust.runners import STATE_MISSING, MasterRunner, WorkerRunner

from harness.config.settings import Settings
from harness.load.distributed.delivery import Deduplicator, SendQueue
from harness.load.schedule.plan import LoadPlan
from harness.load.stats.collector import Collector
from harness.load.stats.stats_batch import StatsBatch

READY = "harness-ready"
DRAIN = "harness-drain"
DRAINED = "harness-drained"
RECEIVED = "harness-received"
PUMPED = "harness-pumped"
_PLAN_OPTION = "harness_plan"
_KEY = "harness"  # under which parcels stand in Locust's reports

_SHIP_AGAIN_S = 1.0
_GIVE_UP_SHIPPING_S = 10.0
_READY_WITHIN_S = 5.0
_DRAIN_GRACE_S = 15.0  # beyond the time that users have to finish
_LOOK_AT_PUMPS_S = 0.1
_START_AFTER_S = 0.5  # so that every worker has its pump before the first arrival is due

logger = logging.getLogger(__name__)


class WorkerLink:
    """A worker's end."""

    def __init__(self, environment: Environment, runner: WorkerRunner) -> None:
        self._environment = environment
        self._events: Any = environment.events
        self._runner = runner
        self._outbox: SendQueue | None = None
        self._received = Event()
        self._draining = RLock()
        runner.register_message(DRAIN, self._asked_to_drain, concurrent=True)
        runner.register_message(RECEIVED, self._take_receipt)
        events: Any = environment.events
        events.report_to_master.add_listener(self._report)
        runner.send_message(READY)

    def plan(self) -> LoadPlan | None:
        """The test that the master is starting; None where it named none.

        Raises SettingsError where it cannot be done here.
        """
        message = getattr(self._environment.parsed_options, _PLAN_OPTION, None)
        return None if message is None else LoadPlan.from_message(message, self._runner.client_id)

    def pumped(self) -> None:
        """Tell the master that this process's arrivals have all begun and ended."""
        message = getattr(self._environment.parsed_options, _PLAN_OPTION, None)
        if message is not None:
            self._runner.send_message(PUMPED, {"test": message["test"]})

    def open(self, test: str, collector: Collector) -> None:
        """From here on ship that collector's counts."""
        if self._outbox:
            logger.error("%d parcels of an earlier test never reached the master", len(self._outbox))
        self._outbox = SendQueue(test, collector)

    def _take_receipt(self, msg: Any, **_: Any) -> None:
        if self._outbox is not None:
            self._outbox.confirmed(msg.data["test"], msg.data["numbers"])
            self._received.set()

    def _report(self, data: dict[str, Any], **_: Any) -> None:
        if self._outbox is not None:
            data[_KEY] = self._outbox.message()

    def _asked_to_drain(self, **_: Any) -> None:
        self.drain()

    def drain(self) -> None:
        """Stop the users, ship until the master has everything, and say so. Gives up after ten seconds."""
        with self._draining:
            if self._outbox is None:
                return
            self._runner.stop()  # it fires test_stop, which closes the books
            give_up = time.monotonic() + _GIVE_UP_SHIPPING_S
            self._ship()
            while self._outbox and time.monotonic() < give_up:
                self._received.clear()
                if not self._received.wait(_SHIP_AGAIN_S):
                    self._ship()
            if self._outbox:
                logger.error("the master did not confirm the last %d parcels of counts", len(self._outbox))
            else:
                self._runner.send_message(DRAINED, {"test": self._outbox.test})

    def _ship(self) -> None:
        # Locust's own numbers go with ours, so that its summary and the ledger speak of the same streams.
        data: dict[str, Any] = {}
        self._events.report_to_master.fire(client_id=self._runner.client_id, data=data)
        self._runner.send_message("stats", data)


class MasterLink:
    """The master's end.

    deliver: given each worker's counts, with its name. arrived: called when every worker that has a share
    of an open loop's arrivals, and lives, has seen the last of them end.
    """

    def __init__(
        self,
        environment: Environment,
        runner: MasterRunner,
        deliver: Callable[[StatsBatch, str], None],
        *,
        arrived: Callable[[], None],
    ) -> None:
        self._environment = environment
        self._runner = runner
        self._deliver = deliver
        self._arrived = arrived
        self._inbox: Deduplicator | None = None
        self._pumping: set[str] = set()  # who has a share of the arrivals, and has not done with it
        self._watching: gevent.Greenlet | None = None
        self._ready: set[str] = set()
        self._taking_part: set[str] = set()
        self._drained: set[str] = set()
        self._news = Event()
        runner.register_message(READY, self._take_ready)
        runner.register_message(DRAINED, self._take_drained)
        runner.register_message(PUMPED, self._take_pumped)
        events: Any = environment.events
        events.worker_report.add_listener(self._take_report)

    def start(self, settings: Settings) -> int:
        """Begin a test: each worker will be told its id and its share of the arrivals as it is started.

        Returns when its schedule begins, epoch ns.
        """
        runner = self._runner
        workers = [
            one.id for one in (*runner.clients.ready, *runner.clients.running, *runner.clients.spawning)
        ]
        self._wait_until_ready(set(workers))
        ramp_s = (len(workers) - 1) / runner.spawn_rate if runner.spawn_rate else 0.0
        start_wall_ns = time.time_ns() + int((_START_AFTER_S + ramp_s) * 1e9)
        load = settings.load
        plan = LoadPlan(uuid.uuid4().hex, start_wall_ns, load, None, settings.objectives)
        self._inbox = Deduplicator(plan.test, self._deliver)
        self._taking_part = set(workers)
        self._drained = set()
        if load.is_open:
            self._pumping = set(workers)
            self._watching = gevent.spawn(self._watch_pumps)
        # Locust sends the options with the order to start, so a worker knows the plan before it has users.
        setattr(self._environment.parsed_options, _PLAN_OPTION, plan.to_message(workers))
        return start_wall_ns

    def _wait_until_ready(self, workers: set[str]) -> None:
        """Locust counts a worker as ready a moment before its locustfile takes part."""
        give_up = time.monotonic() + _READY_WITHIN_S
        while missing := workers - self._ready:
            if time.monotonic() > give_up:
                logger.error("%s take no part: do they run the same locustfile?", ", ".join(sorted(missing)))
                return
            self._news.clear()
            self._news.wait(0.2)

    def _watch_pumps(self) -> None:
        # A worker that dies sends nothing, so it does not do to wait for news alone.
        while self._pumping & self._present():
            gevent.sleep(_LOOK_AT_PUMPS_S)
        self._arrived()

    def finish(self) -> list[str]:
        """Have every worker drain; returns the names of those whose last counts did not come."""
        if self._watching is not None:
            self._watching.kill()
            self._watching = None
        if self._inbox is None:
            return []
        for client in self._present():
            self._runner.send_message(DRAIN, {"test": self._inbox.test}, client)
        deadline = time.monotonic() + float(self._environment.stop_timeout) + _DRAIN_GRACE_S
        while (self._taking_part & self._present()) - self._drained and time.monotonic() < deadline:
            self._news.clear()
            self._news.wait(0.2)
        index_of: Any = self._runner.get_worker_index
        return sorted(f"worker-{index_of(client)}" for client in self._taking_part - self._drained)

    def _present(self) -> set[str]:
        return {one.id for one in self._runner.clients.all if one.state != STATE_MISSING}

    def _take_report(self, client_id: str, data: dict[str, Any], **_: Any) -> None:
        message = data.pop(_KEY, None)
        if message is None or self._inbox is None:
            return
        if message["test"] == self._inbox.test:
            self._taking_part.add(client_id)  # also one that came late
        numbers = self._inbox.take(client_id, message)
        if numbers:
            self._runner.send_message(RECEIVED, {"test": message["test"], "numbers": numbers}, client_id)

    def _take_ready(self, msg: Any, **_: Any) -> None:
        self._ready.add(msg.node_id)
        self._news.set()
        if self._watching is not None and msg.node_id not in self._taking_part:
            logger.warning("%s came in mid-test, and gets no share of its arrivals", msg.node_id)

    def _take_pumped(self, msg: Any, **_: Any) -> None:
        if self._inbox is not None and msg.data["test"] == self._inbox.test:
            self._pumping.discard(msg.node_id)

    def _take_drained(self, msg: Any, **_: Any) -> None:
        if self._inbox is not None and msg.data["test"] == self._inbox.test:
            self._drained.add(msg.node_id)
            self._news.set()
