from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from harness.commands import processes as children_module
from harness.commands.processes import ChildProcesses

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
