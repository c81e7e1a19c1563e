"""`harness doctor`, and the two other verbs before a first test, as commands."""

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
from tests.setup.acme_server import ORGANIZATION, PATH, TOKEN
from tests.setup.servers import acme


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> list[SetupFinding]:
    """What the machine is found to be."""
    found = [ok("cores", "8"), ok("disk", "[b]10 GB[/b]")]
    monkeypatch.setattr(module, "machine_rows", lambda *_: iter(found))
    return found


def doctor(*options: str) -> Any:
    return CliRunner().invoke(main, ["doctor", *options])


def test_a_machine_that_is_fit(machine: list[SetupFinding]) -> None:
    done = doctor()
    assert done.exit_code == 0, done.output
    assert "[b]10 GB[/b]" in done.output
    assert "nothing stands in the way of a test" in done.output
    assert "No target is named" in done.output


def test_a_warning_is_no_failure_and_a_failure_is(machine: list[SetupFinding]) -> None:
    machine.append(warn("timer", "late", "wait"))
    done = doctor()
    assert done.exit_code == 0
    assert "→ wait" in done.output
    assert "mind timer" in done.output
    machine.append(fail("file limit", "12", "ulimit -n 99"))
    done = doctor()
    assert done.exit_code == 1
    assert "file limit must be put right" in done.output


def test_one_document_for_a_program(machine: list[SetupFinding]) -> None:
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


def test_an_interrupt_is_no_traceback(machine: list[SetupFinding], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "machine_rows", interrupted)
    done = doctor()
    assert (done.exit_code, done.stderr) == (130, "harness: interrupted\n")


def _commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found: list[tuple[tuple[str, ...], click.Command]] = []
    for name, command in group.commands.items():
        found.append(((*path, name), command))
        if isinstance(command, click.Group):
            found += _commands(command, (*path, name))
    return found


@pytest.mark.parametrize("path", [" ".join(path) for path, _ in _commands(main)])
def test_every_help_has_an_example(path: str) -> None:
    done = CliRunner().invoke(main, [*path.split(), "--help"])
    assert done.exit_code == 0, done.output
    example = next((line for line in done.output.splitlines() if "Example:" in line), "")
    assert f"harness {path}" in example, done.output


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
    said = _bash(
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
    assert "-F _harness_completion harness" in said
    assert "verb: doctor\n" in said
    assert "options: --rate --ramp\n" in said
    assert "shells: zsh\n" in said


@pytest.mark.parametrize(
    ("shell", "word"), [("zsh", "#compdef harness"), ("fish", "complete --no-files --command harness")]
)
def test_the_other_shells_have_a_script(shell: str, word: str) -> None:
    done = CliRunner().invoke(main, ["completion", shell])
    assert done.exit_code == 0, done.output
    assert word in done.output


def test_a_shell_that_nobody_knows() -> None:
    assert CliRunner().invoke(main, ["completion", "cmd"]).exit_code == 2
