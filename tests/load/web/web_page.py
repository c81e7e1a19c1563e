"""Serves Locust's page with real processes, in each process layout."""

from __future__ import annotations

import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import tomlkit

from harness.load.locust.command import load_environment, locustfile
from harness.results.reader import Results
from tests.benchmarks.target import ROOT
from tests.forked_process import Started, start
from tests.load.locust_process import Page, is_group_alive, wait_for
from tests.load.run_server import config
from tests.ports import free_port

Mode = Literal["local", "processes", "master and worker"]
MODES: tuple[Mode, ...] = ("local", "processes", "master and worker")
WORKERS = {"local": 0, "processes": 2, "master and worker": 1}


class Served(Page):
    """A served page. out: the results directory, or None."""

    def __init__(self, port: int, out: Path | None, where: Path) -> None:
        super().__init__(port)
        self.out = out
        self.processes: list[int] = []
        self.where = where
        self.code: int | None = None

    def live(self) -> dict[str, Any]:
        document: dict[str, Any] = self.get("/harness/live.json")
        return document

    def wait_for_state(self, state: str) -> dict[str, Any]:
        wait_for(lambda: self.live()["state"] == state, 90)
        return self.live()

    def report(self, path: str) -> str:
        """The HTML report, made by a subprocess, which may be slow on a busy machine."""
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=100) as answer:  # our own loopback
                text: str = answer.read().decode()
        except urllib.error.HTTPError as refused:
            raise AssertionError(f"{refused.code}: {refused.read().decode()}") from refused
        return text

    def results(self, name: str = "results.sqlite") -> Results:
        assert self.out is not None
        return Results(self.out / name)

    @property
    def printed(self) -> str:
        return (self.where / "printed").read_text()


@contextmanager
def served(
    where: Path,
    base_url: str | None,
    mode: Mode,
    *,
    keep: bool = True,
    budgets: dict[str, float] | None = None,
    file: Path | None = None,
    more: Sequence[str] = (),
    **load: Any,
) -> Iterator[Served]:
    """Locust with its page, ended by Ctrl-C when the block is left. load: load settings.

    keep: whether to pass a results directory. file: the locustfile, by default the shipped one. more: options.
    """
    settings_file = where / "harness.toml"
    document = config(base_url, **load)
    document["budgets"] |= budgets or {}
    document |= {"objectives": {"ttft_p95_ms": 900, "violations": 0}}
    settings_file.write_text(tomlkit.dumps(document))
    page = Served(free_port(), where / "out" if keep else None, where)
    options = ["-f", str(file or locustfile()), *more, "--stop-timeout", "5"]
    options += ["--web-host", "127.0.0.1", "--web-port", page.url.rpartition(":")[2]]
    port = str(free_port())
    bind = ["--master-bind-host", "127.0.0.1", "--master-bind-port", port]
    connect = ["--master-host", "127.0.0.1", "--master-port", port]
    if mode == "processes":
        options += ["--processes", "2", *bind, *connect]
    elif mode == "master and worker":
        options += ["--master", *bind]
    if page.out is not None:
        options += ["--harness-out", str(page.out)]
    with ExitStack() as stack:
        main = stack.enter_context(_process(where, "printed", settings_file, options))
        page.processes.append(main.pid)
        if mode == "master and worker":
            stack.enter_context(
                _process(where, "worker", settings_file, [*options[:2], "--worker", *connect])
            )
        wait_for(page.is_up)
        wait_for(lambda: page.workers() == ["ready"] * WORKERS[mode])
        yield page
        os.kill(main.pid, signal.SIGINT)
        page.code = main.wait(timeout=100)


@contextmanager
def _process(where: Path, log: str, settings_file: Path, options: list[str]) -> Iterator[Started]:
    with (where / log).open("wb") as printed:
        process = start(
            [sys.executable, "-m", "locust", *options],
            environment={**load_environment(settings_file), "PYTHONPATH": str(ROOT)},
            folder=where,
            output=printed.fileno(),
            new_session=True,
        )
        try:
            yield process
            wait_for(lambda: process.poll() is not None and not is_group_alive(process.pid))
        finally:
            if is_group_alive(process.pid):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def harness_load_web(where: Path, base_url: str, port: int, *more: str) -> Iterator[str]:
    """``harness load --web``, ended by Ctrl-C. Gives its URL; its output is in the file `printed`."""
    (where / "harness.toml").write_text(tomlkit.dumps(config(base_url, users=3, journeys={"fresh": 1})))
    command = [sys.executable, "-m", "harness", "load", "--config", str(where / "harness.toml"), "--web"]
    with (where / "printed").open("wb") as printed:
        process = start(
            [*command, "--web-port", str(port), "--out", str(where / "out"), *more],
            environment=os.environ,
            folder=where,
            output=printed.fileno(),
        )
        try:
            wait_for(lambda: "charts: " in (where / "printed").read_text() or process.poll() is not None)
            yield f"http://127.0.0.1:{port}"
            process.send_signal(signal.SIGINT)
            process.wait(timeout=100)
        finally:
            process.kill()
            process.wait()
