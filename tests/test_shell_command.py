from __future__ import annotations

import time
from pathlib import Path

import pytest

from harness.shell_command import CommandError, run_shell


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
