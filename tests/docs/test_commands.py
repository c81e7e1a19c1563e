"""The commands of README, tutorial, how-to and other pages run. Long ones are replaced by shorter ones here."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from harness.commands.reference_process import LISTENING
from harness.config.settings import ENV_PREFIX
from harness.reference.settings import demo_config
from tests.docs.pages import ROOT, commands, read
from tests.forked import run_module
from tests.forked_process import start
from tests.integration.commands import only
from tests.ports import free_port

pytestmark = pytest.mark.slow

TUTORIAL = ROOT / "docs" / "tutorial.md"
LISTED = [
    ROOT / "README.md",
    ROOT / "docs" / "how-to.md",
    ROOT / "docs" / "gate.md",
    ROOT / "docs" / "results-schema.md",
]

_SECTION = re.compile(r"^## (\d)\. .*?(?=^## )", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^```sh( fails)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SERVE = "harness serve --port 8080"
_RESULTS = re.compile(r"\b(RESULTS|EARLIER|BEFORE|AFTER)\b|harness-results/latest")
_CHECKED = "checked"  # a folder with results of load and suite
_FIRST = f"harness check --users 6 --duration 4s --out {_CHECKED}"
_CHECK = "harness check --users 5 --duration 2s"
_SEARCH = "harness capacity --objective 'ttft_p95_ms<800' --from 5 --to 10 --step-duration 2s --repeats 2 --warmup 0.1s"
_INIT = "harness init --target https://agent.example.com/agent/workflow-actions"
_LOAD = "harness load --rate 20 --duration 1s"
# Warm-up ends at a whole second: of 2 s too little may be left.
_WARMED_UP = "harness load --rate 20 --duration 3s --processes 2 --warmup 1s"
# The area of the suite that runs where the page runs all of it; tests/integration/test_check.py runs all.
_AREA = "-k terminal"
_BASELINE = (
    "harness check --baseline baselines/main --rerun-inconclusive 1 --users 2 --duration 2s --journey fresh=1"
)

#: These take minutes, or more load than a machine can generate that runs other tests, or test all of an API.
SHORTER = {
    "harness check": _CHECK,
    "harness check --users 20 --duration 60s --out harness-results": _FIRST,
    "harness check --users 5 --duration 30s": _CHECK,
    "harness check --baseline baselines/main --rerun-inconclusive 2": _BASELINE,
    "harness check --target https://agent.example.com --baseline baselines/main --rerun-inconclusive 4": _BASELINE,
    "harness conformance --config faulty.toml": f"harness conformance --config faulty.toml {_AREA}",
    "harness conformance --known-failures known.toml": f"harness conformance --known-failures known.toml {_AREA}",
    "harness conformance --known-failures known.toml --update-known-failures": (
        f"harness conformance --known-failures known.toml --update-known-failures {_AREA}"
    ),
    "harness conformance --max-concurrency 2 --read-only": (
        f"harness conformance --max-concurrency 2 --read-only {_AREA}"
    ),
    "harness load --rate 5 --duration 2m": _LOAD,
    "harness load --rate 50 --duration 2m": _LOAD,
    'harness load --rate 50 --abort-on "error_rate > 20% for 10s" --abort-on "ttft_p95_ms > 5s for 30s"': (
        f'{_LOAD} --abort-on "error_rate > 20% for 10s" --abort-on "ttft_p95_ms > 5s for 30s"'
    ),
    'harness load --abort-on "error_rate > 20% for 10s"': f'{_LOAD} --abort-on "error_rate > 20% for 10s"',
    "harness load --rate 5 --journey workflow=1": f"{_LOAD} --journey workflow=1",
    'harness load --rate 5 --journey cancel=1 --journey fresh=4 --objective "cancel_p95_ms < 500"': (
        f"{_LOAD} --journey cancel=1 --journey fresh=4"
    ),
    "harness load --rate 10 --duration 60s --restart-at 20s": f"{_LOAD} --restart-at 0.5s",
    "harness load --ramp 1:100:60s": "harness load --ramp 1:20:2s",
    "harness load --rate 50 --max-in-flight 200": f"{_LOAD} --max-in-flight 200",
    "harness load --rate 500 --processes 2 --warmup 10s": _WARMED_UP,
    "harness load --rate 400 --processes 4": _WARMED_UP,
    "harness load --rate 5 --otlp-endpoint http://localhost:4318": f"{_LOAD} --otlp-endpoint http://localhost:4318",
    'harness capacity --objective "ttft_p95_ms<800"': _SEARCH,
    'harness capacity --objective "ttft_p95_ms < 800" --from 1 --to 200': _SEARCH,
    'harness capacity --objective "ttft_p95_ms < 800" --objective "goodput >= 99%" --from 1 --to 200': _SEARCH,
}
#: Tested in tests/browser/test_live_page.py, tests/browser/test_foreign_pages.py, tests/load/web/test_routes.py,
#: tests/load/journeys/test_custom.py, tests/deploy/test_processes.py, tests/commands/test_ab.py,
#: tests/commands/test_trend.py, tests/export/test_live_push.py and tests/integration/test_newcomer.py.
ELSEWHERE = {
    "harness ab --target URL --against URL",
    "harness ab --target http://localhost:8001 --against http://localhost:8000 --rate 10",
    "harness check --target http://localhost:8000 --profile openai-chat --model MODEL",
    "harness load --rate 5 --otlp-traces-endpoint http://localhost:4318",
    "harness load --web",
    "harness load --workers 8 --rate 800",
    "harness load --web --web-host 0.0.0.0 --web-login",
    "harness report results",
    "harness trend FOLDER",
}

#: Lines that share one of these files run together, in order; every other line runs alone.
_SHARED = re.compile(rf"\b({_CHECKED}|baselines|known|faulty|replicas)\b")
_GROUP = {
    _CHECKED: "results",
    "baselines": "results",
    "known": "known failures",
    "faulty": "a faulty server",
    "replicas": "replicas",
}
_WRITTEN = {
    "results": (
        "baselines/main",
        "runs.prom",
        "streams.csv",
        "streams.csv.meta.json",
        "streams.jsonl",
        "streams.parquet",
    ),
    "known failures": ("known.toml",),
}


def environment() -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
    return {**plain, "PYTHONPATH": str(ROOT), "COLUMNS": "100", "HARNESS_TARGET__TOKEN": "demo-token"}


@contextmanager
def serving(command: str, folder: Path, port: int) -> Iterator[None]:
    """Runs the server that `command` starts, on that port, until the block ends."""
    words = [*shlex.split(command.replace(" --port 8080", "")), "--port", str(port), "--stop-with-stdin"]
    given, to_it = os.pipe()
    with tempfile.TemporaryFile() as printed:
        server = start(
            [sys.executable, "-m", *words],
            environment=environment(),
            folder=folder,
            output=printed.fileno(),
            given=given,
        )
        os.close(given)
        try:
            deadline_s = time.monotonic() + 60
            while LISTENING.encode() not in _read(printed):
                assert server.poll() is None, _read(printed).decode()
                assert time.monotonic() < deadline_s, "the server does not listen"
                time.sleep(0.05)
            yield
        finally:
            os.close(to_it)
            server.wait(timeout=30)


def _read(file: IO[bytes]) -> bytes:
    return os.pread(file.fileno(), 10_000, 0)


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one line with this interpreter's harness."""
    words = shlex.split(line)
    patches = only("terminal") if words[1] == "check" else None
    done = run_module(words, folder=folder, environment=environment(), timeout_s=240, patches=patches)
    print(f"$ {line}\n{done.stdout}{done.stderr}-> {done.returncode}")
    return done


