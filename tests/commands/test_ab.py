"""`harness ab`: the course of an interleaved comparison, with blocks whose results are known, and one real one."""

from __future__ import annotations

import json
import os
import shlex
import signal
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from harness.cli import main
from harness.commands import ab as ab_module
from harness.commands.ab import paired_effects
from harness.commands.ab_blocks import SIDES, BlockRunner
from harness.config.settings import GateSettings
from harness.exit_codes import ABORTED, NOT_TESTED
from harness.gate.equivalence import Effects
from harness.gate.paired import PAIRED_EFFECTS
from harness.results.histogram import Histogram
from harness.results.reader import Results
from harness.results.records import CheckRecord
from harness.results.writer import ResultsWriter
from tests.forked_process import command_file
from tests.integration.commands import demo_settings, harness
from tests.ports import free_port

BLOCK_S = 0.05
TARGET, BASELINE = "http://127.0.0.1:1", "http://127.0.0.1:2"


class Servers:
    """Two servers as the fake blocks and suites see them. slowdown: of the target. violating: sides, under load."""

    def __init__(self) -> None:
        self.slowdown = 0.0
        self.sd = 0.02
        self.tail_sd = 0.0
        self.interrupts_at = 0  # the number of the block
        self.checks: tuple[dict[str, str], dict[str, str]] = ({"ids.unique": "pass"}, {"ids.unique": "pass"})
        self.violating: tuple[int, ...] = ()
        self.code = 0
        self.problem = ""
        self.now_s = 0.0
        self.order: list[str] = []
        self.loads: list[Any] = []

    def block(self, runner: Any, side: int, number: int, folder: Path) -> tuple[Path, int, str]:
        """As BlockRunner._run_block."""
        self.order.append(SIDES[side])
        self.now_s += BLOCK_S
        if len(self.order) == self.interrupts_at:
            runner._children.interrupted = True
        self.loads.append(
            (runner._settings[side].load.reseeded(number), runner._settings[side].target.base_url)
        )
        rng = np.random.default_rng([number, side])
        level = np.exp(rng.normal(0, self.sd)) * (1 + (self.slowdown if side == 0 else 0))
        path = folder / "results.sqlite"
        with ResultsWriter(path) as writer:
            writer.set_manifest(
                load_state="finished", target={"base_url": (TARGET, BASELINE)[side], "path": "/x"}
            )
            for metric, middle_ms in (("ttft_ms", 200.0), ("duration_ms", 900.0)):
                histogram = Histogram()
                histogram.record_many(rng.normal(middle_ms * level, 5, 90))
                histogram.record_many(middle_ms * level * np.exp(rng.normal(1, self.tail_sd)) + np.zeros(10))
                writer.add_histogram(metric, "fresh", 5, "w", histogram)
            for counter in ("judged", "runs", "good"):
                writer.add_rate_counts("w", 5, "fresh", counter, 100)
            writer.add_ledger("w", 5, "fresh", "scheduled", 100)
            writer.add_ledger("w", 5, "fresh", "done", 100)
            if side in self.violating:
                writer.count_violation("terminal.last", "fresh", "w", 2)
        return path, self.code, self.problem

    def suite(self, comparison: Any, side: int) -> None:
        """As _Comparison._run_suite."""
        path = comparison._folder / SIDES[side] / "results.sqlite"
        with ResultsWriter(path) as writer:
            writer.set_manifest(
                suite_state="finished", target={"base_url": (TARGET, BASELINE)[side], "path": "/x"}
            )
            for name, verdict in self.checks[side].items():
                writer.add_checks(
                    [CheckRecord(id=name, level="MUST", verdict=verdict, detail="why", duration_s=0.1)]
                )
        comparison._suites.append(path)
        comparison._suite_codes.append(0)


@pytest.fixture
def servers(servers_and_charts: Servers, monkeypatch: pytest.MonkeyPatch) -> Servers:
    """Without the charts of the page, which take most of the time of a test."""
    for name in ("_pair_charts", "_curves"):
        monkeypatch.setattr(f"harness.reports.paired_page.{name}", lambda _: ())
    return servers_and_charts


