"""Writes files. What cannot be written is one sentence for the user, a FileWriteError.

The functions named atomic replace a file: a reader sees the old content or the new content, never a part.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from harness.errors import FileWriteError


@contextmanager
def _sentence(path: Path) -> Iterator[None]:
    """Make an operating system error in the block a FileWriteError about `path`."""
    try:
        yield
    except OSError as problem:
        raise FileWriteError(f"cannot write {path}: {problem.strerror or problem}") from None


def _create_parent(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise FileWriteError(f"cannot write {path}: {path.parent} is not a folder") from None
    except OSError as problem:
        raise FileWriteError(f"cannot write {path}: {problem.strerror or problem}") from None


def ensure_writable(path: Path) -> None:
    """Check that `path` can be written, before work that may take an hour. Creates missing parent folders.

    Raises FileWriteError.
    """
    if path.is_dir():
        raise FileWriteError(f"cannot write {path}: it is a folder; name a file")
    _create_parent(path)
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise FileWriteError(f"cannot write {path}: no permission")


def write_text(path: Path, text: str) -> None:
    """Write a file in UTF-8. Creates missing parent folders. Raises FileWriteError."""
    _create_parent(path)
    with _sentence(path):
        path.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for the duration of the block. Raises FileWriteError if none can be created."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="harness-")
    except OSError as problem:
        raise FileWriteError(
            f"cannot create a temporary folder: {problem.strerror or problem}; set TMPDIR to a writable one"
        ) from None
    with folder as name:
        yield Path(name)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`. It replaces `path` when the block succeeds, and is removed when it fails.

    Raises FileWriteError when the file cannot be written.
    """
    # The suffix differs, so a collector that reads *.prom files ignores the temporary file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with _sentence(path):
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Yield a file to write to, which replaces `path` when the block succeeds. Creates missing parent folders.

    A device or a pipe, for example /dev/stdout, is not replaced but written to. Raises FileWriteError when the file
    cannot be written.
    """
    if path.exists() and not path.is_file():
        with _sentence(path), path.open("wb") as file:
            yield file
        return
    if path.is_symlink():
        path = path.resolve()  # the link stays
    _create_parent(path)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        yield file


def atomic_write_text(path: Path, text: str) -> None:
    """Replace the content of `path`, whose folder must exist. Raises FileWriteError."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def atomic_symlink(link: Path, target: str) -> None:
    """Point `link` to the folder `target`, replacing a link that exists. Raises FileWriteError."""
    with atomic_path(link) as temporary:
        temporary.symlink_to(target, target_is_directory=True)
