from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.commands import processes as children_module
from harness.commands.processes import ChildProcesses, clean_environment, private_settings

#: Ends by itself at SIGINT, with a code of its own, after it has written what it has.
POLITE = """
import signal, sys, time
def stop(*_):
    print("wrote what there was", flush=True)
    sys.exit(7)
signal.signal(signal.SIGINT, stop)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""
STUBBORN = POLITE.replace("    sys.exit(7)\n", "")


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def wait_for(path: Path, text: str) -> None:
    deadline = time.monotonic() + 20
    while text not in path.read_text():
        assert time.monotonic() < deadline, path.read_text()
        time.sleep(0.02)


def test_a_child_has_its_own_environment_and_session_and_no_input(tmp_path: Path) -> None:
    children = ChildProcesses()
    code = "import os, sys; print(os.environ['X'], repr(sys.stdin.read()), os.getsid(0) == os.getpid())"
    output = tmp_path / "output"
    with output.open("wb") as file:
        child = children.start(python(code), {"X": "é", "PYTHONIOENCODING": "utf-8"}, file)
        assert children.wait(child) == 0
    assert output.read_text(encoding="utf-8") == "é '' True\n"


def test_output_and_errors_go_into_one_file(tmp_path: Path) -> None:
    output = tmp_path / "output"
    children = ChildProcesses()
    with output.open("wb") as file:
        code = "import os, sys; print('out', flush=True); print('err', file=sys.stderr); sys.exit(3)"
        assert children.wait(children.start(python(code), os.environ, file)) == 3
    assert output.read_text() == "out\nerr\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_is_forwarded_once_and_waited_for(tmp_path: Path, number: int) -> None:
    output = tmp_path / "output"
    children = ChildProcesses()
    before = signal.getsignal(number)
    with output.open("wb") as file, children.signals():
        child = children.start(python(POLITE), os.environ, file)
        wait_for(output, "ready")
        signal.raise_signal(number)
        signal.raise_signal(number)
        assert children.interrupted
        assert children.wait(child) == 7
    assert output.read_text() == "ready\nwrote what there was\n"
    assert signal.getsignal(number) == before


def test_a_child_started_after_an_interruption_is_interrupted() -> None:
    children = ChildProcesses()
    with children.signals():
        signal.raise_signal(signal.SIGINT)
        code = "import time; time.sleep(60)"
        assert children.wait(children.start(python(code), os.environ)) in {-signal.SIGINT, 1, 130}


HANGING_UP = """
import os, signal, sys
from harness import parent_process
parent_process.at_end_of_parent(lambda: os._exit(6), within_s=9, exit_code=9)
print("ready", flush=True)
signal.pause()
"""


def test_the_end_of_the_terminal_stops_the_children_at_once(tmp_path: Path) -> None:
    output = tmp_path / "output"
    children = ChildProcesses()
    before = signal.getsignal(signal.SIGHUP)
    with output.open("wb") as file, children.signals():
        child = children.start(python(HANGING_UP), os.environ, file)
        wait_for(output, "ready")
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)
        assert children.interrupted
        assert children.wait(child) == 6
    assert signal.getsignal(signal.SIGHUP) == before


def test_a_command_started_with_nohup_outlives_the_terminal() -> None:
    children = ChildProcesses()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with children.signals():
            signal.raise_signal(signal.SIGHUP)
            assert not children.interrupted
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


ON_A_TERMINAL = """
import os, signal, sys
from harness.commands.processes import ChildProcesses
children = ChildProcesses()
with children.signals():
    print("ready", flush=True)
    while not children.interrupted:
        signal.pause()
    print("to a terminal that is gone", flush=True)
    os.write(int(sys.argv[1]), b"completed the results")
