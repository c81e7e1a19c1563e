"""The parts of `make release-check` that need no network; the rest is the command itself."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from scripts import release_check
from scripts.release_check import ROOT, digest, normalize, pins, supported


def sdist(path: Path, names: list[str], mtime: int, mode: int) -> Path:
    """An archive of the files with these names, as setuptools would make it on some machine."""
    source = path.with_suffix(".d")
    source.mkdir()
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            (source / name).write_text(f"content of {name}")
            os.utime(source / name, (mtime, mtime))
            (source / name).chmod(mode)
            archive.add(source / name, f"package-1.0/{name}")
    return path


def test_an_sdist_depends_on_names_modes_and_contents_only(tmp_path: Path) -> None:
    one = sdist(tmp_path / "one.tar.gz", ["a", "b"], 1_000_000_000, 0o600)
    two = sdist(tmp_path / "two.tar.gz", ["b", "a"], 1_700_000_000, 0o664)
    assert digest(one) != digest(two)
    for path in (one, two):
        normalize(path, 1_600_000_000)
    assert digest(one) == digest(two)
    with tarfile.open(one) as archive:
        assert [(member.name, member.mtime, member.mode, member.uname) for member in archive] == [
            ("package-1.0/a", 1_600_000_000, 0o644, ""),
            ("package-1.0/b", 1_600_000_000, 0o644, ""),
        ]
        file = archive.extractfile("package-1.0/a")
        assert file is not None
        assert file.read() == b"content of a"
    other = sdist(tmp_path / "other.tar.gz", ["a", "c"], 1_000_000_000, 0o600)
    normalize(other, 1_600_000_000)
    assert digest(other) != digest(one)


def test_the_version_is_the_same_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(release_check.version_problems()) == []
    monkeypatch.setattr(release_check, "pyproject", lambda: {"version": "9.9.9"})
    assert len([one for one in release_check.version_problems() if "Chart.yaml" in one]) == 2


def test_the_oldest_supported_version_is_the_required_one() -> None:
    versions = supported()
    assert len(versions) >= 3
    assert versions == sorted(versions, key=lambda version: int(version.partition(".")[2]))
    assert release_check.pyproject()["requires-python"] == f">={versions[0]}"


def test_its_tests_are_there() -> None:
    assert [path for path in release_check.TESTS if not (ROOT / path).is_dir()] == []


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-image.lock", "requirements-dev.lock"])
def test_the_locks_have_pins(name: str) -> None:
    found = pins(ROOT / name)
    assert any(one.startswith("locust==") for one in found)
    assert len(found) > 40


def test_each_lock_file_is_checked_with_what_makes_it() -> None:
    found = release_check.lock_arguments()
    assert set(found) == {path.name for path in ROOT.glob("requirements*.lock")}
    for name, arguments in found.items():
        assert arguments[:2] == ["pip", "compile"]
        assert "--upgrade" not in arguments, name
        assert not {"-c", "-o"} & set(arguments), name
    image = found["requirements-image.lock"]
    named = [image[place + 1] for place, word in enumerate(image) if word == "--extra"]
    assert ",".join(named) == release_check.extras()
