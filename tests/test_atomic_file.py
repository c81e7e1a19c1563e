from __future__ import annotations

import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest

from harness.atomic_file import (
    _draft_path,
    _open_special,
    atomic_symlink,
    atomic_write,
    atomic_write_text,
    create_folder,
    ensure_writable,
    open_log,
    temporary_folder,
    write_text,
)
from harness.errors import FileWriteError
from tests.disk import limited_file_size
from tests.terminals import assert_keeps_no_terminal


def test_a_file_appears_when_it_is_complete_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "new" / "agent.prom"
    with atomic_write(path) as file:
        file.write(b"a")
        assert not path.exists()
        assert not list(path.parent.glob("*.prom"))  # a collector would read it
    assert path.read_bytes() == b"a"
    assert list(path.parent.iterdir()) == [path]


def test_the_old_content_stays_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "agent.prom"
    path.write_bytes(b"before")
    with pytest.raises(TypeError), atomic_write(path) as file:
        file.writelines([b"half", "and no bytes"])  # type: ignore[list-item]
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_mode_follows_the_umask(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    with atomic_write(tmp_path / "agent.prom"):
        pass
    mode = stat.S_IMODE((tmp_path / "agent.prom").stat().st_mode)
    assert mode == stat.S_IMODE(plain.stat().st_mode)


def test_the_error_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "x"
    with (
        pytest.raises(FileWriteError, match=r"cannot write .*file/x: .*file is not a folder"),
        atomic_write(path),
    ):
        pass


def test_text_replaces_text_and_makes_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    for text in ("old", "né"):
        atomic_write_text(path, text)
    assert path.read_text(encoding="utf-8") == "né"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileWriteError, match="No such file or directory"):
        atomic_write_text(tmp_path / "missing" / "x", "text")


def test_a_link_is_replaced(tmp_path: Path) -> None:
    link = tmp_path / "latest"
    for name in ("first", "second"):
        atomic_symlink(link, name)
    assert link.readlink() == Path("second")
    assert list(tmp_path.iterdir()) == [link]


