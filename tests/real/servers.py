"""The servers that others wrote: how each is installed, started on loopback, and asked whether it is ready.

Each has a folder under servers/ with its requirements.txt and its program, and an environment under build/real/.
Their model is scripted (model/script.py), so that no run needs a network or costs money.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.ports import free_port

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build" / "real"
READY_S = 180.0
_STOP_S = 10.0


class RealServerError(Exception):
    """A server cannot be installed or started. The message says why, and where its output is."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process of a server. name: of its log. command: {port} and {helper:NAME} are ports, {python} and {bin} of its
    environment, {source} its folder, {work} a folder for its files.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Server:
    """A server that others wrote. folder: under servers/. package: whose version the report states. helpers: processes
    that it needs, in the order in which they start. programs: commands that the machine must have. needs: a further
    server to install.
    """

    folder: str
    package: str
    main: Process
    helpers: Sequence[Process] = ()
    programs: Sequence[str] = ()
    needs: str | None = None

    @property
    def source(self) -> Path:
        """The folder with its program."""
        return HERE / "servers" / self.folder

    @property
    def build(self) -> Path:
        """The folder with its environment and its files."""
        return BUILD / self.folder

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.build / ".venv" / "bin" / "python"


_AIMOCK = Process("aimock", ("node", "{servers}/aimock/aimock.mjs", "{port}", "{all}/aimock"))
_REDIS = Process(
    "redis", ("redis-server", "--port", "{port}", "--bind", "127.0.0.1", "--save", "", "--dir", "{work}")
)
_APP = ("{python}", "{source}/app.py", "{port}")

SERVERS = {
    server.folder: server
    for server in (
        Server("agno", "agno", Process("agno", (*_APP, "{helper:redis}")), [_REDIS], ["redis-server"]),
        Server("ag-ui", "pydantic-ai-slim", Process("ag-ui", _APP)),
        Server("a2a", "a2a-sdk", Process("a2a", _APP)),
        Server("mcp", "mcp", Process("mcp", _APP)),
        Server(
            "agentserver",
            "azure-ai-agentserver-responses",
            Process("agentserver", _APP, {"AGENTSERVER_STATE_ROOT": "{work}/state"}),
        ),
        Server(
            "langgraph",
            "langgraph-api",
            Process(
                "langgraph",
                (
                    "{bin}/langgraph",
                    "dev",
                    "--host",
                    "127.0.0.1",
                    "--port",
                    "{port}",
                    "--no-browser",
                    "--no-reload",
                    "--n-jobs-per-worker",
                    "40",  # by default one run at a time
                ),
                {"LANGSMITH_TRACING": "false"},
            ),
        ),
        Server(
            "resumable-stream",
            "fastapi-resumable-stream",
            Process("resumable-stream", (*_APP, "{helper:redis}")),
            [_REDIS],
            ["redis-server"],
        ),
        Server(
            "litellm",
            "litellm",
            Process(
                "litellm",
                (
                    "{bin}/litellm",
                    "--config",
                    "{source}/litellm.yaml",
                    "--host",
                    "127.0.0.1",
                    "--port",
                    "{port}",
                ),
                {
                    "MOCK_URL": "http://127.0.0.1:{helper:aimock}/v1",
                    "MOCK_ANTHROPIC_URL": "http://127.0.0.1:{helper:aimock}",
                },
            ),
            [_AIMOCK],
            ["node", "npm"],
            "aimock",
        ),
        Server("aimock", "@copilotkit/aimock", _AIMOCK, programs=["node", "npm"]),
    )
}
"""Every server by the name of its folder."""


def install(server: Server) -> None:
    """Install a server and what it needs, unless that was done. Raises RealServerError."""
    if server.needs is not None:
        install(SERVERS[server.needs])
    if missing := [program for program in server.programs if shutil.which(program) is None]:
        raise RealServerError(
            f"{server.folder} needs {', '.join(missing)}: install it with the system's packages"
        )
    lists = [path for name in ("requirements.txt", "package.json") if (path := server.source / name).exists()]
    done, wanted = server.build / "installed", "".join(path.read_text() for path in lists)
    if done.exists() and done.read_text() == wanted:
        return
    server.build.mkdir(parents=True, exist_ok=True)
    for path in lists:
        shutil.copy(path, server.build)
        if path.name == "package.json":
            _run(server, ["npm", "install", "--silent", "--no-fund", "--no-audit"])
        else:
            uv = str(Path(sys.executable).with_name("uv"))
            _run(server, [uv, "venv", "--quiet", "--clear", "--python", sys.executable, ".venv"])
            _run(server, [uv, "pip", "install", "--quiet", "--python", ".venv/bin/python", "-r", path.name])
    done.write_text(wanted)


def _run(server: Server, command: Sequence[str]) -> None:
    try:
        subprocess.run(command, cwd=server.build, check=True, capture_output=True, text=True, timeout=600)
    except (OSError, subprocess.SubprocessError) as problem:
        output = (getattr(problem, "stderr", "") or str(problem)).strip().splitlines()
        last = output[-1] if output else problem
        raise RealServerError(f"{server.folder} cannot be installed: {last}") from None


def version(server: Server) -> str:
    """The installed version of its package."""
    package = server.build / "node_modules" / server.package / "package.json"
    if package.exists():
        return str(json.loads(package.read_text())["version"])
    code = f"from importlib.metadata import version; print(version({server.package!r}))"
    return subprocess.run(
        [str(server.python), "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


@contextmanager
def running(server: Server) -> Iterator[str]:
    """An installed server while it runs; yields its base URL. Raises RealServerError if it does not start."""
    work = server.build / "work"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(server.source, work)  # some write next to their program
    values = {
        "python": str(server.python),
        "bin": str(server.python.parent),
        "source": str(server.source),
        "servers": str(HERE / "servers"),
        "build": str(server.build),
        "all": str(BUILD),
        "work": str(work),
    }
    with ExitStack() as processes:
        for process in (*server.helpers, server.main):
            port = values["port"] = str(free_port())
            values[f"helper:{process.name}"] = port
            processes.enter_context(_started(process, values))
        yield f"http://127.0.0.1:{port}"


def _fill(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text


@contextmanager
def _started(process: Process, values: Mapping[str, str]) -> Iterator[None]:
    log = Path(values["build"]) / f"{process.name}.log"
    environment = {
        **os.environ,
        "PYTHONPATH": str(HERE / "model"),
        **{name: _fill(value, values) for name, value in process.environment.items()},
    }
    with log.open("wb") as output:
        started = subprocess.Popen(
            [_fill(part, values) for part in process.command],
            cwd=values["work"],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_ready(started, int(values["port"]), log)
        yield
    finally:
        _stop(started)


def _wait_until_ready(started: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + READY_S
    while time.monotonic() < until:
        if started.poll() is not None:
            raise RealServerError(
                f"{log.stem} ended with exit code {started.returncode}; its output is in {log}"
            )
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.2)
    raise RealServerError(f"{log.stem} accepts no connection after {READY_S:.0f} s; its output is in {log}")


def _stop(started: subprocess.Popen[bytes]) -> None:
    """End the process and those that it started, which are in its own session."""
    with suppress(ProcessLookupError):
        os.killpg(started.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        started.wait(_STOP_S)
    with suppress(ProcessLookupError):
        os.killpg(started.pid, signal.SIGKILL)
    started.wait()
