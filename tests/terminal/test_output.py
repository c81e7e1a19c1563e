from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.terminal.output import Output, OutputMode
from tests.terminal.documents import live, running, told


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    load, suite = tmp_path / "live.json", tmp_path / "progress.json"
    load.write_text(json.dumps(running(told(live()))))
    suite.write_text('{"done": 1, "total": 2, "verdicts": {"pass": 1}, "failed": []}')
    return load, suite


def _never() -> bool:
    return False


def test_a_line_every_five_seconds(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Output(clock=clock) as screen, screen.watch("t", *files, _never) as look:
        for _ in range(121):  # 12 s
            look()
            clock.now_s += 0.1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("0:20, ")
    assert lines[0].endswith("conformance 1/2, 0:40 left")


def test_before_the_files_are_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Output() as screen, screen.watch("t", tmp_path / "a", tmp_path / "b", _never) as look:
        look()
    assert capsys.readouterr().out == "starting\n"


def test_quiet_is_one_line(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    with Output(OutputMode.QUIET) as screen:
        print("something else")
        screen.print("words")
        screen.show("more words")
        with screen.watch("t", *files, _never) as look:
            look()
        screen.verdict("passed")
        screen.emit_json({"a": 1})
    assert capsys.readouterr() == ("passed\n", "")


def test_a_program_gets_its_document_and_people_theirs(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with Output(OutputMode.PROGRAM) as screen:
        print("something else")
        screen.print("words")
        with screen.watch("t", *files, _never) as look:
            look()
        screen.verdict("passed")
        screen.emit_json({"a": 1})
    said = capsys.readouterr()
    assert json.loads(said.out) == {"a": 1}
    assert said.err.startswith("something else\nwords\n0:20, ")
    assert "passed" not in said.err


def test_what_is_no_json_is_given_to_no_program(capsys: pytest.CaptureFixture[str]) -> None:
    with Output(OutputMode.PROGRAM) as screen, pytest.raises(ValueError, match="JSON"):
        screen.emit_json({"a": float("nan")})
    assert capsys.readouterr().out == ""


def test_standard_output_is_given_back_whatever_happens() -> None:
    before = sys.stdout
    with pytest.raises(KeyError), Output(OutputMode.PROGRAM):
        raise KeyError
    assert sys.stdout is before


def test_a_person_hears_no_verdict_twice(capsys: pytest.CaptureFixture[str]) -> None:
    with Output() as screen:
        screen.verdict("passed")
        screen.emit_json({})
    assert capsys.readouterr().out == ""


def on_terminal(
    monkeypatch: pytest.MonkeyPatch, act: Callable[[Output], None], **variables: str
) -> tuple[str, bool]:
    """What a terminal of 80 by 24 got, and whether it was drawn on."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24", **variables}.items():
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    with Output() as screen:
        act(screen)
    said = terminal.getvalue()
    return said, "\x1b[?1049h" in said


def _watch(files: tuple[Path, Path]) -> Callable[[Output], None]:
    def act(screen: Output) -> None:
        with screen.watch("harness check", *files, _never) as look:
            look()
            screen.print("meanwhile")
            screen.show("\x1b[31mred words\x1b[0m of another")
        screen.print("afterwards")

    return act


def test_a_terminal_is_drawn_on_and_left_clean(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    said, drawn = on_terminal(monkeypatch, _watch(files))
    assert drawn
    picture, _, after = said.partition("\x1b[?1049l")  # back from the other screen
    assert "TTFT p95" in picture
    assert "meanwhile" not in picture
    assert "red words" not in picture
    assert "\x1b[?25h" in said  # the cursor is there again
    plain = after.replace("\x1b[?25h", "")
    assert plain.index("meanwhile") < plain.index("red words") < plain.index("afterwards")
    assert "TTFT" not in plain


def test_without_colour_there_is_none(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    said, drawn = on_terminal(monkeypatch, _watch(files), NO_COLOR="1")
    assert drawn
    assert "\x1b[31m" not in said
    assert "\x1b[1;31m" not in said


@pytest.mark.parametrize("variables", [{"TERM": "dumb"}, {"LINES": "5"}])
def test_what_cannot_be_drawn_on_gets_lines(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    said, drawn = on_terminal(monkeypatch, _watch(files), **variables)
    assert not drawn
    assert "0:20, " in said


def test_the_screen_is_left_clean_also_after_a_fault(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(screen: Output) -> None:
        with screen.watch("t", *files, _never) as look:
            look()
            screen.print("kept")
            raise KeyError

    def act(screen: Output) -> None:
        with pytest.raises(KeyError):
            fail(screen)

    said, _ = on_terminal(monkeypatch, act)
    assert "kept" in said.partition("\x1b[?1049l")[2]


def test_a_picture_that_breaks_down_is_said_and_ends_no_test(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    files[0].write_text('{"not": "a live document"}')

    def act(screen: Output) -> None:
        with screen.watch("t", *files, _never) as look:
            look()
            look()

    said, _ = on_terminal(monkeypatch, act)
    assert said.count("the live view broke down (KeyError") == 1
    assert "the test goes on" in said


def test_a_child_says_where_people_read(capfd: pytest.CaptureFixture[str]) -> None:
    with Output(OutputMode.PROGRAM).output() as stderr, Output(OutputMode.QUIET).output() as nowhere:
        assert stderr is not None
        assert nowhere is not None
        stderr.write(b"words")
        nowhere.write(b"lost")
    with Output().output() as inherited:
        assert inherited is None
    assert capfd.readouterr() == ("", "words")
