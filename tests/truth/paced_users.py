"""What Locust opens for golden accuracy: users who keep what the server wrote into their streams beside the results.

A line a run in TRUTH_SENT/<pid>.jsonl: its id, when its request was sent, and when the server says that it
sent each token; all ns on the monotonic clock, which is the same in all processes of a machine. The times are
looked up in the bytes that came, so that the harness's decoding has no part in them.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from locust import events, task

from harness.load.session import Session, settings_or_exit
from harness.load.users import AgentRunUser

_FILE = Path(os.environ["TRUTH_SENT"]) / f"{os.getpid()}.jsonl"
_SENT = re.compile(rb'"t":(\d+)')
_RUN = re.compile(rb'"runId":"([^"]+)"')

Session(settings_or_exit()).listen(events)


class Readers(AgentRunUser):
    """Each reads one run after the other."""

    @task
    def read(self) -> None:
        """One run to its end."""
        with self.journey("paced") as journey:
            exchange = journey.stream("run", journey.target.run("success"))
        came = b"".join(read.data for read in exchange.reads)
        told = {
            "runs": [one.decode() for one in _RUN.findall(came)],
            "sent_ns": exchange.timing.sent_ns,
            "tokens_ns": [int(one) for one in _SENT.findall(came)],
        }
        with _FILE.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(told)}\n")
