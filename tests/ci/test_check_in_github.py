"""`harness check` as a step of a GitHub workflow: every output is valid and agrees with the exit code."""

from __future__ import annotations

import json
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import jsonschema_rs
import pytest
import tomlkit

from harness.ci.markdown import LIMIT_BYTES
from harness.contract.requirements import CATALOGUE
from harness.reference.settings import demo_config
from tests.ci.samples import SCHEMAS, cases_of
from tests.ci.simulated import Runner, commands
from tests.ci.test_github import parsed
from tests.ci.test_markdown import rendered, tags
from tests.forked import embedded_server
from tests.integration.commands import demo_settings

pytestmark = pytest.mark.slow

ASKED_FOR = (
    "--junit ci/junit.xml --badge ci/badge.svg --badge ci/badge.json --summary-md ci/summary.md "
    "--ctrf ci/ctrf.json --comment-md ci/comment.md"
)
# No latency: beside other tests the harness may be saturated, and then a latency is inconclusive, rightly.
SETTINGS = "[objectives]\nviolations = 0\nerror_rate = 0.05\n"


def check(
    runner: Runner, base_url: str | None = None, *, area: str | None = None
) -> subprocess.CompletedProcess[str]:
    """A check of the embedded server, or of the one at `base_url`. area: see Runner.harness."""
    tables = "" if base_url is None else tomlkit.dumps({"target": demo_config(base_url)["target"]})
    (runner.workspace / "harness.toml").write_text(SETTINGS + tables)
    # Beside other tests, arrivals are late; the shorter a load, the sooner that makes it inconclusive.
    return runner.harness(f"check --out out --rate 2 --duration 8s {ASKED_FOR}", area=area)


def assert_valid(runner: Runner) -> dict[tuple[str, str], ET.Element]:
    """Validate every file against its schema. Returns the cases of the JUnit document."""
    ci = runner.workspace / "ci"
    badge = json.loads((ci / "badge.json").read_text())
    jsonschema_rs.validate(json.loads((SCHEMAS / "shields-endpoint.schema.json").read_text()), badge)
    ctrf = json.loads((ci / "ctrf.json").read_text())
    jsonschema_rs.validate(json.loads((SCHEMAS / "ctrf.schema.json").read_text()), ctrf)
    root = ET.parse(ci / "badge.svg").getroot()
    assert root.get("aria-label") == f"{badge['label']}: {badge['message']}"
    assert len(runner.summary.encode()) <= LIMIT_BYTES
    head = runner.summary.splitlines()[0]
    assert (ci / "summary.md").read_text().splitlines()[0] == head
    assert (ci / "comment.md").read_text().splitlines()[2] == head
    shown = {"h3", "h4", "p", "table", "thead", "tbody", "tr", "th", "td", "code", "a", "details", "summary"}
    assert tags(rendered(runner.summary)) <= shown
    assert "https://github.com/acme/agent/actions/runs/42#artifacts" in runner.summary
    cases = cases_of((ci / "junit.xml").read_text(encoding="utf-8"))
    red = [name for name, case in cases.items() if {"failure", "error"} & {child.tag for child in case}]
    assert ctrf["results"]["summary"]["failed"] == len(red)
    return cases


@pytest.fixture(scope="module")
def green(tmp_path_factory: pytest.TempPathFactory) -> tuple[Runner, subprocess.CompletedProcess[str]]:
    """A check of the embedded server with one area of the suite; tests/integration/test_check.py runs all of it."""
    runner = Runner(tmp_path_factory.mktemp("green"))
    return runner, check(runner, area="terminal")


def test_green(green: tuple[Runner, subprocess.CompletedProcess[str]]) -> None:
    runner, done = green
    assert done.returncode == 0, done.stdout + done.stderr
    cases = assert_valid(runner)
    assert {name for suite, name in cases if suite == "conformance"} == set(CATALOGUE)
    assert {("gate", "violations"), ("gate", "error_rate"), ("gate", "ledger")} <= set(cases)
    assert {child.tag for case in cases.values() for child in case} == {"system-out", "skipped"}
    printed = [parsed(line) for line in commands(done.stdout)]
    assert [name for name, *_ in printed if name not in ("group", "endgroup", "warning")] == ["notice"]
    assert runner.outputs == {
        "verdict": "passed",
        "exit-code": "0",
        "results": "out/results.sqlite",
        "report": "out/report.html",
    }
    assert (runner.workspace / runner.outputs["results"]).is_file()
    assert (runner.workspace / runner.outputs["report"]).is_file()
    assert runner.summary.startswith("### ✅ Agent runs: passed\n")
    badge = json.loads((runner.workspace / "ci" / "badge.json").read_text())
    assert badge["message"].startswith("passing")


