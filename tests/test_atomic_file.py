from __future__ import annotations

import stat
from pathlib import Path

import pytest

from harness.atomic_file import whole_file
from harness.results.schema import ResultsError


def test_a_file_appears_when_it_is_whole_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "new" / "agent.prom"
    with whole_file(path) as file:
        file.write(b"a")
        assert not path.exists()
        assert not list(path.parent.glob("*.prom"))  # a collector would read it
    assert path.read_bytes() == b"a"
    assert list(path.parent.iterdir()) == [path]


def test_what_was_there_stays_when_the_new_one_fails(tmp_path: Path) -> None:
    path = tmp_path / "agent.prom"
    path.write_bytes(b"before")
    with pytest.raises(TypeError), whole_file(path) as file:
        file.writelines([b"half", "and no bytes"])  # type: ignore[list-item]
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_others_may_read_it_as_the_umask_says(tmp_path: Path) -> None:
    beside = tmp_path / "beside"
    beside.touch()
    with whole_file(tmp_path / "agent.prom"):
        pass
    mode = stat.S_IMODE((tmp_path / "agent.prom").stat().st_mode)
    assert mode == stat.S_IMODE(beside.stat().st_mode)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResultsError, match=r"cannot write .*file/x: "), whole_file(tmp_path / "file" / "x"):
        pass
