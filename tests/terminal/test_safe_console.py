"""No text of a server controls the terminal: every way to print shows it as escapes, and colours of our own stay."""

from __future__ import annotations

import io
import os

import pytest
from rich.live import Live
from rich.table import Table
from rich.text import Text

from harness.contract.finding import Verdict
from harness.contract.requirements import CATALOGUE
from harness.contract.verdicts import Check
from harness.formatting import visible
from harness.suite.terminal_report import LineWriter, write_summary
from harness.terminal.safe_console import SafeConsole
from tests.cases import all_cases

HOSTILE = {
    "colour": "\x1b[31m",
    "clear screen": "\x1b[2J",
    "8-bit CSI": "\x9b2J",
    "title": "\x1b]0;owned\x07",
    "8-bit OSC": "\x9d0;owned\x9c",
    "link": "\x1b]8;;http://evil.test\x1b\\here",
    "clipboard": "\x1b]52;c;ZXZpbA==\x07",
    "backspaces": "no\b\b",
    "carriage return": "no\rpassed",
    "form feed": "\f\v",
    "NUL and DEL": "\x00\x7f",
    "bidi override": "\u202eevil\u202c",
    "bidi isolate": "\u2066evil\u2069",
    "direction marks": "\u200e\u200f\u061c",
    "no width": "\u200b\u200c\u200d\u2060\ufeff",
    "line separators": "\u2028\u2029\x85",
    "lone surrogate": "\ud800\udfff",
    "tags": "\U000e0041\U000e007f",
    "private use": "\ue000",
}
REMOVED = set("\a\b\v\f\r")  # by Rich, from its Text


def printed(show: object, *, colours: bool = False) -> str:
    file = io.StringIO()
    console = SafeConsole(
        file=file, width=400, force_terminal=colours, color_system="standard" if colours else None
    )
    console.print(show)
    return file.getvalue()


@all_cases("text", HOSTILE.values(), ids=HOSTILE)
def test_nothing_that_is_printed_controls_the_terminal(text: str) -> None:
    table = Table("a column")
    table.add_row(text)
    for shown in (f"before {text} after", Text(f"before {text} after"), table):
        out = printed(shown)
        assert all(char.isprintable() or char == "\n" for char in out)
        if isinstance(shown, str | Table) or not set(text) & REMOVED:
            assert visible(text) in out


@pytest.mark.parametrize(
    "text", ["results: runs[/red]", "[bold]runs[/bold]", "[@click=quit()]x[/]", ":x: :smile:"]
)
def test_a_name_with_brackets_or_colons_is_shown_as_it_is(text: str) -> None:
    table = Table("a column")
    table.add_row(text)
    assert printed(text) == f"{text}\n"
    assert text in printed(table)


def test_our_own_colours_stay() -> None:
    out = printed(Text("red \x1b[5m", "red"), colours=True)
    assert out == "\x1b[31mred \\x1b[5m\x1b[0m\n"


def test_a_reader_that_has_gone_does_not_end_the_command() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as file:
        console = SafeConsole(file=file)
        console.print("nobody reads this")
        file.write("nor this")
        file.flush()


def test_a_live_display_shows_escapes_too() -> None:
    file = io.StringIO()
    console = SafeConsole(file=file, width=80, force_terminal=True, color_system=None)
    with Live(Text("first \x9b2J"), console=console, auto_refresh=False):
        pass
    assert "first \\x9b2J" in file.getvalue()
    assert "\x9b" not in file.getvalue()


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_verdicts_are_printed_on_their_own_lines(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    row = next(iter(CATALOGUE.values()))
    check = Check(row, Verdict.FAIL, f"it said {text}\n::error::{text}\nPASSED")
    write_summary(LineWriter(), [check], 1)
    lines = capsys.readouterr().out.splitlines()
    assert f"it said {visible(text)}\\n::error::{visible(text)}\\nPASSED" in "\n".join(lines)
    assert not [line for line in lines if line.startswith(("PASSED", "::error"))]
    assert all(line.isprintable() for line in lines)
