from __future__ import annotations

import asyncio
import time
import tracemalloc
from collections.abc import Callable, Iterator
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
def test_a_command_that_prints_without_end_fills_neither_disk_nor_memory(run: Callable[..., None]) -> None:
    tracemalloc.start()
    try:
        with pytest.raises((CommandError, Undecided), match="did not end within 1 s"):
            run("while :; do echo 0123456789012345678901234567890123456789; done", 1, str)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("run", [run_shell, _in_suite])
def test_the_last_line_of_much_output(run: Callable[..., None]) -> None:
    """More than a pipe holds: the command would wait for it to be read, without end."""
    with pytest.raises((CommandError, Undecided), match=r"ended with code 7: 'the last line'$"):
        run("head -c 5000000 /dev/zero; echo; echo the last line; exit 7", 60, str)


@pytest.mark.parametrize("run", [run_shell, _in_suite])
@pytest.mark.parametrize("code", [0, 1])
def test_what_prints_in_the_background_continues_and_its_output_goes_nowhere(
    run: Callable[..., None], code: int, tmp_path: Path
) -> None:
    """A server that logs every request: no file grows, and no line waits for a reader or kills it."""
    begin, stop, done = (tmp_path / name for name in ("begin", "stop", "done"))
    loop = (
        f"while [ ! -e {begin} ]; do sleep 0.05; done; while [ ! -e {stop} ]; do "
        f"head -c 3000000 /dev/zero || exit; [ -p /dev/fd/1 ] && : >{done}; done"
    )
    command = f"(echo $$; exec setsid sh -c '{loop}; rm {stop}') & exit {code}"
    if code:
        with pytest.raises((CommandError, Undecided), match=f"ended with code {code}"):
            run(command, 60, str)
    else:
        run(command, 60, str)
    begin.touch()
    _wait(done.exists)
    for _ in range(2):  # it goes on
        done.unlink()
        _wait(done.exists)
    stop.touch()
    _wait(lambda: not stop.exists())


def test_who_reads_the_rest_knows_no_secret_and_ends_with_the_last_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_TARGET__TOKEN", TOKEN)
    stop, pipe = tmp_path / "stop", tmp_path / "pipe"
    run_shell(f"readlink /proc/self/fd/2 >{pipe}; (while [ ! -e {stop} ]; do sleep 0.05; done) & exit 0", 60)
    name = pipe.read_text().strip()
    _wait(lambda: [pid for pid in _processes() if _is_reader(pid, name)])
    (reader,) = [pid for pid in _processes() if _is_reader(pid, name)]
    assert TOKEN.encode() not in (reader / "environ").read_bytes()
    assert _link(reader / "cwd") == "/"
    stop.touch()
    _wait(lambda: not _link(reader / "exe"))


def test_an_output_that_nobody_can_read_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stop = tmp_path / "stop"
    monkeypatch.setattr(shell_command, "_DISCARD", "exit 9")
    with pytest.raises(CommandError, match=r"left a process whose output cannot be read: .* exit status 9"):
        run_shell(f"(while [ ! -e {stop} ]; do sleep 0.05; done; rm {stop}) & exit 0", 60)
    stop.touch()
    _wait(lambda: not stop.exists())


@pytest.mark.parametrize("run", [run_shell, _in_suite])
def test_no_descriptor_is_left_open(run: Callable[..., None]) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        run("sleep 0.2 & exit 0", 60, str)
        run("echo done", 60, str)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def _is_reader(pid: Path, pipe: str) -> bool:
    return _link(pid / "fd/0") == pipe and _link(pid / "exe").endswith("cat")


def _processes() -> Iterator[Path]:
    return (path for path in Path("/proc").iterdir() if path.name.isdigit())


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:  # the process has ended
        return ""


def _wait(until: Callable[[], object]) -> None:
    until_s = time.monotonic() + 30
    while not until():
        assert time.monotonic() < until_s
        time.sleep(0.01)
