"""What a path is: a file, something else, or an open descriptor of this process."""

from __future__ import annotations

import re
import stat
from pathlib import Path

_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/([0-9]{1,6})", re.ASCII)
_STANDARD_STREAMS = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
_KINDS = (
    (stat.S_ISDIR, "it is a folder; name a file"),
    (stat.S_ISFIFO, "it is a named pipe, not a file"),
    (stat.S_ISCHR, "it is a device, not a file"),
    (stat.S_ISBLK, "it is a device, not a file"),
    (stat.S_ISSOCK, "it is a socket, not a file"),
    (stat.S_ISLNK, "it is a link, not a file"),
)


def descriptor_of(path: Path) -> int | None:
    """The open descriptor that a path such as /dev/stdout or /dev/fd/63 means; None for every other path."""
    match = _DESCRIPTOR.fullmatch(str(path))
    return int(match[1]) if match else _STANDARD_STREAMS.get(str(path))


def kind_problem(mode: int) -> str:
    """Why what has this mode (st_mode) is not a regular file, as a clause; empty if it is one."""
    return next((clause for is_kind, clause in _KINDS if is_kind(mode)), "")
