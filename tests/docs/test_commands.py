"""The commands of README, tutorial and how-to run. What is too long for a test is shortened here, by name."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.reference.settings import demo_config
from harness.settings import ENV_PREFIX
from tests.docs.pages import ROOT, commands, read

pytestmark = pytest.mark.slow

TUTORIAL = ROOT / "docs" / "tutorial.md"
LISTED = [
    ROOT / "README.md",
    ROOT / "docs" / "how-to.md",
    ROOT / "docs" / "gate.md",
    ROOT / "docs" / "results-schema.md",
]

_BLOCK = re.compile(r"^```sh( fails)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SERVE = "harness serve --port 8080"
_RESULTS = re.compile(r"\b(RESULTS|EARLIER|BEFORE|AFTER)\b|harness-results/latest")
_CHECKED = "checked"  # a folder with results of load and suite
_FIRST = f"harness check --users 2 --duration 2s --out {_CHECKED}"
_FAULTY = "harness serve --fault two-terminals --config-out faulty.toml"
_SEARCH = "harness capacity --objective 'ttft_p95_ms<800' --from 5 --to 10 --step-duration 2s --repeats 2 --warmup 0.1s"
_INIT = "harness init --target https://agent.example.com/agent/workflow-actions"
_LOAD = "harness load --rate 20 --duration 2s"
_BASELINE = (
    "harness check --baseline baselines/main --rerun-inconclusive 1 --users 2 --duration 2s --journey fresh=1"
)

#: As they stand these take minutes, or more load than a machine has that runs other tests.
SHORTER = {
    "harness check": "harness check --users 2 --duration 2s",
    "harness check --users 20 --duration 60s --out harness-results": _FIRST,
    "harness check --users 5 --duration 30s": "harness check --users 5 --duration 2s",
    "harness check --baseline baselines/main --rerun-inconclusive 2": _BASELINE,
    "harness check --target https://agent.example.com --baseline baselines/main --rerun-inconclusive 4": _BASELINE,
    "harness load --rate 5 --duration 2m": "harness load --rate 5 --duration 2s",
    "harness load --rate 50 --duration 2m": _LOAD,
    "harness load --ramp 1:100:60s": "harness load --ramp 1:20:2s",
    "harness load --rate 50 --max-in-flight 200": f"{_LOAD} --max-in-flight 200",
    "harness load --rate 500 --processes 2 --warmup 10s": f"{_LOAD} --processes 2 --warmup 1s",
    "harness load --rate 400 --processes 4": f"{_LOAD} --processes 4",
    "harness load --rate 5 --otlp-endpoint http://localhost:4318": f"{_LOAD} --otlp-endpoint http://localhost:4318",
    'harness capacity --objective "ttft_p95_ms<800"': _SEARCH,
    'harness capacity --objective "ttft_p95_ms < 800" --from 1 --to 200': _SEARCH,
    'harness capacity --objective "ttft_p95_ms < 800" --objective "goodput >= 99%" --from 1 --to 200': _SEARCH,
}
#: These run elsewhere: tests/browser/test_live_page.py, and tests/load/test_own_journeys.py.
ELSEWHERE = {"harness load --web", "harness report results"}


def environment() -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
    return {**plain, "PYTHONPATH": str(ROOT), "COLUMNS": "100", "HARNESS_TARGET__TOKEN": "demo-token"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def serving(command: str, folder: Path, port: int) -> Iterator[None]:
    """What `command` serves, on that port and until the block ends."""
    words = [*shlex.split(command.replace(" --port 8080", "")), "--port", str(port), "--stop-with-stdin"]
    with subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as server:
        try:
            deadline_s = time.monotonic() + 60
            while not _answers(port):
                assert server.poll() is None, "the server ended"
                assert time.monotonic() < deadline_s, "the server never listened"
                time.sleep(0.1)
            yield
        finally:
            assert server.stdin is not None
            server.stdin.close()
            server.wait(timeout=30)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """One line, as a shell would with this interpreter's harness."""
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(line)],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    print(f"$ {line}\n{done.stdout}{done.stderr}-> {done.returncode}")
    return done