@pytest.fixture
def servers_and_charts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Servers:
    servers = Servers()
    monkeypatch.setattr("harness.commands.ab_blocks.time", SimpleNamespace(monotonic=lambda: servers.now_s))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ab_module, "ensure_testable", lambda _: None)

    def run_block(runner: Any, side: int, number: int, folder: Path) -> tuple[Path, int, str]:
        return servers.block(runner, side, number, folder)

    def run_suite(comparison: Any, side: int) -> None:
        servers.suite(comparison, side)

    monkeypatch.setattr(BlockRunner, "_run_block", run_block)
    monkeypatch.setattr(ab_module._Comparison, "_run_suite", run_suite)
    return servers


def run(*options: str, expected: int) -> tuple[str, dict[str, Any]]:
    """Run harness ab. Returns what it printed and its record."""
    arguments = ["ab", "--target", TARGET, "--against", BASELINE, "--out", "out", *options]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == expected, done.output
    record = Path("out/ab.json")
    return done.output, json.loads(record.read_text()) if record.exists() else {}


def verdicts(record: dict[str, Any]) -> dict[str, str]:
    return {row["key"]: row["verdict"] for row in record["gate"]["comparisons"]}


def test_equal_servers_pass_once_everything_is_decided(servers_and_charts: Servers) -> None:
    output, record = run("--junit", "junit.xml", expected=0)
    assert set(verdicts(record).values()) == {"same"}
    assert (record["verdict"], record["ended_by"], record["exit_code"]) == ("passed", "decided", 0)
    assert "No difference." in output
    assert record["pairs"] < 30
    root = ET.parse("junit.xml").getroot()
    assert (root.get("failures"), root.get("errors")) == ("0", "0")
    page = Path("out/ab.html").read_text()
    assert "No difference" in page
    assert "change by pair" in page
    assert TARGET in page


def test_a_slower_target_fails_as_soon_as_that_is_sure(servers: Servers) -> None:
    servers.slowdown = 0.10
    output, record = run("--junit", "junit.xml", expected=1)
    assert verdicts(record)["ttft_p50_ms"] == "worse"
    assert record["pairs"] <= 10
    assert "Worse: " in output
    assert int(ET.parse("junit.xml").getroot().get("failures", "0")) >= 1
    reasons = {reason["name"] for reason in record["reasons"]}
    assert reasons == {name for name, verdict in verdicts(record).items() if verdict == "worse"}


def test_a_faster_target_passes(servers: Servers) -> None:
    servers.slowdown = -0.10
    _, record = run(expected=0)
    assert verdicts(record)["ttft_p50_ms"] == "better"
    assert record["verdict"] == "passed"


def test_the_order_is_abba_and_both_blocks_of_a_pair_have_the_same_load(servers: Servers) -> None:
    run("--seed", "7", "--rate", "20", expected=0)
    target, baseline = SIDES
    assert servers.order[:8] == [target, baseline, baseline, target] * 2
    for first, second in zip(servers.loads[::2], servers.loads[1::2], strict=True):
        assert first[0] == second[0]
        assert {first[1], second[1]} == {TARGET, BASELINE}
    assert [load.seed for load, _ in servers.loads[::2]][:3] == [7, 8, 9]
    assert servers.loads[0][0].rate == 20
    assert servers.loads[0][0].duration == 11  # a warm-up of 1 s


def test_a_test_that_is_out_of_time_is_inconclusive_and_says_how_much_longer(servers: Servers) -> None:
    servers.sd = 0.10
    output, record = run("--max-duration", "0.001s", "--junit", "junit.xml", expected=1)
    assert (record["ended_by"], record["verdict"], record["pairs"]) == ("time", "inconclusive", 2)
    assert set(verdicts(record).values()) == {"inconclusive"}
    assert record["longer_s"] > 0
    assert "more would decide what is inconclusive" in output
    assert int(ET.parse("junit.xml").getroot().get("errors", "0")) >= 1


