"""What a process of the load keeps of a stream that has ended: nothing. In a day it reads millions of them."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from harness.load.journeys.builtin import JOURNEYS
from tests.load.journeys.rig import JourneyRig, journey_rig
from tests.load.run_server import HEAD

STREAMS = 80
"""Enough to fill every cache that is small. What keeps more than so many heads keeps as many of large ones."""

KEPT_BYTES = 600
"""Of each stream: caches of libraries are still filling. One response head takes more than a kilobyte."""


def unlike_any_other(padding: int) -> Callable[[], bytes]:
    """A head for each stream, as servers send them: with the time, and an id of the request."""
    numbers = count()

    def head() -> bytes:
        return HEAD.replace(b"\r\n\r\n", b"\r\nX-Request-Id: %0*d\r\n\r\n" % (padding, next(numbers)))

    return head


def traced_after(rig: JourneyRig) -> int:
    """Bytes that are allocated after STREAMS more streams."""
    for _ in range(STREAMS):
        JOURNEYS["fresh"](rig.runner, None)
    assert rig.server is not None
    rig.server.runs.clear()
    rig.server.received.clear()
    rig.finalized.clear()
    assert len(rig.collector.take().rows) == STREAMS
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.parametrize("padding", [8, 5000])
def test_a_process_keeps_nothing_of_its_streams(tmp_path: Path, padding: int) -> None:
    with journey_rig(tmp_path, head=unlike_any_other(padding), tokens=2, gap_s=0.0) as rig:
        tracemalloc.start(1)
        try:
            traced_after(rig)  # fills the caches
            before = traced_after(rig)
            assert (traced_after(rig) - before) / STREAMS < KEPT_BYTES
        finally:
            tracemalloc.stop()
