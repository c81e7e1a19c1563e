"""Writes files, never through a link. What cannot be written is one sentence for the user, a FileWriteError.

A file is written under a new name in its folder, created for this purpose only, and then takes the place of the old
one: a reader sees the old content or the new content, never a part; a full disk leaves the old content.

A folder in the path may be a link, like `harness-results/latest`. The file itself may not: in a folder of results from
an unknown source, a link decides what is overwritten. Other hard links to the file keep the old content. Devices and
pipes in the path, such as `/dev/stdout`, are written to directly.
"""

from __future__ import annotations

import errno
import io
import os
import secrets
import select
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from harness.errors import FileWriteError
from harness.file_kinds import descriptor_of, kind_problem

PIPE_TIMEOUT_S = 10.0
"""How long a pipe may have no reader, or a reader that does not read."""

_POLL_S = 0.05
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL  # follows no link


@contextmanager
def _sentence(path: Path) -> Iterator[None]:
    """Make an operating system error in the block a FileWriteError about `path`."""
    try:
        yield
    except OSError as problem:
        raise FileWriteError(f"cannot write {path}: {problem.strerror or problem}") from None
    except ValueError as problem:  # a NUL character in the name
        if "null" not in str(problem):
            raise
        raise FileWriteError(f"cannot write {str(path)!r}: its name contains a NUL character") from None


def create_folder(folder: Path, path: Path) -> None:
    """Create a folder and its parents, if missing. path: of the file to write there, for messages.

    Raises FileWriteError.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise FileWriteError(f"cannot write {path}: {folder} is not a folder") from None
    except (OSError, ValueError) as problem:
        raise FileWriteError(f"cannot write {path}: {getattr(problem, 'strerror', problem)}") from None


def ensure_no_link(path: Path) -> None:
    """Raise FileWriteError if the last part of `path` is a link: a file behind a link is never written to."""
    with _sentence(path):
        if path.is_symlink():
            where = path.readlink()
            raise FileWriteError(
                f"cannot write {path}: it is a link to {where}; remove the link, or name a different file"
            )


def ensure_writable(path: Path) -> None:
    """Check that `path` can be written, before work that may take an hour. Creates missing parent folders.

    Raises FileWriteError.
    """
    if descriptor_of(path) is not None:
        return
    ensure_no_link(path)
    if path.is_dir():
        raise FileWriteError(f"cannot write {path}: it is a folder; name a file")
    create_folder(path.parent, path)
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise FileWriteError(f"cannot write {path}: no permission")
    if path.exists() and not path.is_file():
        return  # a device or a pipe
    with _sentence(path):
        draft, descriptor = _create_draft(path)
        os.close(descriptor)
        draft.unlink()


def write_text(path: Path, text: str) -> None:
    """Replace a file's content, in UTF-8. Creates missing parent folders. Raises FileWriteError."""
    with atomic_write(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


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


def _draft_path(path: Path) -> Path:
    """A name that no one knows before. The suffix differs, so a collector that reads *.prom files ignores it."""
    return path.with_name(f".harness-{secrets.token_hex(8)}.tmp")


def _create_draft(path: Path) -> tuple[Path, int]:
    """An empty file next to `path`, and its descriptor. It has the mode of the file that it will replace."""
    draft = _draft_path(path)
    descriptor = os.open(draft, _CREATE, 0o666)
    with suppress(OSError):  # no file to replace, or a file system without modes
        os.fchmod(descriptor, stat.S_IMODE(os.lstat(path).st_mode))
    return draft, descriptor


@contextmanager
def _replacing(path: Path, draft: Path) -> Iterator[None]:
    """In the block, `draft` is written. It replaces `path` when the block succeeds, and is removed when it fails."""
    try:
        yield
        draft.replace(path)
    finally:
        with suppress(OSError):  # the folder may have gone; what went wrong before is what counts
            draft.unlink(missing_ok=True)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield the path of an empty file next to `path`, which replaces `path` when the block succeeds.

    Raises FileWriteError when the file cannot be written.
    """
    ensure_no_link(path)
    with _sentence(path):
        draft, descriptor = _create_draft(path)
        os.close(descriptor)
        with _replacing(path, draft):
            yield draft


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Yield a file to write to, which replaces `path` when the block succeeds. Creates missing parent folders.

    A device or a pipe, for example /dev/stdout, is not replaced but written to. Raises FileWriteError when the file
    cannot be written.
    """
    number = descriptor_of(path)
    if number is not None:
        with _sentence(path), os.fdopen(os.dup(number), "wb") as file:
            yield file
        return
    ensure_no_link(path)
    create_folder(path.parent, path)
    with _sentence(path):
        mode = os.lstat(path).st_mode if os.path.lexists(path) else stat.S_IFREG
        if not stat.S_ISREG(mode):
            with _open_special(path, mode) as file:
                yield file
            return
        draft, descriptor = _create_draft(path)
        with _replacing(path, draft), os.fdopen(descriptor, "wb") as file:
            yield file


def atomic_write_text(path: Path, text: str) -> None:
    """Replace the content of `path`, whose folder must exist. Raises FileWriteError."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def atomic_symlink(link: Path, target: str) -> None:
    """Point `link` to the folder `target`, replacing a link that exists. Raises FileWriteError."""
    draft = _draft_path(link)
    with _sentence(link), _replacing(link, draft):
        draft.symlink_to(target, target_is_directory=True)


def open_log(path: Path) -> BinaryIO:
    """A new file that is written to while a test runs, in place of an old one. Raises FileWriteError."""
    ensure_no_link(path)
    with _sentence(path):
        path.unlink(missing_ok=True)
        return os.fdopen(os.open(path, _CREATE, 0o666), "wb")


def _open_special(path: Path, mode: int) -> BinaryIO:
    """Open a device or a pipe to write to. Raises OSError, also if a pipe has no reader in time."""
    if stat.S_ISFIFO(mode):
        return cast("BinaryIO", io.BufferedWriter(_Pipe(path)))
    if stat.S_ISCHR(mode):
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NOCTTY), "wb")
    raise OSError(errno.EINVAL, kind_problem(mode))


class _Pipe(io.RawIOBase):
    """A named pipe to write to. A missing reader, or one that does not read, is a TimeoutError, not a wait forever."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._number = self._open(path)

    @staticmethod
    def _open(path: Path) -> int:
        deadline_s = time.monotonic() + PIPE_TIMEOUT_S
        while True:
            try:
                return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
            except OSError as problem:
                if problem.errno != errno.ENXIO:
                    raise
            if time.monotonic() > deadline_s:
                raise TimeoutError(errno.ETIMEDOUT, f"no one has read the pipe for {PIPE_TIMEOUT_S:g} s")
            time.sleep(_POLL_S)

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        _, ready, _ = select.select([], [self._number], [], PIPE_TIMEOUT_S)
        if not ready:
            raise TimeoutError(errno.ETIMEDOUT, f"no one has read the pipe for {PIPE_TIMEOUT_S:g} s")
        return os.write(self._number, data)

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._number)
