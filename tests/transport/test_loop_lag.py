from __future__ import annotations

import asyncio
from typing import ClassVar

from harness.transport.loop_lag import LoopLag
from harness.transport.pulse import Pulse
from tests.transport.servers import bounded


class Clock:
    """Jumps on demand, whatever the machine does."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


def test_only_what_is_overdue_counts_and_only_while_it_is_in_use() -> None:
    async def job() -> None:
        clock = Clock()
        lag = LoopLag(clock)
        clock.now_ns = 10**9
        assert lag.total_ns() == 0  # not in use
        lag.begin()
        clock.now_ns += 15_000_000
        assert lag.total_ns() == 0  # the beat is due after 20 ms
        clock.now_ns += 105_000_000
        assert lag.total_ns() == 100_000_000
        lag.begin()
        lag.end()
        assert lag.total_ns() == 100_000_000  # one user is left
        lag.end()
        clock.now_ns += 10**9
        assert lag.total_ns() == 100_000_000
        lag.begin()
        clock.now_ns += 50_000_000
        assert lag.total_ns() == 130_000_000
        lag.end()

    bounded(job())


def test_the_beat_goes_on() -> None:
    async def job() -> None:
        clock = Clock()
        lag = LoopLag(clock)
        lag.begin()
        clock.now_ns += 120_000_000
        while lag._due_ns == 20_000_000:  # noqa: ASYNC110 - until the loop has run the beat
            await asyncio.sleep(0.01)
        assert lag.total_ns() == 100_000_000
        clock.now_ns += 25_000_000
        assert lag.total_ns() == 105_000_000
        lag.end()

    bounded(job())


def test_a_pulse_gets_the_beats() -> None:
    class Counted(Pulse):
        calls: ClassVar[list[str]] = []

        def beat(self) -> None:
            self.calls.append("beat")

        def restart(self) -> None:
            self.calls.append("restart")

    async def job() -> None:
        lag = LoopLag(pulse=Counted())
        for _ in range(2):
            lag.begin()
            while Counted.calls[-1] != "beat":  # noqa: ASYNC110 - until the loop has run the beat
                await asyncio.sleep(0.01)
            lag.begin()
            assert Counted.calls[-1] == "beat"  # it goes on for the second user
            lag.end()
            lag.end()
        assert Counted.calls.count("restart") == 2

    bounded(job())
