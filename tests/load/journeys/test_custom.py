"""The README's locustfile, as a user would save and run it, and what it is made of."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tomlkit

from harness.commands.reference_process import ReferenceServer
from harness.contract.exchange import Exchange
from harness.contract.finding import Finding, Verdict
from harness.load.journeys.custom import CustomJourney
from harness.load.stats.collector import CollectorClosedError
from harness.reference.settings import demo_config
from harness.results.reader import Results
from harness.transport.receiver import Cut, Pace
from tests.load.journeys.test_builtin import trip
from tests.load.run_server import Connection, Run

README = Path(__file__).parents[2] / "README.md"


def the_example() -> str:
    section = README.read_text().partition("## Your own journeys\n")[2].partition("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return str(code)


@pytest.mark.slow
def test_the_readmes_example(tmp_path: Path) -> None:
    (tmp_path / "editors.py").write_text(the_example())
    out = tmp_path / "results"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HARNESS_")}
    command = [sys.executable, "-m", "locust", "-f", "editors.py", "--headless", "--only-summary"]
    command += ["--users", "4", "--spawn-rate", "4", "--run-time", "4s", "--stop-timeout", "10"]
    with ReferenceServer() as server:
        (tmp_path / "harness.toml").write_text(tomlkit.dumps(demo_config(server.base_url)))
        done = subprocess.run(
            [*command, "--harness-out", str(out)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Traceback" not in said
    assert "[draft: first draft]" in said
    with Results(out / "results.sqlite") as results:
        rows = list(results.streams())
        assert results.ledger().adds_up
        assert results.ledger()["done"] == len(rows) >= 8
        assert results.violation_counts() == {}
        assert results.histogram("ttft_ms", journey="draft").count == sum(
            row.step == "first draft" for row in rows
        )
    assert {row.journey for row in rows} == {"draft"}
    assert {row.step for row in rows} == {"first draft", "read again"}
    assert {row.reason for row in rows} == {None}


def test_streams_of_an_own_journey(tmp_path: Path) -> None:
    with trip(tmp_path, tokens=6, gap_s=0.005) as one:
        own = CustomJourney(one.traveller, "mine")
        draft = own.stream("draft", own.target.run("success"))
        again = own.retry("again", draft)
        assert again.sequence == draft.sequence
        own.stream("left", own.target.run("long"), cut=Cut(2))
        own.stream("slowly", own.target.run("long"), pace=Pace(0.001))
        own.stream("keyless", own.target.post({"a": 1}, key="k"), wants=["error", "done"])
        with own.together() as streams:
            request = own.target.run("success")
            for number in (1, 2):
                streams.start(own.step(f"reader {number}", request), request)
        rows = one.collector.take().rows
    assert [(row.journey, row.step, row.outcome, row.reason) for row in rows] == [
        ("mine", "draft", "done", None),
        ("mine", "again", "done", None),
        ("mine", "left", "abandoned", None),
        ("mine", "slowly", "done", None),
        ("mine", "keyless", "done", None),
        ("mine", "reader 1", "done", None),
        ("mine", "reader 2", "done", None),
    ]
    # The run's metrics come from the first stream under its key, and not from one that we read slowly.
    timed = [row.step for row in rows if row.ttft_ms is not None]
    assert timed == ["draft", "left", "keyless", "reader 1"]


def test_a_retry_is_held_to_its_original(tmp_path: Path) -> None:
    class Forgetful(Connection):
        def play(self, sock: object, run: Run, fault: str, last_event_id: str | None) -> None:
            if self.server.books.counts["requests"] == 2:
                run = Run(run.body, [run.events[0], *run.events[2:]], run.started, run.gap_s)
            super().play(sock, run, fault, last_event_id)  # type: ignore[arg-type]

    with trip(tmp_path) as one:
        assert one.server is not None
        one.server.RequestHandlerClass = Forgetful
        own = CustomJourney(one.traveller, "mine")
        own.retry("again", own.stream("draft", own.target.run("success")))
        delta = one.collector.take()
    assert delta.violations == {("resume.replay", "mine"): 1}
    assert [row.reason is None for row in delta.rows] == [True, False]


def test_a_judge_of_ones_own(tmp_path: Path) -> None:
    def too_short(run: Exchange) -> list[Finding]:
        return [Finding("events.schema", Verdict.FAIL, f"only {run.text!r}")]

    with trip(tmp_path) as one:
        own = CustomJourney(one.traveller, "mine")
        own.stream("run", own.target.run("success"), judge=too_short)
        own.stream("unwanted", own.target.run("success"), wants=["error"])
        rows = one.collector.take().rows
    assert [row.reason for row in rows] == [
        "events.schema: only 't0 t1 t2 t3 '",
        "ended with done, error was expected",
    ]


def test_after_the_end_nothing_is_sent(tmp_path: Path) -> None:
    with trip(tmp_path) as one:
        one.collector.close()
        own = CustomJourney(one.traveller, "mine")
        with pytest.raises(CollectorClosedError):
            own.stream("run", own.target.run("success"))
