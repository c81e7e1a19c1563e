"""Reads a trace: the arrival times of an open loop, from a file."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from harness.config.parsing import LONGEST_S
from harness.formatting import shown_path
from harness.input_file import TRACE_BYTES, read_text

_LINE = re.compile(r"[^\n]+")
_MAX_TIME_S = LONGEST_S  # a larger number is probably a Unix timestamp


def read_arrival_times(file: str) -> Sequence[float]:
    """The arrival times in a trace: seconds from the start, one per line, or in the first column of a CSV file.

    A first line without a digit in that column is a CSV header. Raises ValueError, which names the line, and
    SettingsError for a file that cannot be read.
    """
    try:
        stat = Path(file).stat()
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", problem)
        raise ValueError(f"cannot read the trace {shown_path(Path(file))}: {reason}") from None
    return _arrival_times(file, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1)  # a process loads the settings several times, and a trace can be long
def _arrival_times(file: str, _changed_ns: int, _size: int) -> array[float]:
    times_s = array("d")
    text = read_text(Path(file), "the trace", TRACE_BYTES)
    for number, line in _lines(text):
        column = line.partition(",")[0].strip().strip('"')
        if not line.strip() or (number == 1 and column and not re.search(r"[0-9]", column)):
            continue
        try:
            times_s.append(_arrival_time_s(column, times_s[-1] if times_s else 0.0))
        except ValueError as problem:
            raise ValueError(f"line {number} of the trace {shown_path(Path(file))}: {problem}") from None
    if not times_s:
        raise ValueError(
            f"the trace {shown_path(Path(file))} contains no arrival time; write one per line, in seconds"
        )
    return times_s


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that are not empty, with their numbers."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    number, counted_to = 1, 0
    for line in _LINE.finditer(text):
        number += text.count("\n", counted_to, line.start())
        counted_to = line.start()
        yield number, line[0]


def _arrival_time_s(text: str, before_s: float) -> float:
    try:
        time_s = float(text)
    except ValueError:
        raise ValueError(f"{text[:40]!r} is not a time; write seconds from the start") from None
    if not 0 <= time_s <= _MAX_TIME_S:  # NaN too
        raise ValueError(
            f"{text[:40]} is not a time in a test; write seconds from the start, from 0 to 7 days"
        )
    if time_s < before_s:
        raise ValueError(f"{text[:40]} follows {before_s:g}; sort the times in ascending order")
    return time_s
