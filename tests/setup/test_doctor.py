"""`harness doctor`, and the help and completion of every command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

import harness.setup.doctor as module
from harness.cli import main
from harness.config.settings import Settings
from harness.setup.finding import SetupFinding, fail, ok, warn
from tests.cases import all_cases
from tests.setup.acme_server import ORGANIZATION, PATH, TOKEN
from tests.setup.servers import acme


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> list[SetupFinding]:
    """The findings on the machine, in place of the real checks."""
    findings = [ok("cores", "8"), ok("disk", "[b]10 GB[/b]")]
    monkeypatch.setattr(module, "check_machine", lambda *_: iter(findings))
    return findings


def doctor(*options: str) -> Any:
    return CliRunner().invoke(main, ["doctor", *options])


def test_every_check_ok(machine: list[SetupFinding]) -> None:
    done = doctor()
    assert done.exit_code == 0, done.output
    assert "[b]10 GB[/b]" in done.output
    assert "ready for a test." in done.output
    assert "No target configured" in done.output


def test_only_a_failure_sets_the_exit_code(machine: list[SetupFinding]) -> None:
    machine.append(warn("timer", "late", "wait"))
    done = doctor()
    assert done.exit_code == 0
    assert "→ wait" in done.output
    assert "with warnings: timer" in done.output
    machine.append(fail("file limit", "12", "ulimit -n 99"))
    done = doctor()
    assert done.exit_code == 1
    assert "fix before a test: file limit" in done.output


def test_json_output(machine: list[SetupFinding]) -> None:
    machine.append(fail("file limit", "12", "ulimit -n 99"))
    done = doctor("--json")
    assert done.exit_code == 1
    document = json.loads(done.stdout)
    assert document["counts"] == {"ok": 2, "warn": 0, "fail": 1}
    assert document["rows"][2] == {
        "of": "machine",
        "name": "file limit",
        "standing": "fail",
        "found": "12",
        "advice": "ulimit -n 99",
    }


def test_with_a_target(machine: list[SetupFinding]) -> None:
    action = {"toolId": "crawl", "toolName": "C", "aiDescription": "…", "runtimeScope": "x"}
    with acme() as (_, url):
        target = {"base_url": url, "path": PATH, "organization_id": ORGANIZATION, "token": TOKEN}
        Settings.model_validate({"target": {**target, "actions": {"success": action}}}).write_private(
            Path("harness.toml")
        )
        done = doctor("--json")
    assert done.exit_code == 0, done.output
    rows = [row for row in json.loads(done.stdout)["rows"] if row["of"] == "target"]
    assert {row["name"]: row["standing"] for row in rows}["buffering"] == "ok"
    assert TOKEN not in done.output


def test_wrong_settings_are_one_sentence(machine: list[SetupFinding]) -> None:
    Path("harness.toml").write_text("[target]\nbase_ulr = 'x'\n")
    done = doctor()
    assert done.exit_code == 2
    assert "unknown setting 'target.base_ulr'" in done.stderr


def test_an_interrupt_prints_no_traceback(
    machine: list[SetupFinding], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "check_machine", interrupted)
    done = doctor()
    assert (done.exit_code, done.stderr) == (130, "harness: interrupted\n")


def _command_paths(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    context = click.Context(group)
    paths: list[tuple[str, ...]] = []
    for name in group.list_commands(context):  # commands are imported lazily: `group.commands` may be empty
        command = group.get_command(context, name)
        paths.append((*path, name))
        if isinstance(command, click.Group):
            paths += _command_paths(command, (*path, name))
    return paths


@all_cases("path", [" ".join(path) for path in _command_paths(main)])
def test_every_help_has_an_example(path: str) -> None:
    done = CliRunner().invoke(main, [*path.split(), "--help"])
    assert done.exit_code == 0, done.output
    examples = done.output.partition("Example")[2].partition("Options:")[0]
    assert f"harness {path}" in examples, done.output


def _bash(script: str, folder: Path) -> str:
    bin_folder = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}"}
    command = ["bash", "--noprofile", "--norc", "-c", script]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_bash_completes(tmp_path: Path) -> None:
    output = _bash(
        """
        eval "$(harness completion bash)"
        complete -p harness
        complete_words() { COMPREPLY=(); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _harness_completion harness; }
        complete_words harness do; echo "verb: ${COMPREPLY[@]}"
        complete_words harness load --ra; echo "options: ${COMPREPLY[@]}"
        complete_words harness completion z; echo "shells: ${COMPREPLY[@]}"
        """,
        tmp_path,
    )
    assert "-F _harness_completion harness" in output
    assert "verb: doctor\n" in output
    assert "options: --rate --ramp\n" in output
    assert "shells: zsh\n" in output


@pytest.mark.parametrize(
    ("shell", "word"), [("zsh", "#compdef harness"), ("fish", "complete --no-files --command harness")]
)
def test_the_other_shells_have_a_script(shell: str, word: str) -> None:
    done = CliRunner().invoke(main, ["completion", shell])
    assert done.exit_code == 0, done.output
    assert word in done.output


def test_an_unknown_shell() -> None:
    assert CliRunner().invoke(main, ["completion", "cmd"]).exit_code == 2
