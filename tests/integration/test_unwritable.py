"""A file that cannot be written is one sentence and exit code 2, in every verb that writes one."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.forked import embedded_server, run_module
from tests.integration.commands import assert_one_sentence, demo_settings, environment, harness
from tests.reports import samples

pytestmark = pytest.mark.slow

#: Below a file no file can be created, not even by root.
BELOW = "file/x"

OF_RESULTS = (
    ("report", "run", "--out", BELOW),
    ("report", "run", "--out", "."),
    ("compare", "run", "run", "--out", BELOW),
    ("judge", "run", "--json", BELOW),
    ("export", "run", "--format", "csv", "--out", BELOW),
    ("export", "run", "--format", "prometheus", "--out", BELOW),
    ("gate", "run", "--junit", BELOW),
    ("gate", "run", "--badge", f"{BELOW}.svg"),
    ("gate", "run", "--summary-md", BELOW),
    ("gate", "run", "--ctrf", BELOW),
    ("gate", "run", "--comment-md", BELOW),
    ("gate", "run", "--objective", "error_rate <= 100%", "--baseline", "file/x.sqlite", "--update-baseline"),
    ("serve", "--port", "0", "--config-out", BELOW),
)
LOAD = ("--users", "1", "--duration", "1s")
OF_A_TEST = (
    ("check", *LOAD, "--out", BELOW),
    ("check", *LOAD, "--junit", BELOW),
    ("load", *LOAD, "--out", BELOW),
    ("load", *LOAD, "--summary-md", BELOW),
    ("capacity", "--objective", "error_rate < 100%", "--out", BELOW),
    ("ab", "--target", "http://127.0.0.1:9", "--against", "http://127.0.0.1:8", "--out", BELOW),
    ("conformance", "-k", "utf8", "--out", BELOW),
    ("conformance", "-k", "utf8", "--json", BELOW),
    ("conformance", "-k", "utf8", "--json", "."),
    ("conformance", "-k", "utf8", "--known-failures", BELOW, "--update-known-failures"),
    ("conformance", "-k", "utf8", "--badge", f"{BELOW}.json"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory with results, a file, and the settings of a running server."""
    folder = tmp_path_factory.mktemp("unwritable")
    (folder / "file").touch()
    samples.full(folder / "run" / "results.sqlite")
    with embedded_server() as base_url:
        demo_settings(folder, base_url)
        yield folder


@pytest.mark.parametrize("command", [*OF_RESULTS, *OF_A_TEST], ids=" ".join)
def test_one_sentence(folder: Path, command: tuple[str, ...]) -> None:
    done = harness(*command, folder=folder)
    assert_one_sentence(done, "cannot ")
    assert "INTERNALERROR" not in done.stdout + done.stderr
    assert (folder / "file").read_bytes() == b""


def test_a_verdict_that_cannot_be_written_at_the_end_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    """The file could be written when the suite started, and cannot when it ends."""
    demo_settings(tmp_path, _base_url(folder))
    json_file = tmp_path / "verdicts.json"
    (tmp_path / "conftest.py").write_text(
        "import pathlib\n\ndef pytest_sessionfinish():\n    pathlib.Path('verdicts.json').mkdir()\n"
    )
    command = ("pytest", "-q", "-p", "no:cacheprovider", "--pyargs", "harness.conformance", "-k", "utf8", ".")
    done = run_module(
        (*command, "--harness-json", json_file.name),
        folder=tmp_path,
        environment=environment(),
        timeout_s=120,
        merge_output=True,
    )
    assert done.returncode == 2, done.stdout
    assert "harness: cannot write verdicts.json: it is a folder; name a file" in done.stdout
    assert "INTERNALERROR" not in done.stdout


def _base_url(folder: Path) -> str:
    target = tomllib.loads((folder / "harness.toml").read_text())["target"]
    return str(target["base_url"])
