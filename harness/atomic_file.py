"""Replaces files atomically: a reader sees the old content or the new content, never a part."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from harness.errors import FileWriteError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`. It replaces `path` when the block succeeds, and is removed when it fails.

    Raises FileWriteError when the file cannot be written.
    """
    # The suffix differs, so a collector that reads *.prom files ignores the temporary file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as problem:
        raise FileWriteError(f"cannot write {path}: {problem.strerror or problem}") from None


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Yield a file to write to, which replaces `path` when the block succeeds. Creates missing parent folders.

    Raises FileWriteError when the file cannot be written.
    """
    with atomic_path(path) as temporary:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            yield file


def atomic_write_text(path: Path, text: str) -> None:
    """Replace the content of `path`, whose folder must exist. Raises FileWriteError."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def atomic_symlink(link: Path, target: str) -> None:
    """Point `link` to the folder `target`, replacing a link that exists. Raises FileWriteError."""
    with atomic_path(link) as temporary:
        temporary.symlink_to(target, target_is_directory=True)
