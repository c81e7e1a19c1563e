from __future__ import annotations

import stat
from pathlib import Path

import pytest

from harness.atomic_file import atomic_symlink, atomic_write, atomic_write_text
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
    with pytest.raises(FileWriteError, match=r"cannot write .*file/x: Not a directory"), atomic_write(path):
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