def holds(done: subprocess.CompletedProcess[str]) -> bool:
    """Exit code 0, or a gate that is inconclusive because this machine is busy and has no failed row."""
    return done.returncode == 0 or (
        done.returncode == 1
        and "Gate: inconclusive" in done.stdout
        and re.search(r"^failed\b", done.stdout, re.MULTILINE) is None
    )


def shortened(line: str) -> str:
    """The line of the tutorial with a shorter load, and a limit that its server meets on a busy machine too."""
    for written, here in (
        ("--duration 22s --warmup 2s", "--duration 4s --warmup 1s"),
        ("--duration 10s", "--duration 2s"),
        ("ttft_p95_ms < 800", "ttft_p95_ms < 8000"),
    ):
        line = line.replace(written, here)
    return line


def tutorial() -> dict[str, list[tuple[str, bool]]]:
    """Section number to its lines; each with True if the page says that it fails."""
    return {
        section[1]: [
            (line, bool(fails)) for fails, text in _BLOCK.findall(section[0]) for line in text.splitlines()
        ]
        for section in _SECTION.finditer(read(TUTORIAL))
    }


def test_every_command_of_the_tutorial_is_found() -> None:
    lines = [line for section in tutorial().values() for line, _ in section]
    assert lines == [line for _, text in _BLOCK.findall(read(TUTORIAL)) for line in text.splitlines()]
    assert [number for number, section in tutorial().items() if section] == list("12345")
    correct, faulty = [line for line in lines if line.startswith(_SERVE)]
    assert "--fault" in faulty
    assert "--fault" not in correct


