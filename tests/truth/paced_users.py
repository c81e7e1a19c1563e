"""Locustfile for golden accuracy: users that save the times that the server wrote into their streams.

One line per run in TRUTH_SENT/<pid>.jsonl: its id, when its request was sent, when the server sent each token, and in
which read the token arrived. Times are ns on the monotonic clock, which all processes of a machine share. They are
read from the received bytes, without the harness's decoder.
"""

from __future__ import annotations

import json
import os
import re
from bisect import bisect_left
from itertools import accumulate
from pathlib import Path

from locust import events, task

from harness.load.session import Session, settings_or_exit
from harness.load.users import AgentRunUser

_FILE = Path(os.environ["TRUTH_SENT"]) / f"{os.getpid()}.jsonl"
_SENT = re.compile(rb'"t":(\d+)[^\n]*\n\n')
_RUN = re.compile(rb'"runId":"([^"]+)"')

Session(settings_or_exit()).listen(events)


class Readers(AgentRunUser):
    """Users that read one run after the other."""

    @task
    def read(self) -> None:
        """One run to its end."""
        with self.journey("paced") as journey:
            exchange = journey.stream("run", journey.target.run("success"))
        chunks = [read.data for read in exchange.reads]
        received, ends = b"".join(chunks), list(accumulate(map(len, chunks)))
        tokens = list(_SENT.finditer(received))
        truth = {
            "runs": [run_id.decode() for run_id in _RUN.findall(received)],
            "sent_ns": exchange.timing.sent_ns,
            "tokens_ns": [int(token[1]) for token in tokens],
            "reads": [bisect_left(ends, token.end()) for token in tokens],
        }
        with _FILE.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(truth)}\n")
