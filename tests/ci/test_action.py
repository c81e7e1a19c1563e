"""action.yml is valid metadata, and its scripts work in bash."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import tomlkit
import yaml

from harness.reference.settings import demo_config
from tests.ci.samples import SCHEMAS, cases_of
from tests.ci.simulated import Runner, commands
from tests.forked import embedded_server
from tests.forked_process import command_file
from tests.integration.commands import only

ROOT = Path(__file__).resolve().parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
SCHEMA = jsonschema_rs.validator_for(json.loads((SCHEMAS / "github-action.schema.json").read_text()))
STEPS = {step["name"]: step for step in ACTION["runs"]["steps"]}
_INPUT = re.compile(r"\$\{\{ inputs\.([\w-]+) \}\}")
# What setup-python and a checkout of the action at its tag would bring.
PARTS = ("harness", "conformance", "locustfiles", "reports")
#: pip compiles no bytecode, and the C compiler does not optimize.
QUICK_INSTALLATION = {"PIP_NO_COMPILE": "1", "CFLAGS": "-O0"}
FILES = ("pyproject.toml", "README.md", "LICENSE", "requirements.lock", "action.yml")


def test_it_is_valid() -> None:
    SCHEMA.validate(ACTION)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("runs", "using"), "node99"),
        (("runs", "steps", 1, "shell"), "fish"),
        (("runs", "steps", 1, "uses"), "a/b@v1"),
        (("runs", "steps", 0, "uses"), "actions/setup-python"),
        (("inputs", "target", "default"), 3),
        (("outputs", "verdict", "value"), "passed"),
        (("branding", "color"), "pink"),
        (("description",), "x" * 126),
    ],
)
def test_the_schema_can_refuse(path: tuple[str | int, ...], value: Any) -> None:
    broken = deepcopy(ACTION)
    place = broken
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(jsonschema_rs.ValidationError):
        SCHEMA.validate(broken)


def test_no_input_is_part_of_a_script() -> None:
    for step in STEPS.values():
        assert "${{" not in step.get("run", "")


def test_the_script_uses_exactly_the_declared_inputs() -> None:
    text = json.dumps(ACTION["runs"])
    assert set(re.findall(r"inputs\.([\w-]+)", text)) == set(ACTION["inputs"])


def test_every_output_is_one_of_the_step(tmp_path: Path) -> None:
    named = {re.fullmatch(r"\$\{\{ steps\.(\w+)\.outputs\.([\w-]+) \}\}", one["value"]).groups()
             for one in ACTION["outputs"].values()}  # fmt: skip
    assert named == {("check", name) for name in ACTION["outputs"]}
    assert STEPS["Test the server"]["id"] == "check"


def test_files_of_a_failed_test_are_kept() -> None:
    step = STEPS["Upload the results"]
    assert step["uses"].startswith("actions/upload-artifact@")
    assert "always()" in step["if"]


def test_the_comment_is_posted_after_a_failed_test_and_only_on_request(tmp_path: Path) -> None:
    step = STEPS["Comment on the pull request"]
    assert step["if"] == "${{ always() && inputs.comment == 'true' }}"
    assert ACTION["inputs"]["comment"]["default"] == "false"
    runner = Runner(tmp_path)
    binaries = tmp_path / "temp" / "agent-run-harness" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "harness").write_text('#!/bin/sh\nprintf "%s|" "$@" "$GITHUB_TOKEN"\nexit "$CODE"\n')
    (binaries / "harness").chmod(0o755)
    for code in ("0", "2"):
        variables = {"INPUT_OUT": "kept here", "GITHUB_TOKEN": "t", "CODE": code}
        done = runner.bash(step["run"], variables)
        assert done.returncode == 0
        assert done.stdout.startswith("comment|kept here/comment.md|t|")
        assert ("::warning::" in done.stdout) is (code == "2")


def shorten(lock: Path) -> None:
    """Leave the first pins of a lock file: pip needs seconds to find that all of them are installed already."""
    lines = lock.read_text().splitlines(keepends=True)
    starts = [number for number, line in enumerate(lines) if re.match(r"[a-z0-9-]+==", line)]
    lock.write_text("".join(lines[: starts[3]]))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RUNNER_TEMP after the action's own script has installed it, from a checkout that is not this one.

    The locked dependencies are those of this environment, so that nothing is downloaded; the package is not.
    """
    folder = tmp_path_factory.mktemp("action")
    checkout, dependencies = folder / "checkout", folder / "dependencies"
    checkout.mkdir()
    dependencies.mkdir()
    for name in PARTS:
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, checkout / name)
    shorten(checkout / "requirements.lock")
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith(("agent_run_harness", "__editable__")) and path.suffix != ".pth":
            (dependencies / path.name).symlink_to(path)
    runner = Runner(folder)
    done = runner.bash(
        STEPS["Install the harness"]["run"],
        {"GITHUB_ACTION_PATH": str(checkout), "PYTHONPATH": str(dependencies), **QUICK_INSTALLATION},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = runner.temp.glob("*/lib/*/site-packages/harness/__init__.py")
    assert found.is_file()
    return runner.temp


@pytest.fixture(scope="module")
def forking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RUNNER_TEMP where the command forks, and runs one area of the suite.

    tests/packaging/test_wheel.py runs all of it from an installed package.
    """
    folder = tmp_path_factory.mktemp("forking")
    place = folder / "temp" / "agent-run-harness" / "bin"
    place.mkdir(parents=True)
    command_file(place / "harness", patches=only("terminal"))
    return folder / "temp"


def run_step(
    runner: Runner, installed: Path, inputs: Mapping[str, str], **more: str
) -> subprocess.CompletedProcess[str]:
    """The step that runs the test, with the variables that GitHub sets, and more."""
    step = STEPS["Test the server"]
    values = {name: inputs.get(name, one.get("default", "")) for name, one in ACTION["inputs"].items()}
    assert set(inputs) <= set(values)
    variables = {name: _INPUT.sub(lambda one: values[one[1]], text) for name, text in step["env"].items()}
    variables |= {"RUNNER_TEMP": str(installed), **more}
    return runner.bash(step["run"], variables, runner.workspace / values["working-directory"])


@pytest.mark.slow
def test_what_it_installs_runs(tmp_path: Path, installed: Path) -> None:
    """Up to the first request: tests/packaging/test_wheel.py runs a whole test of an installed package."""
    runner = Runner(tmp_path)
    dependencies = str(installed.parent / "dependencies")
    done = run_step(runner, installed, {"target": "http://127.0.0.1:1"}, PYTHONPATH=dependencies)
    assert done.returncode == 2, done.stdout + done.stderr
    assert runner.outputs == {"verdict": "incomplete", "exit-code": "2"}
    assert "[target.actions.success]" in done.stderr
    assert "Traceback" not in done.stderr
    assert str(ROOT) not in done.stdout + done.stderr


@pytest.mark.slow
def test_it_tests_the_embedded_server(tmp_path: Path, forking: Path) -> None:
    runner = Runner(tmp_path)
    done = run_step(
        runner,
        forking,
        {
            "rate": "5",
            "duration": "2s",
            "args": "--journey fresh=1\n  --keep-streams 5 ",
            "out": "kept here",
        },
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert runner.outputs == {
        "verdict": "passed",
        "exit-code": "0",
        "results": "kept here/results.sqlite",
        "report": "kept here/report.html",
    }
    kept = {path.name for path in (runner.workspace / "kept here").iterdir()}
    assert kept >= {
        *("results.sqlite", "report.html", "junit.xml", "ctrf.json", "comment.md", "badge.svg", "badge.json"),
        "load.log",
    }
    assert ("gate", "ledger") in cases_of((runner.workspace / "kept here" / "junit.xml").read_text())
    assert runner.summary.startswith("### ✅")
    # The next run of the job uses these results as its baseline.
    again = run_step(
        runner,
        forking,
        {
            "rate": "5",
            "duration": "2s",
            "out": "again",
            "baseline": "kept here/results.sqlite",
            "args": "--objective duration_p50_ms<60000",
        },
    )
    assert "duration_p50_ms" in again.stdout
    # Two seconds are too short for a comparison, and an inconclusive comparison does not pass.
    assert (again.returncode, runner.outputs["verdict"]) == (1, "inconclusive")
    assert ("baseline", "duration_p50_ms") in cases_of((runner.workspace / "again" / "junit.xml").read_text())


@pytest.mark.slow
def test_a_faulty_server_makes_the_step_fail(tmp_path: Path, forking: Path) -> None:
    runner = Runner(tmp_path)
    folder = runner.workspace / "service"
    folder.mkdir()
    demo = demo_config(None)["target"]
    del demo["base_url"], demo["token"]  # inputs of the action
    with embedded_server(["two-terminals"]) as base_url:
        (folder / "mine.toml").write_text("[objectives]\nviolations = 0\n" + tomlkit.dumps({"target": demo}))
        done = run_step(
            runner,
            forking,
            {
                "target": base_url,
                "token": "demo-token",
                "config": "mine.toml",
                "users": "3",
                "duration": "2s",
                "working-directory": "service",
            },
        )
    assert done.returncode == 1, done.stdout + done.stderr
    assert (runner.outputs["verdict"], runner.outputs["exit-code"]) == ("failed", "1")
    assert any("terminal.exactly-one" in line for line in commands(done.stdout) if line.startswith("::error"))
    assert any("file=service/mine.toml,line=2" in line for line in commands(done.stdout))


@pytest.mark.slow
@pytest.mark.parametrize(
    "inputs",
    [
        {"duration": "soon"},
        {"args": "--no-such-option"},
        {"target": "$(touch escaped); `touch escaped`; touch escaped"},
        {"args": "$(touch escaped) ; touch escaped"},
    ],
)
def test_an_untestable_target_does_not_pass(tmp_path: Path, forking: Path, inputs: dict[str, str]) -> None:
    runner = Runner(tmp_path)
    done = run_step(runner, forking, inputs)
    assert done.returncode == 2, done.stdout + done.stderr
    assert runner.outputs == {"verdict": "incomplete", "exit-code": "2"}
    assert list(tmp_path.rglob("escaped")) == []
