"""Checks of many lines of a regular stream at once: their ends, that ids strictly increase, that data are tokens."""

from __future__ import annotations

import operator
import re
from bisect import bisect_right
from collections.abc import Sequence

import msgspec

from harness.contract.decoding.frame_template import FastPathError, FrameTemplate
from harness.profiles.workflow_actions.event_id import StreamId
from harness.protocol.strict_json import PORTABLE_DIGITS, loads_strict

_ID = re.compile(rb"([0-9]{1,20})-([0-9]{1,20})")
_SPACED_COLON = re.compile(rb'"[ \t]+:')
_DIGITS = b"0123456789"
#: Limit for a data line with undocumented keys: a number in it may have more digits than strict JSON allows.
_MAX_EXTRA_BYTES = PORTABLE_DIGITS


def check_line_ends(text: bytes, newline: bytes) -> None:
    """Raises FastPathError if a line of `text` ends in another way than with `newline`."""
    if newline == b"\n":
        if b"\r" in text:
            raise FastPathError("a CR in a stream with LF line ends")
    elif not text.count(b"\r") == text.count(b"\n") == text.count(newline):
        raise FastPathError("mixed line ends")


def check_utf8(frames: bytes) -> None:
    """Raises FastPathError if these bytes are not UTF-8."""
    try:
        frames.decode("utf-8")
    except UnicodeDecodeError:
        raise FastPathError("not UTF-8") from None


def check_lines(frames: bytes, newline: bytes) -> None:
    """Raises FastPathError if these frames have other line ends, or are not UTF-8."""
    check_line_ends(frames, newline)
    if not frames.isascii():
        check_utf8(frames)


def without_comments(frames: bytes, newline: bytes) -> bytes:
    """The frames without those that are only comments. Raises FastPathError if a comment is inside another one."""
    blank = newline + newline
    kept = []
    for frame in frames.split(blank):
        if not frame.startswith(b":"):
            kept.append(frame)
        elif not all(line.startswith(b":") for line in frame.split(newline)):
            raise FastPathError("a comment inside a frame")
    return blank.join(kept)


def stream_id_in(line: bytes, prefix: bytes) -> StreamId:
    """The id in an id line. Raises FastPathError."""
    match = _ID.fullmatch(line, len(prefix)) if line.startswith(prefix) else None
    if match is None:
        raise FastPathError("an id is not of the form <ms>-<seq>")
    return StreamId(int(match[1]), int(match[2]))


def ids_increase(ids: list[bytes], prefix: bytes, *, formed: bool = False) -> bool:
    """Whether the ids in these lines strictly increase. formed: they are known to be ids. Raises FastPathError."""
    widths = list(map(len, ids))
    if widths == sorted(widths):  # true for nearly every batch: compare all lines of one width at once
        last = None
        start = 0
        while start < len(ids):
            end = bisect_right(widths, widths[start], start)
            if last is not None or not formed:
                first = stream_id_in(ids[start], prefix)
                if last is not None and first <= last:
                    break
            if not _increase_in_fixed_width(ids[start:end], prefix, formed=formed):
                break
            if end < len(ids) or not formed:
                last = stream_id_in(ids[end - 1], prefix)
            start = end
        else:
            return True
    numbers = [stream_id_in(line, prefix) for line in ids]
    return all(map(operator.lt, numbers, numbers[1:]))


def _increase_in_fixed_width(ids: list[bytes], prefix: bytes, *, formed: bool) -> bool:
    """Whether ids of one width strictly increase: with the dash in the same column, they sort as text.

    The first line is known to be an id.
    """
    if not all(map(operator.lt, ids, ids[1:])):
        return False
    width, count = len(ids[0]), len(ids)
    dash = ids[0].index(b"-")
    if formed and ids[-1].startswith(ids[0][: dash + 1]):  # as text, all others are between these two
        return True
    block = b"\n".join(ids)
    return block[dash :: width + 1] == b"-" * count and (formed or _have_only_digits(block, prefix, count))


def _have_only_digits(block: bytes, prefix: bytes, count: int) -> bool:
    """Whether these lines consist of the prefix, a dash and digits."""
    return (
        block.count(b"\n" + prefix) == count - 1
        and block.translate(None, _DIGITS) == ((prefix + b"-\n") * count)[:-1]
    )


def count_tokens(data: Sequence[bytes], template: FrameTemplate) -> int | None:
    """The number of tokens with content; None if any line is not a token with exactly the template's keys."""
    prefix = template.prefixes[template.data_at]
    if template.key_count > 2 and max(map(len, data)) > _MAX_EXTRA_BYTES:
        return None
    try:
        if len(data) == 1:
            if not data[0].startswith(prefix + b"{"):
                return None
            text = data[0][len(prefix) :]
            tokens = [template.decode(text)]
        else:
            lines = b"\n" + b"\n".join(data)
            text = lines.replace(b"\n" + prefix, b"\n")
            if len(lines) - len(text) != len(data) * len(prefix) or not _has_one_object_per_line(
                text, len(data)
            ):
                return None
            tokens = template.decode_lines(text)
            if len(tokens) != len(data):
                return None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if _may_have_duplicate_keys(text, len(data) * template.key_count) and not _are_strict(data, prefix):
        return None
    if b'""' not in text:  # an empty string would be written like this
        return len(tokens)
    return sum(1 for token in tokens if token.content)


def _has_one_object_per_line(text: bytes, count: int) -> bool:
    """Whether each line starts and ends like an object, so no value continues on the next line."""
    return text.startswith(b"\n{") and text.endswith(b"}") and text.count(b"}\n{") == count - 1


def _may_have_duplicate_keys(text: bytes, keys: int) -> bool:
    """Whether objects with `keys` distinct keys in total may repeat one: False only if no more colons follow quotes."""
    if text.count(b'":') != keys:
        return True
    return (b" :" in text or b"\t:" in text) and _SPACED_COLON.search(text) is not None


def _are_strict(data: Sequence[bytes], prefix: bytes) -> bool:
    try:
        for line in data:
            loads_strict(line[len(prefix) :].decode("utf-8"))
    except ValueError:
        return False
    return True
