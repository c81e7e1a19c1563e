"""The end of a test on the master: it must not count as ended before every worker's final batch is merged."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = '''
from types import SimpleNamespace

import gevent
from locust.env import Environment

from harness.config.settings import Settings
from harness.load.distributed import links
from harness.load.distributed.delivery import SendQueue
from harness.load.distributed.links import ARRIVALS_FINISHED, DRAINED, READY, RECEIVED, MasterLink, WorkerLink
from harness.load.stats.collector import Collector
from harness.load.stats.stream_metrics import RUN


class Clients:
    """The master's list of workers: two that are ready."""

    running = spawning = ()

    def __init__(self):
        self.all = self.ready = [SimpleNamespace(id=name, state="ready") for name in "ab"]


class Runner:
    """A MasterRunner whose messages are kept, and whose handlers the test calls."""

    spawn_rate = 2

    def __init__(self):
        self.clients, self.handlers, self.sent = Clients(), {}, []

    def register_message(self, name, handler):
        self.handlers[name] = handler

    def send_message(self, name, data, client):
        self.sent.append((name, client))
        self.last = data

    def get_worker_index(self, client):
        return "ab".index(client)

    def receive(self, name, client):
        self.handlers[name](msg=SimpleNamespace(node_id=client, data={"test": link._deduplicator.test}))


def report(client):
    """The worker sends its final batch, one stream."""
    collector = Collector(f"worker-{client}")
    collector.schedule("fresh", RUN)
    collector.close()
    queue = SendQueue(link._deduplicator.test, collector)
    environment.events.worker_report.fire(client_id=client, data={"harness": queue.message()})


def settle():
    for _ in range(5):
        gevent.sleep(0)


delivered = []
finished = []
runner = Runner()
environment = Environment(parsed_options=SimpleNamespace(), events=None)
environment.stop_timeout = 600
link = MasterLink(
    environment,
    runner,
    lambda batch, worker: delivered.append(worker),
    arrivals_finished=lambda: finished.append(True),
)
for client in "ab":
    runner.handlers[READY](msg=SimpleNamespace(node_id=client))
link.start(Settings.model_validate({"load": {"rate": 1, "duration": 1}}))
for client in "ab":
    assert not finished
    runner.receive(ARRIVALS_FINISHED, client)
link._watcher.join(timeout=30)
assert finished == [True]

finishing = gevent.spawn(link.finish)
settle()
assert {client for name, client in runner.sent if name == "harness-drain"} == {"a", "b"}
report("a")
runner.receive(DRAINED, "a")
settle()
assert not finishing.ready(), "worker b has not sent its final batch"
report("b")
settle()
assert not finishing.ready(), "worker b has not confirmed that it has sent everything"
runner.receive(DRAINED, "b")
assert finishing.get(timeout=30) == []
assert delivered == ["worker-a", "worker-b"]


class Worker:
    """A WorkerRunner whose messages the test hands over, or loses."""

    client_id = "a"

    def __init__(self):
        self.handlers, self.sent = {}, []

    def register_message(self, name, handler, concurrent=False):
        self.handlers[name] = handler

    def send_message(self, name, data=None):
        self.sent.append((name, data))

    def stop(self):
        collector.close()


def next_of(worker, name):
    """The content of the worker's next message of that name."""
    with gevent.Timeout(30):
        while True:
            while not worker.sent:
                gevent.sleep(0.001)
            found, content = worker.sent.pop(0)
            if found == name:
                return content


links._RESEND_AFTER_S = 0.01
link.start(Settings.model_validate({"load": {"users": 1, "duration": 1}}))
collector = Collector("worker-a")
collector.schedule("fresh", RUN)
worker = Worker()
theirs = Environment(parsed_options=SimpleNamespace(), events=None)
workers_link = WorkerLink(theirs, worker)
workers_link.open(link._deduplicator.test, collector)
worker.sent.clear()
finishing, draining = gevent.spawn(link.finish), gevent.spawn(workers_link.drain)
environment.events.worker_report.fire(client_id="a", data=next_of(worker, "stats"))
worker.handlers[RECEIVED](msg=SimpleNamespace(data=runner.last))
next_of(worker, DRAINED)  # this one is lost
assert not draining.ready(), "the worker must not end before the master knows that it has drained"
next_of(worker, DRAINED)
runner.receive(DRAINED, "a")
assert runner.sent[-1] == (RECEIVED, "a")
worker.handlers[RECEIVED](msg=SimpleNamespace(data=runner.last))
draining.get(timeout=30)
runner.receive(DRAINED, "b")
assert finishing.get(timeout=30) == []
'''


def test_a_test_ends_only_when_every_workers_final_batch_is_merged() -> None:
    # In a subprocess, because importing Locust patches the process.
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
