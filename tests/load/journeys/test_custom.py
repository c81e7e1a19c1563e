"""The README's locustfile, saved and run like a user would, and the API that it uses."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
import tomlkit

from harness.contract.exchange import Exchange
from harness.contract.finding import Finding, Verdict
from harness.load.journeys.custom import CustomJourney
from harness.load.stats.collector import CollectorClosedError
from harness.reference.settings import demo_config
from harness.results.reader import Results
from harness.transport.receiver import Cut, Pace
from tests.forked import embedded_server
from tests.forked_process import run
from tests.load.journeys.rig import journey_rig
from tests.load.run_server import Connection, Run

README = Path(__file__).parents[3] / "README.md"


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
    command += ["--users", "4", "--spawn-rate", "4", "--run-time", "2s", "--stop-timeout", "10"]
    with embedded_server() as base_url:
        (tmp_path / "harness.toml").write_text(tomlkit.dumps(demo_config(base_url)))
        code, output = run(
            [*command, "--harness-out", str(out)], environment=environment, folder=tmp_path, timeout_s=90
        )
    assert code == 0, output
    assert "Traceback" not in output
    assert "[draft: first draft]" in output
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


def test_streams_of_a_custom_journey(tmp_path: Path) -> None:
    with journey_rig(tmp_path, tokens=6, gap_s=0.005) as rig:
        journey = CustomJourney(rig.runner, "mine")
        draft = journey.stream("draft", journey.target.run("success"))
        again = journey.retry("again", draft)
        assert again.sequence == draft.sequence
        journey.stream("left", journey.target.run("long"), cut=Cut(2))
        journey.stream("slowly", journey.target.run("long"), pace=Pace(0.001))
        journey.stream("keyless", journey.target.post({"a": 1}, key="k"), expects=["error", "done"])
        with journey.group() as streams:
            request = journey.target.run("success")
            for number in (1, 2):
                streams.start(journey.step(f"reader {number}", request), request)
        rows = rig.collector.take().rows
    assert [(row.journey, row.step, row.outcome, row.reason) for row in rows] == [
        ("mine", "draft", "done", None),
        ("mine", "again", "done", None),
        ("mine", "left", "abandoned", None),
        ("mine", "slowly", "done", None),
        ("mine", "keyless", "done", None),
        ("mine", "reader 1", "done", None),
        ("mine", "reader 2", "done", None),
    ]
    # Run metrics come from the first stream with its key, and not from one that is read slowly.
    timed = [row.step for row in rows if row.ttft_ms is not None]
    assert timed == ["draft", "left", "keyless", "reader 1"]


def test_a_retry_is_compared_with_its_original(tmp_path: Path) -> None:
    class Forgetful(Connection):
        def play(self, sock: object, run: Run, fault: str, last_event_id: str | None) -> None:
            if self.server.stats.counts["requests"] == 2:
                run = Run(run.body, [run.events[0], *run.events[2:]], run.started, run.gap_s)
            super().play(sock, run, fault, last_event_id)  # type: ignore[arg-type]

    with journey_rig(tmp_path) as rig:
        assert rig.server is not None
        rig.server.RequestHandlerClass = Forgetful
        journey = CustomJourney(rig.runner, "mine")
        journey.retry("again", journey.stream("draft", journey.target.run("success")))
        batch = rig.collector.take()
    assert batch.violations == {("resume.replay", "mine"): 1}
    assert [row.reason is None for row in batch.rows] == [True, False]


def test_a_check_of_ones_own(tmp_path: Path) -> None:
    def too_short(run: Exchange) -> list[Finding]:
        return [Finding("events.schema", Verdict.FAIL, f"only {run.text!r}")]

    with journey_rig(tmp_path) as rig:
        journey = CustomJourney(rig.runner, "mine")
        journey.stream("run", journey.target.run("success"), check=too_short)
        journey.stream("unwanted", journey.target.run("success"), expects=["error"])
        rows = rig.collector.take().rows
    assert [row.reason for row in rows] == [
        "events.schema: only 't0 t1 t2 t3 '",
        "ended with done, expected error",
    ]


def test_after_the_end_nothing_is_sent(tmp_path: Path) -> None:
    with journey_rig(tmp_path) as rig:
        rig.collector.close()
        journey = CustomJourney(rig.runner, "mine")
        with pytest.raises(CollectorClosedError):
            journey.stream("run", journey.target.run("success"))
