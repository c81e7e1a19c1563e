"""Reads a trace: the arrival times of an open loop, from a file."""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

_LONGEST_TRACE_S = 8_640_000.0  # what is later is no time in a test, but likely one since 1970


def read_arrival_times(file: str) -> Sequence[float]:
    """The arrival times in a trace: seconds from the start, one a line, or the first column of a CSV file.

    A first line without a digit in that column is a CSV header. Raises ValueError that names the line.
    """
    try:
        stat = Path(file).stat()
        return _arrival_times(file, stat.st_mtime_ns, stat.st_size)
    except OSError as problem:
        raise ValueError(f"cannot read the trace {file}: {problem.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"the trace {file} is no text in UTF-8") from None


@lru_cache(maxsize=1)  # settings are gathered several times in a process, and a trace may be long
def _arrival_times(file: str, _changed_ns: int, _size: int) -> array[float]:
    times_s = array("d")
    with Path(file).open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            text = line.partition(",")[0].strip().strip('"')
            if not line.strip() or (number == 1 and text and not re.search(r"[0-9]", text)):
                continue
            try:
                times_s.append(_arrival_time_s(text, times_s[-1] if times_s else 0.0))
            except ValueError as problem:
                raise ValueError(f"line {number} of the trace {file}: {problem}") from None
    if not times_s:
        raise ValueError(f"the trace {file} holds no arrival time; write one a line, in seconds")
    return times_s


def _arrival_time_s(text: str, before_s: float) -> float:
    try:
        time_s = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time; write seconds from the start") from None
    if not 0 <= time_s <= _LONGEST_TRACE_S:  # NaN too
        raise ValueError(f"{text} is no time in a test; write seconds from the start, from 0 to 100 days")
    if time_s < before_s:
        raise ValueError(f"{text} comes after {before_s:g}; sort the times, which must never fall")
    return time_s
