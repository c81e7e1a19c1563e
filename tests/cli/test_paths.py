"""The name of a file or folder cannot break a message: it is shown on one line, and controls no terminal."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.cli import main
from harness.config.sources import load_settings
from harness.errors import HarnessError, SettingsError
from tests.gate.test_baseline_store import LOAD, recorded

NAME = "a\n::error::b\x1b]0;c\x07\u202e"
SHOWN = r"a\n::error::b\x1b]0;c\x07\u202e"
TARGET = ("--target", "http://127.0.0.1:9", "--profile", "openai-chat", "--model", "m")


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith(("HARNESS_", "GITHUB_"))]:
        monkeypatch.delenv(name)


def ran(*arguments: str) -> Result:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", NAME),
        ("judge", NAME),
        ("gate", NAME),
        ("compare", NAME, NAME),
        ("trend", NAME),
        ("export", NAME, "--format", "csv"),
        ("comment", NAME),
        ("conformance", *TARGET, "--config", NAME),
        ("conformance", *TARGET, "--token-file", NAME),
        ("conformance", *TARGET, "--json", f"{NAME}/x/y"),
        ("load", *TARGET, "--config", NAME),
        ("load", *TARGET, "--trace", NAME),
        ("check", *TARGET, "--baseline", NAME),
        ("doctor", "--config", NAME),
        ("init", *TARGET, "--out", f"{NAME}/x"),
        ("init", "--from-curl", NAME),
        ("profile", "check", NAME, NAME),
        ("profile", NAME),
        ("serve", "--config-out", f"{NAME}/x", "--port", "1"),
        (NAME,),
        ("load", f"--{NAME}"),
    ],
    ids=lambda arguments: " ".join(arguments[:3]).replace(NAME, "NAME"),
)
def test_what_is_wrong_with_it(arguments: Sequence[str]) -> None:
    Path(NAME.partition("/")[0]).write_text("\x00")  # not a folder, and no file that any verb reads
    result = ran(*arguments)
    assert result.exit_code == 2
    assert "\x1b" not in result.output
    assert "\u202e" not in result.output
    assert not any(line.startswith("::error::b") for line in result.output.splitlines())
    assert SHOWN in result.output.replace("\\\\", "\\")


def test_where_the_results_are() -> None:
    folder = Path(NAME)
    recorded(folder / "results.sqlite", settings={"load": LOAD, "objectives": {}}, load=None)
    for arguments in (("report", NAME), ("export", NAME, "--format", "csv", "--out", f"{NAME}/x.csv")):
        result = ran(*arguments)
        assert result.exit_code == 0
        assert SHOWN in result.output
        assert "\x1b" not in result.output
        assert len(result.output.splitlines()) == 1


def test_a_message_has_the_lines_that_it_was_given() -> None:
    assert str(HarnessError(f"cannot read {NAME}", ["one", "two\n"])).splitlines() == [
        f"cannot read {SHOWN}",
        "one",
        r"two\n",
    ]
    with pytest.raises(SettingsError) as raised:
        load_settings(Path(NAME))
    assert str(raised.value).isprintable()