def test_a_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    with atomic_write(pipe) as file:
        file.write(b"rows")
    reader.join()
    assert received == [b"rows"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


WRITERS = {
    "atomic_write": lambda path: atomic_write(path).__enter__(),
    "write_text": lambda path: write_text(path, "new"),
    "atomic_write_text": lambda path: atomic_write_text(path, "new"),
    "open_log": open_log,
    "ensure_writable": ensure_writable,
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("target", ["real", "missing", "folder"])
def test_a_link_is_refused_and_what_is_behind_it_stays(
    tmp_path: Path, write: Callable[[Path], object], target: str
) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(FileWriteError, match=f"it is a link to {target}; remove the link"):
        write(tmp_path / "link")
    assert (tmp_path / "real").read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {"real", "folder", "link"}


@pytest.mark.parametrize("write", [lambda path: write_text(path, "new"), lambda path: open_log(path).close()])
def test_another_name_of_a_file_keeps_the_old_content(tmp_path: Path, write: Callable[[Path], None]) -> None:
    (tmp_path / "kept").write_bytes(b"old")
    (tmp_path / "name").hardlink_to(tmp_path / "kept")
    write(tmp_path / "name")
    assert (tmp_path / "kept").read_bytes() == b"old"
    assert (tmp_path / "name").read_bytes() in (b"new", b"")


def test_a_link_that_takes_the_place_of_the_file_meanwhile_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    with atomic_write(tmp_path / "file") as file:
        file.write(b"new")
        (tmp_path / "file").symlink_to("real")
    assert (tmp_path / "real").read_bytes() == b"old"
    assert not (tmp_path / "file").is_symlink()


def test_a_folder_that_is_a_link_is_followed(tmp_path: Path) -> None:
    """The user names it, as with harness-results/latest."""
    (tmp_path / "real").mkdir()
    (tmp_path / "latest").symlink_to("real")
    write_text(tmp_path / "latest" / "report.html", "new")
    assert (tmp_path / "real" / "report.html").read_text() == "new"


def test_the_mode_of_a_replaced_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "private"
    path.touch(0o600)
    write_text(path, "new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_standard_output_is_written_to(capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
        ensure_writable(Path(name))
        write_text(Path(name), f"{name}\n")
    assert capfd.readouterr().out == "/dev/stdout\n/dev/fd/1\n/proc/self/fd/1\n"


def test_a_pipe_that_no_one_reads_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.atomic_file.PIPE_TIMEOUT_S", 0.1)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileWriteError, match="no one has read the pipe"):
        write_text(tmp_path / "pipe", "text")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(FileWriteError, match="no one has read the pipe"):
        write_text(tmp_path / "pipe", "text" * 1_000_000)
    os.close(reader)


def test_other_kinds_are_a_sentence(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        with pytest.raises(FileWriteError, match="it is a socket, not a file"):
            write_text(tmp_path / "socket", "text")
    with pytest.raises(FileWriteError, match="NUL character"):
        write_text(tmp_path / "a\0b", "text")
    write_text(Path("/dev/null"), "text")


def test_text_with_half_a_character_is_written(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "\ud800")
    assert (tmp_path / "file").read_bytes() == b"\\ud800"


def test_a_full_disk_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with limited_file_size(10), pytest.raises(FileWriteError, match="File too large"):
        write_text(path, "x" * 100)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_goes_meanwhile_is_a_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with pytest.raises(FileWriteError, match="No such file or directory"), atomic_write(folder / "file"):
        shutil.rmtree(folder)


def test_plain_text_creates_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "verdicts.json"
    write_text(path, "né\n")
    assert path.read_bytes() == "né\n".encode()
    with pytest.raises(FileWriteError, match=r"cannot write .*verdicts.json/x: .* is not a folder"):
        write_text(path / "x", "text")


@pytest.mark.parametrize(
    ("name", "reason"), [("file/x", "is not a folder"), (".", "it is a folder; name a file")]
)
def test_what_cannot_be_written_is_known_before(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileWriteError, match=reason):
        ensure_writable(tmp_path / name)
    ensure_writable(tmp_path / "new" / "file")
    assert list((tmp_path / "new").iterdir()) == []


def test_an_error_of_the_block_itself_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not this file's"), atomic_write(tmp_path / "file"):
        raise ValueError("not this file's")
    folder = tmp_path / "folder"

    def fail() -> None:
        shutil.rmtree(folder)
        folder.touch()  # so that the draft cannot be removed either
        raise KeyError("first")

    with pytest.raises(KeyError, match="first"), atomic_write(folder / "file"):
        fail()


@pytest.mark.parametrize(
    ("name", "reason"),
    [("a\0b/file", "null"), ("file/x/y", "Not a directory"), (f"{'x' * 300}/file", "File name too long")],
)
def test_a_folder_that_cannot_be_created_is_a_sentence(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / name
    with pytest.raises(FileWriteError, match=f"cannot write .*{reason}"):
        create_folder(path.parent, path)


def test_a_log_or_a_link_in_a_missing_folder_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(FileWriteError, match="No such file or directory"):
        open_log(tmp_path / "missing" / "log")
    with pytest.raises(FileWriteError, match="No such file or directory"):
        atomic_symlink(tmp_path / "missing" / "latest", "first")


def test_a_link_that_takes_the_place_of_what_was_no_link_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the path and its opening."""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    for kind, target in ((stat.S_IFCHR, "/dev/null"), (stat.S_IFIFO, "pipe")):
        link = tmp_path / f"link{kind}"
        link.symlink_to(target)
        with pytest.raises(OSError, match="Too many levels of symbolic links"):
            _open_special(link, kind)
    os.close(reader)
    (tmp_path / "real").touch()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.setattr("harness.atomic_file.ensure_no_link", lambda path: None)
    with pytest.raises(FileWriteError, match="it is a link, not a file"):
        write_text(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink()


def test_a_terminal_that_is_written_to_does_not_become_that_of_this_process() -> None:
    assert_keeps_no_terminal(
        """
        from harness.atomic_file import write_text
        write_text(terminal, "rows")
        """
    )


def test_before_work_a_device_is_left_alone_and_a_folder_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        FileWriteError, match="cannot write /proc/harness-file"
    ):  # no file can be created there
        ensure_writable(Path("/proc/harness-file"))
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr("harness.atomic_file._draft_path", lambda path: tmp_path / "missing" / "draft")
    ensure_writable(tmp_path / "pipe")
    with pytest.raises(FileWriteError, match="No such file or directory"):
        ensure_writable(tmp_path / "file")


def test_no_permission_is_known_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(FileWriteError, match="no permission"):
        ensure_writable(tmp_path / "file")


def test_no_place_for_a_temporary_folder_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(FileWriteError, match="set TMPDIR to a writable one"), temporary_folder():
        pass


def test_a_draft_has_another_name_each_time_and_is_never_a_file_that_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder of someone else, a link with the draft's name would decide what is overwritten."""
    names = {_draft_path(tmp_path / "file") for _ in range(10)}
    assert len(names) == 10
    draft, victim = tmp_path / "draft", tmp_path / "victim"
    victim.write_bytes(b"kept")
    monkeypatch.setattr("harness.atomic_file._draft_path", lambda path: draft)
    for make in (
        lambda: draft.symlink_to(victim),
        lambda: draft.symlink_to("nowhere"),
        lambda: draft.hardlink_to(victim),
    ):
        make()
        with pytest.raises(FileWriteError, match="File exists"):
            write_text(tmp_path / "file", "new")
        draft.unlink(missing_ok=True)
    assert victim.read_bytes() == b"kept"
    assert not (tmp_path / "file").exists()
