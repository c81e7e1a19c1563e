"""A forked command is what a new process would be: output, exit code, environment, folder, session, signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.disk import limited_file_size
from tests.forked_process import ForkedProcess, command_file, run, start

LOCUSTFILE = """
import os, random, sys, time
from gevent import socket
from locust import User, task, events
print(os.getcwd(), os.environ["GIVEN"], os.environ.get("HOME"), os.getsid(0) == os.getpid(), sys.argv[1:])
print(os.read(int(os.environ["PASSED"]), 5).decode(), file=sys.stderr)
assert socket.gethostbyname("localhost")

class Waiting(User):
    @task
    def wait(self):
        print("waiting", flush=True)
        time.sleep(60)
"""


@pytest.mark.parametrize(
    ("arguments", "code"), [(["-m", "locust", "--version"], 0), (["-m", "locust", "-f", "nowhere"], 1)]
)
def test_it_prints_what_a_new_process_prints(tmp_path: Path, arguments: list[str], code: int) -> None:
    command = [sys.executable, *arguments]
    new = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run(command, environment=os.environ, folder=tmp_path) == (code, new.stdout + new.stderr)
    assert new.returncode == code


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 0), (signal.SIGINT, 0)])
def test_its_surroundings_and_its_end(tmp_path: Path, number: signal.Signals, code: int) -> None:
    (tmp_path / "locustfile.py").write_text(LOCUSTFILE)
    ours, theirs = os.pipe()
    os.write(theirs, b"given")
    command = [sys.executable, "-m", "locust", "--headless", "--users", "1", "--host", "http://127.0.0.1:1"]
    with (tmp_path / "printed").open("w+") as printed:
        process = start(
            command,
            environment={"GIVEN": "a value", "PASSED": str(ours), "PATH": ""},
            folder=tmp_path,
            output=printed.fileno(),
            passed=(ours,),
            new_session=True,
        )
        assert isinstance(process, ForkedProcess)
        assert process.poll() is None
        while "waiting" not in (tmp_path / "printed").read_text():
            assert process.poll() is None, (tmp_path / "printed").read_text()
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(60) == process.poll() == code
        printed.seek(0)
        output = printed.read()
    os.close(ours)
    os.close(theirs)
    assert f"{tmp_path} a value None True {command[3:]}" in output
    assert "given" in output


def test_other_commands_are_new_processes(tmp_path: Path) -> None:
    with (tmp_path / "printed").open("w+") as printed:
        command = [sys.executable, "-c", "import sys; sys.exit('locust' in sys.modules)"]
        process = start(command, environment=os.environ, folder=tmp_path, output=printed.fileno())
        assert isinstance(process, subprocess.Popen)
        assert process.wait(60) == 0


def test_a_file_that_is_the_command(tmp_path: Path) -> None:
    """With its input, both outputs, folder and exit code; also the end by a signal."""
    command = tmp_path / "harness"
    command_file(command)
    done = subprocess.run(
        [str(command), "gate", "nowhere"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "nowhere" in done.stderr
    serve = [str(command), "serve", "--port", "0", "--config-out", "here.toml"]
    with subprocess.Popen(serve, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "listening on" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
    assert (tmp_path / "here.toml").is_file()


def test_a_limit_of_file_sizes_is_passed_on(tmp_path: Path) -> None:
    (tmp_path / "grow.py").write_text("open('large', 'w').write('x' * 100_000)")
    with limited_file_size(10_000):
        code, printed = run(
            [sys.executable, "-m", "locust", "-f", "grow.py"], environment=os.environ, folder=tmp_path
        )
    assert code == 1
    assert "File too large" in printed
    assert (tmp_path / "large").stat().st_size <= 10_000
