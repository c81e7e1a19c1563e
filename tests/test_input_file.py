from __future__ import annotations

import os
import re
import socket
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Self

import pytest

from harness.config.trace import read_arrival_times
from harness.errors import SettingsError
from harness.input_file import SETTINGS_BYTES, ensure_readable, read_text, read_toml
from tests.terminals import assert_keeps_no_terminal


def _pipe(path: Path) -> str:
    os.mkfifo(path.with_name("pipe"))
    return "pipe"


def _sparse(path: Path, size: int) -> None:
    path.touch()
    os.truncate(path, size)


TOO_LARGE = "it is larger than 1 MiB, the most that is read"
KINDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a folder": (Path.mkdir, "it is a folder; name a file"),
    "a pipe": (os.mkfifo, "it is a named pipe, not a file"),
    "a link to a pipe": (lambda path: path.symlink_to(_pipe(path)), "it is a named pipe, not a file"),
    "an endless device": (lambda path: path.symlink_to("/dev/zero"), "it is a device, not a file"),
    "a link to itself": (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    "nothing": (lambda path: None, "No such file or directory"),
    "too large": (lambda path: _sparse(path, SETTINGS_BYTES + 1), TOO_LARGE),
    "far too large": (lambda path: _sparse(path, 1 << 40), TOO_LARGE),
}


@pytest.mark.parametrize(("make", "clause"), KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("piped", [False, True])
def test_what_is_not_a_file_of_that_size(
    tmp_path: Path, make: Callable[[Path], object], clause: str, piped: bool
) -> None:
    path = tmp_path / "file"
    make(path)
    message = re.escape(f"cannot read the list {path}: {clause}")
    with pytest.raises(SettingsError, match=message):
        read_text(path, "the list", SETTINGS_BYTES, piped=piped)
    with pytest.raises(SettingsError, match=message):
        ensure_readable(path, "the list", SETTINGS_BYTES)


def test_a_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        with pytest.raises(SettingsError, match="it is a socket"):
            read_text(tmp_path / "socket", "the list", 10)


def test_an_endless_file_is_not_kept(tmp_path: Path) -> None:
    _sparse(tmp_path / "file", 1 << 40)
    tracemalloc.start()
    try:
        with pytest.raises(SettingsError):
            read_text(tmp_path / "file", "the list", SETTINGS_BYTES)
        assert tracemalloc.get_traced_memory()[1] < 5 * SETTINGS_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("data", "clause"),
    [
        ("token".encode("utf-16"), "is not UTF-8 text: it begins like UTF-16; save it as UTF-8"),
        (b"to\xffken", "is not UTF-8 text: the byte at offset 2 is 0xff"),
        (b"to\xed\xa0\x80ken", "is not UTF-8 text: the byte at offset 2 is 0xed"),  # a lone surrogate
        (b"a\nto\0ken", "is not text: line 2 contains a NUL character"),
    ],
)
def test_what_is_not_text(tmp_path: Path, data: bytes, clause: str) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(SettingsError, match=re.escape(f"the list {tmp_path / 'file'} {clause}")):
        read_text(tmp_path / "file", "the list", 100)


def test_a_file_of_exactly_the_limit_without_its_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\xef\xbb\xbfab")
    assert read_text(tmp_path / "file", "the list", 5) == "ab"


def test_a_name_with_a_nul_character() -> None:
    with pytest.raises(SettingsError, match="a NUL"):
        read_text(Path("a\0b"), "the list", 5)


def test_an_open_pipe_is_read_where_one_makes_sense() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"token")
    os.close(writing)
    path = Path(f"/dev/fd/{reading}")
    with pytest.raises(SettingsError, match="it is a named pipe"):
        read_text(path, "the list", 5)
    assert read_text(path, "the list", 5, piped=True) == "token"
    os.close(reading)


def test_an_open_pipe_has_the_same_limit() -> None:
    reading, writing = os.pipe()
    writer = Thread(target=_write_until_closed, args=(writing,))
    writer.start()
    with pytest.raises(SettingsError, match="larger than 64 KiB"):
        read_text(Path(f"/dev/fd/{reading}"), "the list", 64 * 1024, piped=True)
    os.close(reading)
    writer.join()


def _write_until_closed(writing: int) -> None:
    try:
        while True:
            os.write(writing, b"x" * 4096)
    except BrokenPipeError:
        os.close(writing)


def test_an_open_pipe_with_more_than_that_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.input_file.PIPE_TIMEOUT_S", 0.1)
    reading, writing = os.pipe()
    os.write(writing, b"x" * 6)
    with pytest.raises(SettingsError, match="it is larger than"):
        read_text(Path(f"/dev/fd/{reading}"), "the list", 5, piped=True)
    os.close(reading)
    os.close(writing)


def test_an_open_pipe_that_no_one_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.input_file.PIPE_TIMEOUT_S", 0.1)
    reading, writing = os.pipe()
    with pytest.raises(SettingsError, match=r"the pipe was not closed within 0\.1 s"):
        read_text(Path(f"/proc/self/fd/{reading}"), "the list", 5, piped=True)
    os.close(reading)
    os.close(writing)


