"""Files that appear whole or not at all: whoever reads one at any moment reads no half of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from harness.errors import FileWriteError


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes its place when the block ends well and is removed when it does not.

    Raises FileWriteError when it cannot be written.
    """
    # The name ends otherwise: a collector that reads *.prom files must not take it for one.
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with draft.open("wb") as file:
                yield file
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as problem:
        raise FileWriteError(f"cannot write {path}: {problem.strerror or problem}") from None
