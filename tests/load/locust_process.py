"""Real Locust processes for tests: a load test, and Locust's web page."""

from __future__ import annotations

import json
import os
import re
import signal
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tomlkit

from harness.config.load_settings import LoadSettings
from harness.load.locust.command import load_command, load_environment
from harness.results.reader import Results
from harness.results.records import StreamRecord
from tests.forked_process import Started, start
from tests.load.run_server import config


def is_group_alive(leader: int) -> bool:
    """Whether a process of that group still runs. A worker that outlives its test would go on sending load."""
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    return True


class Load:
    """One Locust process: its command, output and results."""

    def __init__(
        self, where: Path, base_url: str | None, plan: LoadSettings, *more: str, **budgets: float
    ) -> None:
        document = config(base_url, **plan.model_dump(exclude_none=True))
        document["budgets"] |= budgets
        settings_file = where / "harness.toml"
        settings_file.write_text(tomlkit.dumps(document))
        self.out = where / "out"
        self.command = [*load_command(plan, out=self.out), *more]
        self.environment = load_environment(settings_file)
        self.where = where
        self.printed = ""
        self.code: int | None = None

    @contextmanager
    def started(self, timeout_s: float = 120) -> Iterator[Started]:
        """Start it, and wait for it at the end of the block. Then `printed` and `code` are set."""
        with (self.where / "printed").open("w+") as printed:
            process = start(
                self.command,
                environment=self.environment,
                folder=self.where,
                output=printed.fileno(),
                new_session=True,
            )
            try:
                yield process
                self.code = process.wait(timeout=timeout_s)
                wait_for(lambda: not is_group_alive(process.pid))
            finally:
                if is_group_alive(process.pid):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            printed.seek(0)
            self.printed = printed.read()

    def run(self) -> Load:
        with self.started():
            pass
        return self

    def results(self, name: str = "results.sqlite") -> Results:
        return Results(self.out / name)

    def rows(self) -> list[StreamRecord]:
        with self.results() as results:
            return list(results.streams())

    def counts(self) -> dict[str, int]:
        """The ledger without zeros, checked against the rest of the file."""
        with self.results() as results:
            ledger = results.ledger()
            rows = list(results.streams())
            failures = results.failures()
        assert ledger.adds_up, f"{ledger}\n{self.printed}"
        assert len(rows) == ledger.scheduled
        assert failures == sum(row.reason is not None for row in rows)
        counts = {word: count for word, count in ledger.as_dict().items() if count}
        for word, count in counts.items():
            if word != "scheduled":
                assert count == sum(row.outcome == word for row in rows), word
        return counts

    def locusts_count(self) -> tuple[int, int]:
        """Requests and failures in Locust's own total."""
        found = re.search(r"^\s+Aggregated\s+(\d+)\s+(\d+)\(", self.printed, re.MULTILINE)
        assert found is not None, self.printed
        return int(found[1]), int(found[2])


def wait_for(what: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, f"not within {timeout_s} s"
        time.sleep(0.05)


class Page:
    """Locust's web page, used like its own script does."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.token = ""

    def get(self, path: str) -> Any:
        return self._ask(path, None)

    def post(self, path: str, **form: str) -> Any:
        if not self.token:
            found = re.search(r'<meta name="csrf-token" content="(\w+)">', self.get("/"))
            assert found is not None
            self.token = found[1]
        return self._ask(path, urllib.parse.urlencode(form).encode())

    def _ask(self, path: str, data: bytes | None) -> Any:
        request = urllib.request.Request(f"{self.url}{path}", data, {"X-CSRF-Token": self.token})
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read().decode()
        return json.loads(text) if text.startswith("{") else text

    def is_up(self) -> bool:
        try:
            return "locust" in self.get("/").lower()
        except OSError:
            return False

    def rows(self) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in self.get("/stats/requests")["stats"]}

    def workers(self) -> list[str]:
        return [worker["state"] for worker in self.get("/stats/requests").get("workers", [])]

    def swarm(self, **form: str) -> None:
        def accepted() -> bool:
            return bool(self.post("/swarm", user_count="4", spawn_rate="4", **form)["success"])

        wait_for(accepted)
