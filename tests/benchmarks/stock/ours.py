"""Our users with fresh runs only, every rule checked and results written.

BENCH_CHECK_EVERY=n also compares the arrival times of every n-th stream with the send times in its events.
BENCH_BUSY=0.2 keeps the hub busy for a fifth of the time.
"""

from __future__ import annotations

import os
import random
import re
import time
from itertools import count

import gevent
from locust import events, task

from harness.contract.exchange import Exchange
from harness.load.journeys.stream_runner import StreamRunner
from harness.load.session import Session, settings_or_exit
from harness.load.stats.stream_metrics import RUN
from harness.load.users import AgentRunUser
from tests.benchmarks.stock.recorder import Recorder

_SENT = re.compile(rb'"t":(\d+)')

recorder = Recorder()
recorder.listen()
check_every = int(os.environ.get("BENCH_CHECK_EVERY", "0"))
busy = float(os.environ.get("BENCH_BUSY", "0"))
streams = count()

Session(settings_or_exit()).listen(events)


def fresh(runner: StreamRunner, intended_ns: int | None = None) -> None:
    exchange = runner.run("fresh", RUN, runner.target.run("success"), intended_ns=intended_ns)
    recorder.ended(exchange.summary.events)
    if check_every and next(streams) % check_every == 0:
        check(exchange)


def check(exchange: Exchange) -> None:
    number = 0
    for read in exchange.reads:
        had_ns = read.arrival_ns + (read.lag_ns or 0)
        for sent in _SENT.findall(read.data):
            number += 1
            if not recorder.within(had_ns):
                continue
            recorder.lag.add(had_ns - int(sent))
            if number == 1:
                recorder.kernel_error.add(abs(read.arrival_ns - int(sent)))


def keep_busy() -> None:
    while True:
        piece_s = random.uniform(0.002, 0.005)
        until = time.perf_counter() + piece_s
        while time.perf_counter() < until:
            pass
        gevent.sleep(piece_s * (1 / busy - 1))


@events.test_start.add_listener
def on_test_start(**_: object) -> None:
    if busy:
        gevent.spawn(keep_busy)


@events.quit.add_listener
def on_quit(**_: object) -> None:
    recorder.write()  # including streams that ended after the window


class Runs(AgentRunUser):
    def on_start(self) -> None:
        gevent.sleep(random.random())

    @task
    def stream_run(self) -> None:
        self.run_journey(fresh)