@pytest.mark.parametrize(("inconclusive", "code"), [("pass", 0), ("fail", 1)])
def test_a_p95_that_would_take_hours_is_not_waited_for(
    servers: Servers, inconclusive: str, code: int
) -> None:
    Path("harness.toml").write_text(f'[gate]\ninconclusive = "{inconclusive}"\n')
    servers.tail_sd = 1.0
    output, record = run("--max-duration", "3s", "--junit", "junit.xml", expected=code)
    found = verdicts(record)
    assert (found["ttft_p50_ms"], found["ttft_p95_ms"]) == ("same", "inconclusive")
    assert record["verdict"] == ("passed" if code == 0 else "inconclusive")
    assert "more would decide what is inconclusive" in output
    assert (ET.parse("junit.xml").getroot().get("errors") == "0") is (code == 0)


def test_a_requirement_that_only_the_target_violates_fails(servers: Servers) -> None:
    servers.checks = (
        {"ids.unique": "fail", "terminal.last": "pass"},
        {"ids.unique": "pass", "terminal.last": "fail"},
    )
    output, record = run("--junit", "junit.xml", expected=1)
    assert [reason["name"] for reason in record["reasons"]] == ["ids.unique"]
    assert output.index("Conformance changes") < output.index("metric")
    assert "Worse: 1 requirement broke (ids.unique)." in output
    assert "ids.unique" in Path("out/ab.html").read_text()


def test_a_requirement_that_both_violate_is_no_change(servers: Servers) -> None:
    servers.checks = ({"ids.unique": "fail"}, {"ids.unique": "fail"})
    _, record = run("--junit", "junit.xml", expected=0)
    assert record["reasons"] == []
    assert "the baseline does not meet it either" in Path("junit.xml").read_text()


@pytest.mark.parametrize(("violating", "code"), [((0,), 1), ((0, 1), 0), ((1,), 0)])
def test_violations_under_load_of_the_target_only(
    servers: Servers, violating: tuple[int, ...], code: int
) -> None:
    servers.violating, servers.sd = violating, 0.03
    _, record = run(expected=code)
    assert record["pairs"] >= ab_module.ONE_SIDED_PAIRS
    names = [reason["name"] for reason in record["reasons"]]
    assert names == (["under load: terminal.last"] if code else [])


def test_without_the_suite(servers: Servers) -> None:
    output, record = run("--no-conformance", expected=0)
    assert not Path("out/target").exists()
    assert record["conformance"]["checks"] == []
    assert "no conformance verdicts to compare" in output


@pytest.mark.parametrize(
    ("code", "problem", "verdict"),
    [
        (NOT_TESTED, "could not run: no server", "nothing tested"),
        (ABORTED, "was aborted: error_rate", "aborted"),
    ],
)
def test_a_block_that_cannot_run_ends_the_test(
    servers: Servers, code: int, problem: str, verdict: str
) -> None:
    servers.code, servers.problem = code, problem
    output, record = run("--junit", "junit.xml", expected=code)
    assert (record["verdict"], record["ended_by"]) == (verdict, "problem")
    assert f"block 001-target {problem}" in output
    assert int(ET.parse("junit.xml").getroot().get("errors", "0")) >= 1


@pytest.mark.parametrize("block", [1, 6])
def test_an_interrupted_test_keeps_what_it_has(servers: Servers, block: int) -> None:
    servers.interrupts_at = block
    output, record = run("--junit", "junit.xml", expected=130)
    assert (record["verdict"], record["ended_by"], record["pairs"]) == (
        "interrupted",
        "interrupted",
        (block - 1) // 2,
    )
    assert "the test was interrupted; its results until then are kept" in output
    assert Path("out/ab.html").is_file()
    assert int(ET.parse("junit.xml").getroot().get("errors", "0")) >= 1


