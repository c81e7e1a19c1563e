from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.text import Text

from harness.terminal.output import Output, OutputMode
from tests.terminal.documents import live, running, with_streams


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
    load.write_text(json.dumps(running(with_streams(live()))))
    suite.write_text('{"done": 1, "total": 2, "verdicts": {"pass": 1}, "failed": []}')
    return load, suite


def _never() -> bool:
    return False


def test_a_line_every_five_seconds(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Output(clock=clock) as output, output.watch("t", *files, _never) as look:
        for _ in range(121):  # 12 s
            look()
            clock.now_s += 0.1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("0:20, ")
    assert lines[0].endswith("conformance 1/2 tests, 0:40 left")


def test_before_the_files_are_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Output() as output, output.watch("t", tmp_path / "a", tmp_path / "b", _never) as look:
        look()
    assert capsys.readouterr().out == "starting\n"


def test_quiet_is_one_line(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    with Output(OutputMode.QUIET) as output:
        print("something else")
        output.print("words")
        output.show("more words")
        with output.watch("t", *files, _never) as look:
            look()
        output.verdict("passed")
        output.emit_json({"a": 1})
    assert capsys.readouterr() == ("passed\n", "")


def test_with_json_text_for_people_goes_to_standard_error(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with Output(OutputMode.PROGRAM) as output:
        print("something else")
        output.print("words")
        with output.watch("t", *files, _never) as look:
            look()
        output.verdict("passed")
        output.emit_json({"a": 1})
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"a": 1}
    assert printed.err.startswith("something else\nwords\n0:20, ")
    assert "passed" not in printed.err


def test_a_line_shows_what_the_console_would_leave_out(capsys: pytest.CaptureFixture[str]) -> None:
    Output(live=False).print("failed\rpassed\b")
    assert capsys.readouterr().out == "failed\\rpassed\\x08\n"


def test_nan_is_never_emitted(capsys: pytest.CaptureFixture[str]) -> None:
    with Output(OutputMode.PROGRAM) as output, pytest.raises(ValueError, match="JSON"):
        output.emit_json({"a": float("nan")})
    assert capsys.readouterr().out == ""


def test_standard_output_is_restored_after_an_error() -> None:
    before = sys.stdout
    with pytest.raises(KeyError), Output(OutputMode.PROGRAM):
        raise KeyError
    assert sys.stdout is before


def test_the_verdict_is_printed_only_in_quiet_and_json_mode(capsys: pytest.CaptureFixture[str]) -> None:
    with Output() as output:
        output.verdict("passed")
        output.emit_json({})
    assert capsys.readouterr().out == ""


def on_terminal(
    monkeypatch: pytest.MonkeyPatch, act: Callable[[Output], None], **variables: str
) -> tuple[str, bool]:
    """The output to a terminal of 80 by 24, and whether a dashboard was drawn."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24", **variables}.items():
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    with Output() as output:
        act(output)
    printed = terminal.getvalue()
    return printed, "\x1b[?1049h" in printed


def _watch(files: tuple[Path, Path]) -> Callable[[Output], None]:
    def act(output: Output) -> None:
        with output.watch("harness check", *files, _never) as look:
            look()
            output.print("meanwhile")
            output.show(Text("red words", "red"))
        output.print("afterwards")

    return act


def test_the_terminal_is_restored_after_the_dashboard(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    printed, drawn = on_terminal(monkeypatch, _watch(files))
    assert drawn
    picture, _, after = printed.partition("\x1b[?1049l")  # the end of the alternate screen
    assert "TTFT p95" in picture
    assert "meanwhile" not in picture
    assert "red words" not in picture
    assert "\x1b[?25h" in printed  # the cursor is visible again
    plain = after.replace("\x1b[?25h", "")
    assert plain.index("meanwhile") < plain.index("red words") < plain.index("afterwards")
    assert "TTFT" not in plain


def test_without_colour_there_is_none(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    printed, drawn = on_terminal(monkeypatch, _watch(files), NO_COLOR="1")
    assert drawn
    assert "\x1b[31m" not in printed
    assert "\x1b[1;31m" not in printed


@pytest.mark.parametrize("variables", [{"TERM": "dumb"}, {"LINES": "5"}])
def test_a_terminal_without_cursor_control_gets_lines(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    printed, drawn = on_terminal(monkeypatch, _watch(files), **variables)
    assert not drawn
    assert "0:20, " in printed


def test_the_screen_is_restored_after_an_error(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(output: Output) -> None:
        with output.watch("t", *files, _never) as look:
            look()
            output.print("kept")
            raise KeyError

    def act(output: Output) -> None:
        with pytest.raises(KeyError):
            fail(output)

    printed, _ = on_terminal(monkeypatch, act)
    assert "kept" in printed.partition("\x1b[?1049l")[2]


def test_a_display_error_is_reported_and_does_not_end_the_test(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    files[0].write_text('{"not": "a live document"}')

    def act(output: Output) -> None:
        with output.watch("t", *files, _never) as look:
            look()
            look()

    printed, _ = on_terminal(monkeypatch, act)
    assert printed.count("the live view failed (KeyError") == 1
    assert "the test continues" in printed


def test_a_child_prints_where_people_read(capfd: pytest.CaptureFixture[str]) -> None:
    with (
        Output(OutputMode.PROGRAM).child_output() as stderr,
        Output(OutputMode.QUIET).child_output() as nowhere,
    ):
        assert stderr is not None
        assert nowhere is not None
        stderr.write(b"words")
        nowhere.write(b"lost")
    with Output().child_output() as inherited:
        assert inherited is None
    assert capfd.readouterr() == ("", "words")


def test_the_tail_of_a_log_keeps_no_colour_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "load.log"
    log.write_text("".join(f"\x1b[31mline {number}\x1b[0m\n" for number in range(20)))
    with Output() as output:
        output.show_tail(log)
    assert capsys.readouterr().out.splitlines() == [f"line {number}" for number in range(8, 20)]


def test_the_tail_of_a_log_is_read_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "load.log"
    log.touch()
    os.truncate(log, 2**35)  # a hole: no process could hold its content
    with log.open("ab") as file:
        file.write(b"\nlast line\n")
    with Output() as output:
        output.show_tail(log)
    assert capsys.readouterr().out.splitlines()[-1] == "last line"
