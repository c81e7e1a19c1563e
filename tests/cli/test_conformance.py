"""`harness conformance`: arguments that pytest does not accept, and runs that test nothing."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomlkit

from harness.reference.settings import demo_config
from tests.forked import embedded_server
from tests.integration.commands import harness


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with embedded_server() as base_url:
        file = tmp_path_factory.mktemp("config") / "h.toml"
        file.write_text(tomlkit.dumps(demo_config(base_url)))
        yield file


def conformance(where: Path, config: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return harness("conformance", "--config", str(config), *options, folder=where)


def test_arguments_that_pytest_does_not_accept_leave_no_results(tmp_path: Path, config: Path) -> None:
    done = conformance(tmp_path, config, "--reed-only", "--out", "out", "--json", "verdicts.json")
    assert done.returncode == 2
    assert "unrecognized arguments: --reed-only" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("harness: pytest did not accept the arguments")
    assert done.stdout == ""
    assert not (tmp_path / "out").exists()
    document = json.loads((tmp_path / "verdicts.json").read_text())
    assert "pytest did not accept the arguments" in document["checks"][0]["detail"]


def test_a_run_that_tests_nothing_announces_no_results(tmp_path: Path, config: Path) -> None:
    done = conformance(tmp_path, config, "--collect-only", "-k", "framing.utf8", "--out", "out")
    assert done.returncode == 0, done.stdout
    assert "results:" not in done.stdout
    assert not (tmp_path / "out").exists()


def test_files_of_tests_are_relative_to_the_suite(tmp_path: Path, config: Path) -> None:
    done = conformance(tmp_path, config, "-k", "framing.utf8", "--read-only", "--out", "out")
    assert done.returncode == 0, done.stdout
    assert "\nconformance/test_framing.py ." in done.stdout
    verbose = conformance(tmp_path, config, "-k", "framing.utf8", "-v")
    assert "\nconformance/test_framing.py::test_" in verbose.stdout
    assert "../" not in done.stdout + verbose.stdout
    assert "results: out/results.sqlite" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
