"""Reads the text files that a user names: settings, tokens, traces, lists, commands. Every verb reads them here.

Such a file may be from an unknown source, or the wrong one: it is read only if it is a regular file of UTF-8 text, and
up to a limit of its size. What cannot be read is one sentence for the user, a SettingsError.
"""

from __future__ import annotations

import os
import re
import select
import stat
import time
import tomllib
from pathlib import Path
from typing import Any

from harness.errors import SettingsError
from harness.file_kinds import descriptor_of, kind_problem
from harness.formatting import shortened

TOKEN_BYTES = 64 * 1024
"""The longest token file. Servers accept header fields of 8 to 64 KiB."""
SETTINGS_BYTES = 1024 * 1024
"""The longest settings file, list of known failures, or curl command with its body."""
CERTIFICATES_BYTES = 8 * 1024 * 1024
"""The longest file of certificates; those of operating systems have 0.2 to 1 MiB."""
TRACE_BYTES = 64 * 1024 * 1024
"""The longest trace: about five million arrivals."""

PIPE_TIMEOUT_S = 60.0
"""How long a pipe may take: a password manager behind it may ask the user first."""
NESTED_AT_MOST = 64
"""The deepest nesting of tables and lists in TOML, and the most parts of a dotted key."""

_READ_BYTES = 1024 * 1024
_KEY = r"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')"""
_MORE = rf"(?:[ \t]*\.[ \t]*{_KEY})"
# A line of a long text may begin like a key; that with a thousand parts takes long to read, whatever follows.
_LONG_KEY = re.compile(
    rf"(?:^|[\[{{,])[ \t]*{_KEY}(?:{_MORE}{{1000}}|{_MORE}{{{NESTED_AT_MOST},}}[ \t]*[=\]])", re.MULTILINE
)


def read_text(path: Path, what: str, limit_bytes: int, *, piped: bool = False) -> str:
    """The text of a file, without a byte order mark.

    what: for messages, for example "the token file". piped: whether the path may also be an open pipe of this process,
    as /dev/stdin and a shell's <(command) are. Raises SettingsError.
    """
    return _decoded(_read_bounded(path, what, limit_bytes, piped=piped), f"{what} {path}")


def ensure_readable(path: Path, what: str, limit_bytes: int) -> None:
    """Check a file that a library will read by its name. Raises SettingsError as read_text, but not for its content."""
    _read_bounded(path, what, limit_bytes, piped=False)


def _read_bounded(path: Path, what: str, limit_bytes: int, *, piped: bool) -> bytes:
    try:
        data = _read(path, limit_bytes, piped=piped)
    except (OSError, ValueError) as problem:  # ValueError: a NUL character in the name
        raise SettingsError(f"cannot read {what} {path}: {_reason(problem)}") from None
    if len(data) > limit_bytes:
        raise SettingsError(
            f"cannot read {what} {path}: it is larger than {_size(limit_bytes)}, the most that is read"
        )
    return data


def read_bytes(path: Path, what: str, limit_bytes: int) -> bytes:
    """The content of a regular file. Arguments and errors: as read_text."""
    return _read_bounded(path, what, limit_bytes, piped=False)


def read_toml(path: Path, what: str, *, piped: bool = False) -> dict[str, Any]:
    """The document in a TOML file of at most SETTINGS_BYTES. Arguments and errors: as read_text."""
    verb = "are" if what.endswith("s") else "is"
    return parse_toml(read_text(path, what, SETTINGS_BYTES, piped=piped), f"{what} {path} {verb}")


def parse_toml(text: str, subject: str) -> dict[str, Any]:
    """The document in a TOML text.

    subject: the first words of a message, for example "the profile mine.toml is". Raises SettingsError.
    """
    if _LONG_KEY.search(text):
        raise SettingsError(f"{subject} not usable: a key has more than {NESTED_AT_MOST} parts")
    try:
        document = tomllib.loads(text)
    except RecursionError:
        document = {"": None}
        too_deep = True
    except ValueError as problem:  # not only TOMLDecodeError: a number of 5,000 digits, the 31st of February
        raise SettingsError(f"{subject} not valid TOML: {shortened(str(problem), 300)}") from None
    else:
        too_deep = is_deeper(document, NESTED_AT_MOST)
    if too_deep:
        raise SettingsError(f"{subject} not usable: nested more than {NESTED_AT_MOST} levels deep")
    return document


def _read(path: Path, limit_bytes: int, *, piped: bool) -> bytes:
    """At most one byte more than the limit. Raises OSError, and ValueError with a clause."""
    number = descriptor_of(path) if piped else None
    if number is not None:
        descriptor = os.dup(number)
        is_pipe = not stat.S_ISREG(os.fstat(descriptor).st_mode)
    else:
        _require_regular(path.stat().st_mode)  # before opening: that alone may have an effect on a device
        # Without waiting: a pipe may have taken the file's place, and files of /proc may have nothing to read yet.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        is_pipe = False
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        mode = os.fstat(descriptor).st_mode
        if number is None or not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
            _require_regular(mode)
        deadline_s = time.monotonic() + PIPE_TIMEOUT_S
        data = bytearray()
        while len(data) <= limit_bytes:
            if is_pipe and not _is_readable(descriptor, deadline_s):
                raise TimeoutError(f"the pipe was not closed within {PIPE_TIMEOUT_S:g} s")
            some = file.read(min(_READ_BYTES, limit_bytes + 1 - len(data)))
            if some is None:
                raise BlockingIOError("it has nothing to read")
            if not some:
                break
            data += some
    return bytes(data)


def _require_regular(mode: int) -> None:
    if clause := kind_problem(mode):
        raise ValueError(clause)


def _is_readable(descriptor: int, deadline_s: float) -> bool:
    ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline_s - time.monotonic()))
    return bool(ready)


def _decoded(data: bytes, which: str) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SettingsError(f"{which} is not UTF-8 text: it begins like UTF-16; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise SettingsError(
            f"{which} is not UTF-8 text: the byte at offset {problem.start} is 0x{data[problem.start]:02x}"
        ) from None
    place = text.find("\0")
    if place >= 0:
        line = text.count("\n", 0, place) + 1
        raise SettingsError(f"{which} is not text: line {line} contains a NUL character")
    return text


def is_deeper(value: Any, levels: int) -> bool:
    """Whether lists and dicts are nested in each other more than `levels` deep."""
    level: list[Any] = [value]
    for _ in range(levels + 1):
        level = [member for member in level if isinstance(member, dict | list)]
        if not level:
            return False
        level = [
            member
            for container in level
            for member in (container.values() if isinstance(container, dict) else container)
        ]
    return True


def _reason(problem: Exception) -> str:
    return str(getattr(problem, "strerror", None) or problem).replace(
        "embedded null byte", "a NUL in its name"
    )


def _size(size_bytes: int) -> str:
    return f"{size_bytes // 1024 // 1024} MiB" if size_bytes >= 1024 * 1024 else f"{size_bytes // 1024} KiB"
