"""Servers that a command of the user starts."""

from __future__ import annotations

import shlex
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from harness.commands import server_command
from harness.commands.server_command import ServerCommand
from harness.errors import SettingsError
from tests.ports import free_port

#: Listens on a port, starts a child that would outlive it, and says who both are.
LISTENS = """
import socket, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("child", child.pid, flush=True)
while True:
    server.accept()[0].close()
"""


def command(code: str, *arguments: object) -> str:
    return shlex.join([sys.executable, "-c", code, *map(str, arguments)])


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_it_is_started_and_stopped_with_what_it_started(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "server.log"
    with ServerCommand("--command-a", command(LISTENS, port), f"http://127.0.0.1:{port}", log) as server:
        assert listens(port)
        assert server.end == ""
        deadline = time.monotonic() + 20
        while "child" not in log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        child = int(log.read_text().split()[1])
        assert is_running(child)
    assert not listens(port)
    deadline = time.monotonic() + 20
    while is_running(child):
        assert time.monotonic() < deadline, "what the command started was left running"
        time.sleep(0.02)


def test_a_server_that_ends_during_the_test_is_named(tmp_path: Path) -> None:
    port = free_port()
    code = LISTENS.replace("while True:", "for _ in range(1):").replace("time.sleep(60)", "0")
    with ServerCommand(
        "--command-b", command(code, port), f"http://127.0.0.1:{port}", tmp_path / "log"
    ) as server:
        deadline = time.monotonic() + 20
        while not server.end:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert server.end.startswith("the server of --command-b ended with code 0 during the test (log: ")


def test_it_ends_with_this_process(tmp_path: Path) -> None:
    port = free_port()
    with ServerCommand(
        "--command-a", command(LISTENS, port), f"http://127.0.0.1:{port}", tmp_path / "log"
    ) as server:
        assert server._guard is not None
        assert server._guard.stdin is not None
        server._guard.stdin.close()  # as when this process is killed
        deadline = time.monotonic() + 30
        while not server.end:
            assert time.monotonic() < deadline, "the server outlives this process"
            time.sleep(0.02)
        assert "was killed by signal" in server.end


def test_the_log_of_a_server_that_prints_without_end_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_command, "LOG_BYTES", 100_000)
    monkeypatch.setattr(server_command, "_CHECK_LOG_EVERY_S", 0.01)
    port, log = free_port(), tmp_path / "log"
    prints = "import sys\nfor _ in range(300): sys.stdout.write('x' * 1000)\nsys.stdout.flush()" + LISTENS
    with ServerCommand("--command-a", command(prints, port), f"http://127.0.0.1:{port}", log):
        deadline = time.monotonic() + 20
        while not (text := log.read_text()).startswith("harness: the log was too long"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert len(text) < 100_000


def test_a_server_that_does_not_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_command, "_STOP_TIMEOUT_S", 0.1)
    port = free_port()
    ignores = "import os, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('me', os.getpid(), flush=True)"
    code = ignores + LISTENS
    log = tmp_path / "log"
    with ServerCommand("--command-a", command(code, port), f"http://127.0.0.1:{port}", log):
        pid = int(log.read_text().split()[1])
    assert not is_running(pid)
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "is empty"),
        ("python 'x", "is not a command line: No closing quotation"),
        ("/nowhere/server", "cannot run '/nowhere/server': No such file or directory"),
        (command("import sys; sys.exit(3)"), "the server ended with code 3 before it listened at http://"),
        ("sh -c 'kill -9 $$'", "the server was killed by signal 9 before it listened at http://"),
    ],
)
def test_a_command_that_starts_no_server(tmp_path: Path, line: str, words: str) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with (
        pytest.raises(SettingsError, match="--command-a") as caught,
        ServerCommand("--command-a", line, url, tmp_path / "log"),
    ):
        pass
    assert words in str(caught.value)


def test_a_server_that_never_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_command, "START_TIMEOUT_S", 0.2)
    url = f"http://127.0.0.1:{free_port()}"
    line = command("import os, time; print(os.getpid(), flush=True); time.sleep(60)")
    with (
        pytest.raises(SettingsError, match=r"did not listen at http://\S+ within 0.2 s; see "),
        ServerCommand("--command-a", line, url, tmp_path / "log"),
    ):
        pass
    text = (tmp_path / "log").read_text()
    assert not text or not is_running(int(text))


def test_a_port_that_is_in_use_would_test_a_different_server(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        url = f"http://127.0.0.1:{other.getsockname()[1]}"
        with (
            pytest.raises(SettingsError, match=r"a server listens at http://\S+ already"),
            ServerCommand("--command-b", command("1"), url, tmp_path / "log"),
        ):
            pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:99999", "http://h..h", "http://[::1", f"http://{'h' * 70}", "http://\u202eh"]
)
def test_an_address_that_names_no_server_is_one_sentence(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError, match=r"is not a URL of the form http\[s\]://host"):
        ServerCommand("--command-b", "true", url, tmp_path / "log")


def test_a_command_that_no_process_can_get_is_one_sentence(tmp_path: Path) -> None:
    server = ServerCommand("--command-b", "a\0b", f"http://127.0.0.1:{free_port()}", tmp_path / "log")
    with pytest.raises(SettingsError, match="--command-b: cannot run"):
        server.__enter__()
