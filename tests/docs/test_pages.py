"""The pages for people: their commands run as they stand, their links lead somewhere, their options exist."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest

from harness.cli import main
from harness.settings import ENV_PREFIX

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
TUTORIAL = ROOT / "docs" / "tutorial.md"

_BLOCK = re.compile(r"^```sh( fails)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#\s]+)(#[^)]*)?\)")
_COMMAND = re.compile(r"^(?:    |- run: |  - )?(harness [a-z].*)$", re.MULTILINE)
_SERVE = "harness serve --port 8080"


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target, _ in _LINK.findall(read(page)):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), target


def commands(page: Path) -> Iterator[list[str]]:
    for line in _COMMAND.findall(read(page)):
        plain = re.split(r"\s{3,}|\s+\(", line)[0]  # what stands behind is a remark
        yield shlex.split(plain.replace("…", "x"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_verbs_and_options_exist(page: Path) -> None:
    for _, verb, *rest in commands(page):
        command = main.commands.get(verb)
        assert command is not None, verb
        known = {name for one in command.params if isinstance(one, click.Option) for name in one.opts}
        if verb == "conformance":  # further options go to pytest
            known |= {"-k", "-x", "-n", "-m", "--harness-max-concurrency", "--harness-read-only"}
        for word in rest:
            if word.startswith("-") and word != "-":
                assert word.partition("=")[0] in {*known, "--help", "-h"}, f"{verb} {word}"


@contextmanager
def serving(command: str, folder: Path, port: int) -> Iterator[None]:
    words = shlex.split(command.replace("8080", str(port)))
    with subprocess.Popen(
        [sys.executable, "-m", *words, "--stop-with-stdin"],
        cwd=folder,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as server:
        try:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert server.poll() is None, "the server ended"
                time.sleep(0.1)
            yield
        finally:
            assert server.stdin is not None
            server.stdin.close()
            server.wait(timeout=30)


def environment() -> dict[str, str]:
    import os

    plain = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
    return {**plain, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(block: str, folder: Path) -> int:
    """The lines of one block as a shell would, with this interpreter's harness; returns the last exit code.

    A gate that this machine, busy with other tests, made inconclusive is taken for one that held.
    """
    code = 0
    for line in block.strip().splitlines():
        words = [part.replace("8080", "0") for part in shlex.split(line)]
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        code = done.returncode
        if (
            code == 1
            and "inconclusive" in done.stdout
            and "saturated" in done.stdout
            and "missed" not in done.stdout
        ):
            code = 0
        print(f"$ {line}\n{done.stdout}{done.stderr}-> {code}")
    return code


@pytest.mark.slow
def test_the_tutorial_runs_as_it_stands(tmp_path: Path) -> None:
    blocks = [(bool(fails), text.strip()) for fails, text in _BLOCK.findall(read(TUTORIAL))]
    serves = [text for _, text in blocks if text.startswith(_SERVE)]
    correct, faulty = serves
    assert "--fault" in faulty
    assert "--fault" not in correct
    port = free_port()
    place = [text for _, text in blocks].index(faulty)
    with serving(correct, tmp_path, port):
        (fails, check) = blocks[1]
        assert run(check, tmp_path) == 0
    with serving(faulty, tmp_path, port):
        assert run(blocks[place + 1][1], tmp_path) == 1
    with serving(correct, tmp_path, port):
        for fails, text in blocks[place + 2 :]:
            assert run(text, tmp_path) == int(fails), text
    for made in ("first/report.html", "first/results.sqlite", "first/summary.json", "compare.html"):
        assert (tmp_path / made).stat().st_size > 1000, made
