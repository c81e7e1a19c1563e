from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness import parent_process
from harness.parent_process import PIPE_VARIABLE, OwnParent, ParentPipe

CHILD = """
import sys, time
from harness import parent_process
stop = {"polite": lambda: print("stopping", flush=True), "stubborn": lambda: None}[sys.argv[1]]
parent_process.at_end_of_parent(stop, within_s=0.2, exit_code=9)
print("ready", parent_process.has_pipe(), flush=True)
time.sleep(60)
"""


def child(pipe: ParentPipe | None, kind: str = "polite") -> subprocess.Popen[str]:
    environment = {**os.environ, **({} if pipe is None else pipe.environment())}
    started = subprocess.Popen(
        [sys.executable, "-c", CHILD, kind],
        env=environment,
        pass_fds=() if pipe is None else (pipe.descriptor,),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "ready False\n"  # children of the child do not get it
    return started


@pytest.mark.parametrize("kind", ["polite", "stubborn"])
def test_a_child_is_stopped_and_exits_if_that_does_not_end_it(kind: str) -> None:
    pipe = ParentPipe()
    started = child(pipe, kind)
    pipe.close()
    pipe.close()
    output, _ = started.communicate(timeout=60)
    assert (output, started.returncode) == ("stopping\n" if kind == "polite" else "", 9)


def test_the_end_of_the_parent_is_the_end_of_the_pipe() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "started\n"
        parent.kill()
        assert parent.stdout.read() == "stopping\n"  # to its end: both processes have ended


PARENT = f"""
import os, subprocess, sys, time
from harness.parent_process import ParentPipe
pipe = ParentPipe()
child = subprocess.Popen(
    [sys.executable, "-c", {CHILD.replace("ready", "started").replace(", parent_process.has_pipe()", "")!r}, "polite"],
    env={{**os.environ, **pipe.environment()}}, pass_fds=(pipe.descriptor,),
)
time.sleep(60)
"""


@pytest.mark.parametrize("text", ["", "none", "-1", "99999", "9" * 30, "file"])
def test_a_process_without_the_pipe_watches_nothing(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example one that inherited the variable, but not the descriptor."""
    with (tmp_path / "file").open("w") as file:
        monkeypatch.setenv(PIPE_VARIABLE, str(file.fileno()) if text == "file" else text)
        started: list[object] = []
        parent_process.at_end_of_parent(
            lambda: None, within_s=0, exit_code=9, start_thread=lambda *thread: started.append(thread)
        )
    assert started == []
    assert not parent_process.has_pipe()


def test_a_process_that_is_adopted_has_lost_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    own = OwnParent()
    assert not own.has_ended
    monkeypatch.setattr(os, "getppid", lambda: 1)
    assert own.has_ended
    assert not OwnParent().has_ended  # it never had another


def test_a_process_started_with_nohup_may_lose_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        own = OwnParent()
    finally:
        signal.signal(signal.SIGHUP, before)
    monkeypatch.setattr(os, "getppid", lambda: 1)
    assert not own.has_ended


def test_a_process_exits_when_it_is_adopted(monkeypatch: pytest.MonkeyPatch) -> None:
    parents, exits, slept = [7, 7, 1], [], []
    monkeypatch.setattr(os, "getppid", lambda: parents.pop(0))
    monkeypatch.setattr(os, "_exit", exits.append)
    parent_process.exit_with(
        7, start_thread=lambda work, arguments: work(*arguments), sleep=slept.append, exit_code=3
    )
    assert (exits, slept) == ([3], [0.5, 0.5])