@pytest.mark.parametrize(
    ("sections", "written"),
    [
        ("1", ("first/report.html", "first/results.sqlite", "first/summary.json")),
        ("2", ()),
        ("345", ("compare.html",)),  # on the server of section 1
    ],
)
def test_the_tutorial_runs(tmp_path: Path, sections: str, written: tuple[str, ...]) -> None:
    by_section = tutorial()
    (serve, _), *_ = by_section["2" if sections == "2" else "1"]
    lines = [
        (shortened(line), fails)
        for section in sections
        for line, fails in by_section[section]
        if line != serve
    ]
    with serving(serve, tmp_path, free_port()):
        for line, done in run_all([line for line, _ in lines], tmp_path):
            fails = dict(lines)[line] or "--fault" in serve
            assert done.returncode == 1 if fails else holds(done), line
    for file in written:
        assert (tmp_path / file).stat().st_size > 1000, file


def run_all(lines: list[str], folder: Path) -> Iterator[tuple[str, subprocess.CompletedProcess[str]]]:
    """Each line and its result. Load tests are independent and mostly wait, so they run at the same time."""
    loads = [line for line in lines if line.startswith("harness load")]
    with ThreadPoolExecutor() as threads:
        yield from zip(loads, threads.map(lambda line: run(line, folder), loads), strict=True)
    yield from ((line, run(line, folder)) for line in lines if line not in loads)


def listed() -> dict[str, list[str]]:
    """The lines of the pages by group, each once, in order. The check whose results others read comes first."""
    documented = [line for page in LISTED for line in commands(page)]
    lines = [
        SHORTER.get(line, line)
        for line in documented
        if line not in ELSEWHERE and not line.startswith("harness init")
    ]
    groups: dict[str, list[str]] = {}
    for line in dict.fromkeys([_FIRST, *(_RESULTS.sub(_CHECKED, line) for line in lines)]):
        shared = _SHARED.search(line)
        groups.setdefault(_GROUP[shared[0]] if shared else line, []).append(line)
    return groups


def test_every_replaced_command_is_in_a_page() -> None:
    documented = {line for page in LISTED for line in commands(page)}
    assert {*SHORTER, *ELSEWHERE} <= documented


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of the server under test."""
    port = free_port()
    with serving(_SERVE, tmp_path_factory.mktemp("server"), port):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, url: str) -> Path:
    """The working directory of the lines, with settings from `harness init` and a trace file."""
    folder = tmp_path_factory.mktemp("commands")
    (folder / "arrivals.csv").write_text("0\n0.5\n0.7\n")
    target = demo_config(url)["target"]
    body = '{"organizationId": "org-1", "sessionId": "s", "workflowAction": %s}'
    action = str(target["actions"]["success"]).replace("'", '"')
    (folder / "working-request.txt").write_text(
        f"curl -X POST {url}{target['path']} -H 'Authorization: Bearer demo-token' "
        f"-H 'Content-Type: application/json' -d '{body % action}'\n"
    )
    (by_curl,) = {line for line in _init_lines() if "--from-curl" in line}
    assert run(by_curl, folder).returncode == 0
    return folder


def _init_lines() -> list[str]:
    return [line for page in LISTED for line in commands(page) if line.startswith("harness init")]


def test_init_with_options_writes_settings(tmp_path: Path, url: str) -> None:
    (by_flags,) = {line for line in _init_lines() if line.startswith(_INIT)}
    assert run(by_flags.replace("https://agent.example.com", url), tmp_path).returncode == 0
    assert url in (tmp_path / "harness.toml").read_text()


@pytest.mark.parametrize(
    "group", [group for group in listed() if group not in {"a faulty server", "replicas"}]
)
def test_the_commands_of_readme_and_how_to_run(folder: Path, group: str) -> None:
    missing: set[str] = set()  # what an inconclusive gate did not write
    for line in listed()[group]:
        done = run(line, folder)
        if "--update-baseline" in line and done.returncode == 1:
            missing.add("baselines/main")
        is_without_baseline = done.returncode == 2 and "no such baseline" in done.stderr and bool(missing)
        assert holds(done) or _may_be_inconclusive(line, done) or is_without_baseline, line
    for name in {*_WRITTEN.get(group, ())} - missing:
        assert (folder / name).exists(), name


def test_the_suite_fails_on_the_faulty_server_of_the_readme(tmp_path: Path) -> None:
    serve, suite = listed()["a faulty server"]
    with serving(serve, tmp_path, free_port()):
        assert run(suite, tmp_path).returncode == 1


def test_the_suite_passes_on_the_replicas_of_the_how_to(tmp_path: Path) -> None:
    serve, suite = listed()["replicas"]
    with serving(serve, tmp_path, free_port()):
        assert run(suite, tmp_path).returncode == 0


def _may_be_inconclusive(line: str, done: subprocess.CompletedProcess[str]) -> bool:
    """A search of a few seconds may find no limit; two seconds against a baseline are always inconclusive."""
    return done.returncode == 1 and line.startswith(("harness capacity", "harness check --"))