def holds(done: subprocess.CompletedProcess[str]) -> bool:
    """Exit code 0; or nothing missed, but a measurement that this machine, busy with other tests, made too poor."""
    return done.returncode == 0 or (
        done.returncode == 1 and "Gate: inconclusive" in done.stdout and "missed" not in done.stdout
    )


def test_the_tutorial_runs_as_it_stands(tmp_path: Path) -> None:
    blocks = [(bool(fails), text.strip()) for fails, text in _BLOCK.findall(read(TUTORIAL))]
    texts = [text for _, text in blocks]
    correct, faulty = [text for text in texts if text.startswith(_SERVE)]
    assert "--fault" in faulty
    assert "--fault" not in correct
    port, place = free_port(), texts.index(faulty)
    with serving(correct, tmp_path, port):
        assert holds(run(texts[1], tmp_path))
    with serving(faulty, tmp_path, port):
        assert run(texts[place + 1], tmp_path).returncode == 1
    with serving(correct, tmp_path, port):
        for fails, text in blocks[place + 2 :]:
            for line in text.splitlines():
                done = run(line, tmp_path)
                assert done.returncode == 1 if fails else holds(done), line
    for made in ("first/report.html", "first/results.sqlite", "first/summary.json", "compare.html"):
        assert (tmp_path / made).stat().st_size > 1000, made


def listed() -> list[str]:
    """What is run of the pages, each once and in their order; the check whose results others read comes first."""
    said = [line for page in LISTED for line in commands(page)]
    lines = [
        SHORTER.get(line, line)
        for line in said
        if line not in ELSEWHERE and not line.startswith("harness init")
    ]
    rest = dict.fromkeys(_RESULTS.sub(_CHECKED, line) for line in lines)
    return list(dict.fromkeys([_FIRST, *rest]))


def test_nothing_is_shortened_that_no_page_has() -> None:
    said = {line for page in LISTED for line in commands(page)}
    assert {*SHORTER, *ELSEWHERE} <= said


def test_the_commands_of_readme_and_how_to_run(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "arrivals.csv").write_text("0\n0.5\n0.7\n")
    with serving(_SERVE, tmp_path, port):
        _write_settings(tmp_path, f"http://127.0.0.1:{port}")
        for line in listed():
            if line in (_FAULTY, "harness conformance --config faulty.toml"):
                continue
            done = run(line, tmp_path)
            assert holds(done) or _may_say_no(line, done), line
    with serving(_FAULTY, tmp_path, free_port()):
        assert run("harness conformance --config faulty.toml", tmp_path).returncode == 1
    for made in (
        "baselines/main",
        "runs.prom",
        "runs.csv",
        "runs.csv.meta.json",
        "runs.jsonl",
        "runs.parquet",
        "known.toml",
    ):
        assert (tmp_path / made).exists(), made


def _may_say_no(line: str, done: subprocess.CompletedProcess[str]) -> bool:
    """A search in seconds may find no limit; two seconds against a baseline never say anything, by exit code 1."""
    return done.returncode == 1 and line.startswith(("harness capacity", "harness check --"))


def _write_settings(folder: Path, url: str) -> None:
    """By `harness init`, in both of the ways in which the pages use it."""
    target = demo_config(url)["target"]
    body = '{"organizationId": "org-1", "sessionId": "s", "workflowAction": %s}'
    action = str(target["actions"]["success"]).replace("'", '"')
    (folder / "working-request.txt").write_text(
        f"curl -X POST {url}{target['path']} -H 'Authorization: Bearer demo-token' "
        f"-H 'Content-Type: application/json' -d '{body % action}'\n"
    )
    by_flags, by_curl = _init_lines()
    said = by_flags.replace("https://agent.example.com", url)
    assert run(f"{said} --out other.toml", folder).returncode == 0
    assert run(by_curl, folder).returncode == 0


def _init_lines() -> tuple[str, str]:
    lines = {line for page in LISTED for line in commands(page) if line.startswith("harness init")}
    (by_flags,) = [line for line in lines if line.startswith(_INIT)]
    (by_curl,) = [line for line in lines if "--from-curl" in line]
    return by_flags, by_curl
