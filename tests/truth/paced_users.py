"""What Locust opens for golden accuracy: users who keep what the server wrote into their streams beside the results.

A line a run in TRUTH_SENT/<pid>.jsonl: its id, when its request was sent, when the server says that it sent
each token, and with which read that came; times are ns on the monotonic clock, which is the same in all
processes of a machine. All is looked up in the bytes that came: the harness's decoding has no part in it.
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
    """Each reads one run after the other."""

    @task
    def read(self) -> None:
        """One run to its end."""
        with self.journey("paced") as journey:
            exchange = journey.stream("run", journey.target.run("success"))
        pieces = [read.data for read in exchange.reads]
        came, ends = b"".join(pieces), list(accumulate(map(len, pieces)))
        tokens = list(_SENT.finditer(came))
        told = {
            "runs": [one.decode() for one in _RUN.findall(came)],
            "sent_ns": exchange.timing.sent_ns,
            "tokens_ns": [int(one[1]) for one in tokens],
            "reads": [bisect_left(ends, one.end()) for one in tokens],
        }
        with _FILE.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(told)}\n")
