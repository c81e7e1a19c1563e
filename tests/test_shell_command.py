from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import shell_command
from harness.contract.evidence.redaction import Redactor
from harness.shell_command import CommandError, run_shell
from harness.suite.not_decided import Undecided
from harness.suite.restarting import run_command

TOKEN = "canary-7f3a9c2e"


def test_a_command_runs_in_a_shell(tmp_path: Path) -> None:
    run_shell(f"echo one && echo two > {tmp_path}/file", 60)
    assert (tmp_path / "file").read_text() == "two\n"


def test_a_command_that_fails_is_told_with_its_last_words() -> None:
    with pytest.raises(CommandError, match=r"^ended with code 3: 'no such \\\\x1b\[31mservice'$"):
        run_shell("echo first; printf 'no such \\033[31mservice\\n' >&2; exit 3", 60)
    with pytest.raises(CommandError, match=r"^ended with code 1$"):
        run_shell("false", 60)


def test_a_command_that_does_not_end_is_killed_with_what_it_started(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with pytest.raises(CommandError, match=r"^did not end within 0\.3 s \(budgets\.restart\)$"):
        run_shell(f"sleep 600 & echo $! > {pid_file}; wait", 0.3)
    until_s = time.monotonic() + 30
    while Path(f"/proc/{pid_file.read_text().strip()}/exe").exists():
        assert time.monotonic() < until_s
        time.sleep(0.01)


def test_what_a_command_leaves_in_the_background_does_not_delay_it(tmp_path: Path) -> None:
    """As a script does that starts a server: it keeps the output open."""
    stop = tmp_path / "stop"
    began_s = time.monotonic()
    run_shell(f"(while [ ! -e {stop} ]; do sleep 0.05; done; rm {stop}) & exit 0", 60)
    assert time.monotonic() - began_s < 50
    stop.touch()
    while stop.exists():
        assert time.monotonic() - began_s < 60
        time.sleep(0.01)


def _in_suite(command: str, within_s: float, mask: Callable[[str], str]) -> None:
    asyncio.run(run_command(command, within_s, mask))


@pytest.mark.parametrize("run", [run_shell, _in_suite])
@pytest.mark.parametrize(
    "printed",
    [
        TOKEN,
        f"x {TOKEN.upper()} \x1b[31m \u202e",
        "y" * (200 - 5) + TOKEN,  # cut by what is shown of a line
        f"{TOKEN}{'y' * (16_384 - 5)}",  # cut by what is read of it
        f"{'z' * 9000}{TOKEN}{'y' * (8192 - 5)}",
    ],
)
def test_what_a_command_printed_is_shown_without_secrets(
    run: Callable[..., None], printed: str, tmp_path: Path
) -> None:
    file = tmp_path / "printed"
    file.write_text(printed)
    with pytest.raises((CommandError, Undecided)) as raised:
        run(f"cat {file}; exit 1", 60, Redactor([TOKEN]).sentence)
    said = str(raised.value)
    assert said.isprintable()
    assert "ended with code 1: '" in said
    assert not any(TOKEN[at : at + 4] in said.lower() for at in range(len(TOKEN) - 3))


@pytest.mark.parametrize("run", [run_shell, _in_suite])
def test_a_command_that_prints_without_end_fills_no_disk(
    run: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell_command, "OUTPUT_BYTES", 100_000)
    sizes: list[int] = []
    cut = os.ftruncate

    def truncate(descriptor: int, size: int) -> None:
        sizes.append(os.fstat(descriptor).st_size)
        cut(descriptor, size)

    monkeypatch.setattr(os, "ftruncate", truncate)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises((CommandError, Undecided), match="did not end within 1 s"):
        run("while :; do echo 0123456789012345678901234567890123456789; done", 1, str)
    assert len(sizes) > 1
    # After a cut it begins again, at the beginning: a file that continues behind a hole would only grow.
    assert min(sizes[1:]) < sum(sizes)
