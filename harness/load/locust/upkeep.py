"""Bounds what Locust keeps of a long test, and the time that it needs in the middle of one.

Locust counts requests by second and keeps every second, and a point of its charts every 5 s: some megabytes per hour
in the process that writes results. And when users are started or moved, a worker builds Locust's whole command-line
parser once for each setting that the master sends: a tenth of a second in which no stream is read, and megabytes that
wait for a garbage collection. When a test stops, it looks for the source line of its caller, and reads for that where
every imported module comes from: 50 ms or more in each process.
"""

from __future__ import annotations

import inspect
import traceback
from functools import cache
from types import FrameType, SimpleNamespace
from typing import Any

import gevent
from locust import argument_parser, runners
from locust.stats import RequestStats

SECONDS_KEPT = 60
"""Locust reads the last 12."""

POINTS_KEPT = 1000
"""Of its charts: more than an hour of them. From then on, every second one of all that there are is dropped."""

_EVERY_S = 10.0


def limit_locust(stats: RequestStats) -> None:
    """Keep Locust small and quick in this process from now on. stats: of its runner."""
    if not hasattr(argument_parser.default_args_dict, "cache_info"):
        argument_parser.default_args_dict = cache(argument_parser.default_args_dict)
    runners.inspect = SimpleNamespace(stack=_stack, getframeinfo=_frame_info)  # type: ignore[attr-defined,assignment]
    gevent.spawn(_trim_regularly, stats)


def _stack() -> list[tuple[FrameType]]:
    """The frames of inspect.stack in its caller, without their source text."""
    return [(frame,) for frame, _ in traceback.walk_stack(inspect.currentframe())][1:]


def _frame_info(frame: FrameType) -> SimpleNamespace:
    return SimpleNamespace(filename=frame.f_code.co_filename, lineno=frame.f_lineno)


def _trim_regularly(stats: RequestStats) -> None:
    while True:
        gevent.sleep(_EVERY_S)
        trim(stats)


def trim(stats: RequestStats) -> None:
    """Drop the counts of all but the newest seconds, and points of the charts if there are too many."""
    for entry in (stats.total, *stats.entries.values()):
        _keep_newest(entry.num_reqs_per_sec)
        _keep_newest(entry.num_fail_per_sec)
    history: list[Any] = stats.history
    if len(history) > POINTS_KEPT:
        del history[1::2]


def _keep_newest(by_second: dict[int, int]) -> None:
    if len(by_second) > SECONDS_KEPT:
        for second in sorted(by_second)[:-SECONDS_KEPT]:
            del by_second[second]
