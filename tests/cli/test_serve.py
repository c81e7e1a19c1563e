"""`harness serve`: which API and which faults; what does not fit is one sentence."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from harness.cli import main
from harness.cli.serve import _announce
from harness.reference.faults.base import FAULTS


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("--fault", "done-marker-twice"),
            "done-marker-twice is one of the profile openai-chat, not of workflow-actions",
        ),
        (
            ("--profile", "ag-ui", "--fault", "two-terminals"),
            "two-terminals is one of the profile workflow-actions",
        ),
        (
            ("--profile", "mcp"),
            "the embedded server has no API of the profile 'mcp': use one of workflow-actions,",
        ),
        (("--profile", "ag-uo"), "there is no profile 'ag-uo'; did you mean ag-ui?"),
        (("--no-token",), "--no-token is for --profile openai-chat; workflow-actions has no such choice"),
    ],
)
def test_what_does_not_fit_is_one_sentence(words: tuple[str, ...], sentence: str, tmp_path: Path) -> None:
    config = tmp_path / "harness.toml"
    config.write_text("")
    done = CliRunner().invoke(main, ["serve", "--port", "0", "--config", str(config), *words])
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("harness: ")
    assert sentence in line


def test_the_list_names_the_profile_of_a_fault() -> None:
    lines = CliRunner().invoke(main, ["serve", "--faults"]).output.splitlines()
    by_name = {line.split()[0]: line for line in lines}
    assert by_name.keys() >= FAULTS.keys()
    for name, fault in FAULTS.items():
        assert by_name[name].endswith(f"({fault.profile})") is (fault.profile != "workflow-actions")


def test_the_settings_are_there_when_it_says_where_it_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "harness.toml"
    printed: list[tuple[object, bool]] = []
    monkeypatch.setattr(click, "echo", lambda text: printed.append((text, file.exists())))
    _announce(["http://127.0.0.1:9"], "workflow-actions", file, None)
    assert len(printed) == 2
    assert all(is_there for _, is_there in printed), printed
