"""Event ids of the form ``<milliseconds>-<sequence>``, ordered as a pair of numbers, not as text."""

from __future__ import annotations

import re
from typing import NamedTuple, Self

MAX_DIGITS = 300  # more than any clock or counter has, and few enough for a float
_FORM = re.compile(rf"([0-9]{{1,{MAX_DIGITS}}})-([0-9]{{1,{MAX_DIGITS}}})", re.ASCII)


class StreamId(NamedTuple):
    """One event's id. Compares numerically: ``5-9 < 5-10``."""

    ms: int
    seq: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse an id.

        Raises ValueError unless `text` is two decimal numbers of at most MAX_DIGITS digits, joined by a hyphen.
        """
        match = _FORM.fullmatch(text)
        if match is None:
            raise ValueError(f"id {text!r} is not of the form <milliseconds>-<sequence>")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}"


_LENIENT_FORM = re.compile(r"([0-9]{1,40})(?:-([0-9]{1,40}))?", re.ASCII)


def read_leniently(text: str) -> StreamId | None:
    """What a server that is not strict may take `text` for: numbers of any size, and 0 for a missing sequence number.

    None if no number can be read.
    """
    match = _LENIENT_FORM.fullmatch(text)
    return None if match is None else StreamId(int(match[1]), int(match[2] or 0))
