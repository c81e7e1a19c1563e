"""Locust's FastHttpUser, line by line, as a Locust user would write it."""

from __future__ import annotations

import json
import random
import time

import gevent
from locust import FastHttpUser, task

from tests.benchmarks.stock.body import BODY, END, HEADERS, PATH
from tests.benchmarks.stock.recorder import Recorder

recorder = Recorder()
recorder.listen()


class Runs(FastHttpUser):
    def on_start(self) -> None:
        gevent.sleep(random.random())  # spreads the users that Locust starts once per second

    @task
    def stream_run(self) -> None:
        started_ns, events = time.monotonic_ns(), 0
        with self.client.post(PATH, data=BODY, headers=HEADERS, stream=True, catch_response=True) as response:
            # Not iter_lines, which waits for blocks of 1 KB and turns tokens into bursts.
            while line := response.stream.readline(b"\n"):
                if not line.startswith(b"data:"):
                    continue
                events += 1
                if (data := line[5:].strip()) == END:
                    continue
                event = json.loads(data)
                recorder.parsed(event.get("t"))
                if events == 1:
                    recorder.first_token(started_ns)
        recorder.ended(events)