def test_red(tmp_path: Path) -> None:
    runner = Runner(tmp_path)
    with embedded_server(["two-terminals"]) as base_url:
        done = check(runner, base_url, area="terminal")
    assert done.returncode == 1, done.stdout + done.stderr
    cases = assert_valid(runner)
    assert cases["conformance", "terminal.exactly-one"].find("failure") is not None
    assert cases["gate", "violations"].find("failure") is not None
    printed = [parsed(line) for line in commands(done.stdout)]
    titles = {properties["title"]: properties for name, properties, _ in printed if name == "error"}
    assert "terminal.exactly-one: fail" in titles
    assert titles["violations: failed"]["file"] == "harness.toml"
    assert titles["violations: failed"]["line"] == "2"
    assert "notice" not in {name for name, *_ in printed}
    assert (runner.outputs["verdict"], runner.outputs["exit-code"]) == ("failed", "1")
    assert runner.summary.startswith("### ❌ Agent runs: failed\n")
    assert "`terminal.exactly-one`" in runner.summary
    badge = json.loads((runner.workspace / "ci" / "badge.json").read_text())
    assert (badge["message"].split(" ·")[0], badge["color"]) == ("failing", "red")


def test_a_gate_repeats_the_verdict_for_the_same_results(
    tmp_path: Path, green: tuple[Runner, subprocess.CompletedProcess[str]]
) -> None:
    tested, done = green
    assert done.returncode == 0, done.stdout + done.stderr
    runner = Runner(tmp_path)
    shutil.copytree(tested.workspace / "out", runner.workspace / "out")
    (runner.workspace / "strict.toml").write_text("[objectives]\nttft_p50_ms = 0.0001\n")
    done = runner.harness(f"gate out --config strict.toml {ASKED_FOR}")
    assert done.returncode == 1, done.stdout + done.stderr
    cases = assert_valid(runner)
    assert [child.tag for child in cases["gate", "ttft_p50_ms"]] in (["failure"], ["error"])
    (problem,) = [parsed(line) for line in commands(done.stdout) if line.startswith("::error")]
    assert (problem[1]["file"], problem[1]["line"]) == ("strict.toml", "2")
    assert runner.outputs["exit-code"] == "1"


def test_the_suite_alone(tmp_path: Path) -> None:
    runner = Runner(tmp_path)
    with embedded_server(["two-terminals"]) as base_url:
        demo_settings(runner.workspace, base_url)
        done = runner.harness(f"conformance -k terminal {ASKED_FOR}")
    assert done.returncode == 1, done.stdout + done.stderr
    cases = assert_valid(runner)
    assert cases["conformance", "terminal.exactly-one"].find("failure") is not None
    skipped = cases["conformance", "framing.utf8"].find("skipped")
    assert skipped is not None
    assert "not tested" in str(skipped.get("message"))
    assert (runner.outputs["verdict"], runner.outputs["results"]) == ("failed", "")
    assert "::warning" not in "".join(commands(done.stdout))


@pytest.mark.parametrize(
    "command",
    [
        "conformance --quiet -k terminal",
        "check --json --rate 5 --duration 2s",
        "load --json --rate 5 --duration 2s",
    ],
)
def test_annotations_are_written_with_quiet_and_json_too(tmp_path: Path, command: str) -> None:
    runner = Runner(tmp_path)
    with embedded_server(["two-terminals"]) as base_url:
        demo_settings(runner.workspace, base_url)
        done = runner.harness(command, area="terminal")
    assert done.returncode == 1, done.stdout + done.stderr
    assert any("terminal.exactly-one" in one for one in commands(done.stderr) if one.startswith("::error"))
    assert not any(line.startswith("::") for line in done.stdout.splitlines())
    assert runner.outputs["verdict"] == "failed"


def test_an_unreachable_target_is_annotated_as_an_error(tmp_path: Path) -> None:
    runner = Runner(tmp_path)
    done = check(runner, "http://127.0.0.1:1")
    assert done.returncode == 2
    (problem,) = [parsed(line) for line in commands(done.stdout) if line.startswith("::error")]
    assert "cannot be reached" in problem[2]
    assert runner.outputs == {}


def test_artifacts_that_cannot_be_written_are_refused_before_the_test(tmp_path: Path) -> None:
    runner = Runner(tmp_path)
    done = runner.harness("check --badge badge.png")
    assert done.returncode == 2
    assert "neither .svg nor .json" in done.stderr
    assert list(runner.workspace.iterdir()) == []