def test_every_artifact_names_what_is_worse(servers: Servers) -> None:
    servers.slowdown = 0.10
    files = (
        "--summary-md",
        "summary.md",
        "--comment-md",
        "comment.md",
        "--ctrf",
        "ctrf.json",
        "--badge",
        "badge.svg",
    )
    run(*files, expected=1)
    for name in ("summary.md", "comment.md", "ctrf.json"):
        assert "ttft_p50_ms" in Path(name).read_text(), name
    assert "failing" in Path("badge.svg").read_text()


def test_nothing_is_overwritten(servers: Servers) -> None:
    run(expected=0)
    output, _ = run(expected=2)
    assert "out has the results of an earlier comparison" in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_before_the_first_block_ends_it_at_once(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    monkeypatch.setattr(ab_module, "ensure_testable", lambda _: os.kill(os.getpid(), number))
    output, record = run(expected=130)
    assert (output, record, servers.order) == ("harness: interrupted\n", {}, [])
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--against", BASELINE], "ab compares two servers: give --target URL, too"),
        (["--target", TARGET, "--against", TARGET], f"both servers are {TARGET}; give two URLs"),
        (["--target", TARGET], "Missing option '--against'"),
    ],
)
def test_two_servers_are_needed(servers: Servers, arguments: list[str], words: str) -> None:
    done = CliRunner().invoke(main, ["ab", *arguments])
    assert done.exit_code == 2
    assert words in done.output


def test_smallest_effects_are_smaller_unless_they_are_set() -> None:
    assert paired_effects(GateSettings()) == PAIRED_EFFECTS
    given = paired_effects(GateSettings(smallest_effect="10%", smallest_effect_ms=20))
    assert given == Effects(0.10, 20, PAIRED_EFFECTS.share, PAIRED_EFFECTS.inter_token_ms)


def test_the_rate_of_the_settings_is_used(servers: Servers) -> None:
    Path("harness.toml").write_text("[load]\nrate = 3\nwarmup = 2\n")
    run(expected=0)
    assert (servers.loads[0][0].rate, servers.loads[0][0].duration) == (3, 12)


@pytest.mark.slow
def test_two_real_servers_that_it_starts_and_stops(tmp_path: Path) -> None:
    """Two pairs decide nothing: the blocks ran, were measured and are on the page, and the servers are gone."""
    ports = free_port(), free_port()
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    demo_settings(tmp_path, urls[0])
    command_file(tmp_path / "serving")
    serve = [shlex.join([str(tmp_path / "serving"), "serve", "--port", str(port)]) for port in ports]
    done = harness(
        *("ab", "--target", urls[0], "--against", urls[1], "--command-a", serve[0], "--command-b", serve[1]),
        *(
            "--no-conformance",
            "--block",
            "2s",
            "--rate",
            "20",
            "--journey",
            "fresh=1",
            "--max-duration",
            "1s",
        ),
        *("--out", "out"),
        folder=tmp_path,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    record = json.loads((tmp_path / "out" / "ab.json").read_text())
    assert (record["pairs"], record["ended_by"]) == (2, "time")
    assert {"ttft_p50_ms", "duration_p50_ms", "error_rate"} <= set(verdicts(record))
    names = sorted(path.name for path in (tmp_path / "out" / "blocks").iterdir())
    assert names == ["001-target", "002-baseline", "003-baseline", "004-target"]
    arrivals: list[list[Any]] = []
    for name in names:
        with Results(tmp_path / "out" / "blocks" / name / "results.sqlite") as results:
            assert results.manifest["load_state"] == "finished"
            assert results.ledger().adds_up
            streams = list(results.streams())
            arrivals.append(
                [(round((one.intended_ns - streams[0].intended_ns) / 1e6), one.journey) for one in streams]
            )
    assert arrivals[0] == arrivals[1]
    assert arrivals[2] == arrivals[3]
    assert "listening on" in (tmp_path / "out" / "target-server.log").read_text()
