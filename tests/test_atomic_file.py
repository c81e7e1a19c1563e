from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from threading import Thread

import pytest

from harness.atomic_file import (
    atomic_symlink,
    atomic_write,
    atomic_write_text,
    ensure_writable,
    temporary_folder,
    write_text,
)
from harness.errors import FileWriteError


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


def test_the_target_of_a_link_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    with atomic_write(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


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