def test_an_open_pipe_that_is_written_to_slowly_has_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.input_file.PIPE_TIMEOUT_S", 0.3)
    reading, writing = os.pipe()
    writer = Thread(target=_write_slowly, args=(writing, 60))
    writer.start()
    with pytest.raises(SettingsError, match=r"the pipe was not closed within 0\.3 s"):
        read_text(Path(f"/dev/fd/{reading}"), "the list", 1000, piped=True)
    os.close(reading)
    writer.join()


def _write_slowly(writing: int, times: int) -> None:
    try:
        for _ in range(times):
            os.write(writing, b"x")
            time.sleep(0.1)
    except BrokenPipeError:
        pass
    finally:
        os.close(writing)


def test_an_open_descriptor_of_a_device() -> None:
    descriptor = os.open("/dev/zero", os.O_RDONLY)
    try:
        with pytest.raises(SettingsError, match="it is a device, not a file"):
            read_text(Path(f"/dev/fd/{descriptor}"), "the list", 100, piped=True)
    finally:
        os.close(descriptor)


def test_a_terminal_that_takes_the_place_of_a_file_does_not_become_that_of_this_process() -> None:
    assert_keeps_no_terminal(
        """
        from harness.input_file import read_text
        regular = Path("/proc/self/exe").stat()
        Path.stat = lambda path, **_: regular
        with suppress(SettingsError):
            read_text(terminal, "the list", 100)
        """
    )


@pytest.mark.parametrize(
    ("text", "clause"),
    [
        ("a =", "is not valid TOML: "),
        (f"a = {'9' * 5000}", "is not valid TOML: Exceeds the limit"),
        ("a = 2026-02-31", "is not valid TOML: "),
        (f"a = {'[' * 100_000}{']' * 100_000}", "is not usable: nested more than 64 levels deep"),
        (f"a = {'[' * 65}{']' * 65}", "is not usable: nested more than 64 levels deep"),
        (f"a = {'{a=' * 100_000}1{'}' * 100_000}", "is not usable: nested more than 64 levels deep"),
        (f"{'a.' * 100_000}a = 1", "is not usable: a key has more than 64 parts"),
        (f"[{'a . ' * 100_000}a]", "is not usable: a key has more than 64 parts"),
        (f"b = {{{'a.' * 100_000}a = 1}}", "is not usable: a key has more than 64 parts"),
        (f'"{"x" * 100_000}', "is not valid TOML: "),
        (f"{'a.' * 100_000}a", "is not usable: a key has more than 64 parts"),
        (f"[{'x' * 5000}]\n[{'x' * 5000}]", "is not valid TOML: Cannot declare"),
    ],
    ids=lambda value: value[:20],
)
def test_toml_that_is_not_usable(tmp_path: Path, text: str, clause: str) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(SettingsError, match=re.escape(f"the settings file {path} {clause}")) as caught:
        read_toml(path, "the settings file")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_toml_with_long_texts(tmp_path: Path) -> None:
    text = "a.b.c.d." * 100
    (tmp_path / "file").write_text(f"a = {text!r}\nb = [[[[1]]]]\n'c.d' = '''\n{text}\n'''\n")
    expected = {"a": text, "b": [[[[1]]]], "c.d": f"{text}\n"}
    assert read_toml(tmp_path / "file", "the settings file") == expected


def test_a_trace_of_empty_lines_only(tmp_path: Path) -> None:
    (tmp_path / "trace").write_bytes(b"\n" * 5_000_000 + b"1\r\n\r\n2\r3\n")
    tracemalloc.start()
    try:
        assert list(read_arrival_times(str(tmp_path / "trace"))) == [1.0, 2.0, 3.0]
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


def test_one_long_line_of_a_trace(tmp_path: Path) -> None:
    (tmp_path / "trace").write_bytes(b"9" * 5_000_000)
    with pytest.raises(ValueError, match="line 1 of the trace") as caught:
        read_arrival_times(str(tmp_path / "trace"))
    assert len(str(caught.value)) < 400


def test_a_pipe_that_takes_the_place_of_a_file_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the file and its opening."""
    (tmp_path / "file").touch()
    regular = (tmp_path / "file").stat()
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr(Path, "stat", lambda path, **_: regular)
    with pytest.raises(SettingsError, match="it is a named pipe, not a file"):
        read_text(tmp_path / "pipe", "the list", 10)


def test_a_name_with_control_characters_is_shown_escaped(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"\\x1b\[31m\\u202e") as problem:
        read_text(tmp_path / "\x1b[31m\u202e", "the list", 10)
    assert str(problem.value).isprintable()


def test_a_file_that_has_nothing_to_read_yet_is_not_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some files of /proc: a read that does not wait returns None."""

    class NothingYet:
        def __init__(self, descriptor: int, *_: object, **__: object) -> None:
            self._descriptor = descriptor

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            os.close(self._descriptor)

        def read(self, _: int) -> None:
            return None

    path = tmp_path / "file"
    path.touch()
    monkeypatch.setattr("harness.input_file.os.fdopen", NothingYet)
    with pytest.raises(SettingsError, match="it has nothing to read"):
        read_text(path, "the list", 10)