"""


def test_what_is_printed_after_the_terminal_has_gone_does_not_fail(tmp_path: Path) -> None:
    master, terminal = os.openpty()
    read_end, write_end = os.pipe()
    child = subprocess.Popen(
        [*python(ON_A_TERMINAL), str(write_end)],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        pass_fds=(write_end,),
        start_new_session=True,
    )
    os.close(terminal)
    os.close(write_end)
    assert b"ready" in os.read(master, 100)
    os.close(master)
    child.send_signal(signal.SIGHUP)
    assert os.read(read_end, 100) == b"completed the results"
    assert child.wait(60) == 0
    os.close(read_end)


def test_the_end_of_the_own_parent_stops_the_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "output"
    children = ChildProcesses()
    with output.open("wb") as file:
        child = children.start(python(HANGING_UP), os.environ, file)
        wait_for(output, "ready")
        monkeypatch.setattr(os, "getppid", lambda: 1)
        assert children.wait(child) == 6
    assert children.interrupted
    assert "harness: the process that started this command has ended" in capsys.readouterr().err


def test_a_child_that_does_not_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children_module, "_STOP_TIMEOUT_S", 0.3)
    output = tmp_path / "output"
    children = ChildProcesses()
    with output.open("wb") as file, children.signals():
        child = children.start(python(STUBBORN), os.environ, file)
        wait_for(output, "ready")
        signal.raise_signal(signal.SIGINT)
        assert children.wait(child) == -signal.SIGKILL


def test_without_an_interruption_there_is_no_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children_module, "_STOP_TIMEOUT_S", 0.2)
    children = ChildProcesses()
    assert children.wait(children.start(python("import time; time.sleep(0.8)"), os.environ)) == 0
    assert not children.interrupted


def test_a_child_that_has_ended_is_not_sent_a_signal(tmp_path: Path) -> None:
    children = ChildProcesses()
    with children.signals():
        ended = children.start(python("pass"), os.environ)
        assert children.wait(ended) == 0
        signal.raise_signal(signal.SIGTERM)
    assert children.interrupted


# Settings with secrets


def test_children_read_the_settings_as_often_as_they_like_and_no_file_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with private_settings('token = "s3cret-token"\n') as path:
        code = f"[print(open({str(path)!r}).read(), end='') for _ in range(2)]"
        read = subprocess.run(
            python(code), capture_output=True, text=True, check=True, start_new_session=True
        )
        assert read.stdout == 'token = "s3cret-token"\n' * 2
        assert path.stat().st_mode & 0o077 == 0
        assert list(tmp_path.iterdir()) == []
    assert not path.exists()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_the_settings_are_gone_however_the_process_ends(tmp_path: Path, number: int) -> None:
    code = (
        "import sys, time; from harness.commands.processes import private_settings\n"
        "with private_settings('s3cret-token') as path: print(path, flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(python(code), env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        path = Path(process.stdout.readline().strip())
        assert path.read_text() == "s3cret-token"
        process.send_signal(number)
    assert not path.exists()
    assert list(tmp_path.iterdir()) == []


def test_without_files_in_memory_only_this_user_can_read_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    with private_settings("s3cret-token") as path:
        assert path.read_text() == "s3cret-token"
        assert path.stat().st_mode & 0o077 == 0
    assert not path.parent.exists()


def test_only_the_first_interruption_is_forwarded() -> None:
    """A second one would end a child that is writing its results."""
    sent: list[int] = []
    children = ChildProcesses()
    child: Any = SimpleNamespace(poll=lambda: None, send_signal=sent.append)
    children._running.append(child)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGINT):
        children._forward(number, None)
    assert (sent, children.interrupted) == ([signal.SIGINT], True)


def test_no_option_of_the_shell_reaches_the_load_or_the_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HARNESS_TARGET__TOKEN", "LOCUST_USERS", "PYTEST_ADDOPTS"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("LANG_OF_USER", "y")
    environment = clean_environment()
    assert [name for name in environment if name.startswith(("HARNESS_", "LOCUST_", "PYTEST_"))] == []
    assert environment["LANG_OF_USER"] == "y"
