"""What a 429 or 503 asks for, and how fast the suite sends after one."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from harness.contract.exchange import Exchange
from harness.suite.throttle import Throttle, retry_after_s
from tests.cases import all_cases
from tests.contract.exchanges import reply
from tests.transport.servers import bounded


class Clock:
    """A clock that moves only while the throttle waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        monkeypatch.setattr(asyncio, "sleep", self._sleep)

    def __call__(self) -> float:
        return self.now_s

    async def _sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def refusing(status: int, retry_after: str = "2") -> Exchange:
    return reply(status, headers={"Retry-After": retry_after})


def test_a_date_counts_from_the_servers_own_clock() -> None:
    """Its clock may be wrong by hours."""
    its_now = datetime.now(UTC) - timedelta(hours=5)
    headers = {
        "Date": format_datetime(its_now, usegmt=True),
        "Retry-After": format_datetime(its_now + timedelta(seconds=7), usegmt=True),
    }
    assert retry_after_s(reply(429, headers=headers)) == 7


@all_cases(
    ("asked", "waited_s"),
    [
        ("0", 0),
        ("7", 7),
        ("31", 30),
        ("60", 30),
        ("61", 5),
        ("9" * 5000, 5),
        ("\u00b2", 1),
        ("-7", 1),
        ("1.5", 1),
        ("soon", 1),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 5),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 1),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 0),
        ("Sun, 06 Nov 1994 08:49:37 +99999999999999999999", 1),
    ],
)
def test_how_long_a_wait_may_be(asked: str, waited_s: float) -> None:
    assert retry_after_s(refusing(503, asked)) == waited_s


def test_nothing_is_delayed_before_the_first_429(clock: Clock) -> None:
    async def job() -> None:
        throttle = Throttle(clock)
        for _ in range(50):
            await throttle.turn(20)
        assert clock.now_s == 100

    asyncio.run(job())


def test_a_429_blocks_all_and_then_slows_down(clock: Clock) -> None:
    async def job() -> None:
        throttle = Throttle(clock)
        throttle.accepted()
        await throttle.rejected(refusing(429))
        assert clock.now_s == 102
        starts = []
        for _ in range(4):
            await throttle.turn()
            starts.append(round(clock.now_s - 102, 3))
        assert starts == [0, 0.05, 0.1, 0.15]
        await throttle.turn(5)  # a burst waits until five could have been sent
        assert round(clock.now_s - 102, 3) == 0.4
        for _ in range(1000):
            throttle.accepted()
        assert not throttle.is_active

    asyncio.run(job())


def test_a_single_503_slows_nothing_down_and_several_do(clock: Clock) -> None:
    async def job() -> None:
        throttle = Throttle(clock)
        for _ in range(5):
            await throttle.rejected(refusing(503))
            assert not throttle.is_active
            for _ in range(39):
                throttle.accepted()
        await throttle.rejected(refusing(503))
        await throttle.rejected(refusing(503))
        assert throttle.is_active

    asyncio.run(job())


def test_a_target_that_accepts_nothing_for_long_is_given_up(clock: Clock) -> None:
    async def job() -> None:
        throttle = Throttle(clock)
        throttle.accepted()
        refused = 0
        while not throttle.gave_up and refused < 100:
            await throttle.rejected(refusing(429))
            refused += 1
        assert (refused, throttle.is_active) == (20, False)

    bounded(job())


def test_nothing_is_delayed_for_a_target_that_accepts_nothing_any_more(clock: Clock) -> None:
    async def job() -> None:
        throttle = Throttle(clock)
        await throttle.rejected(refusing(429))
        throttle.gave_up = True
        await throttle.turn()
        assert clock.now_s == 102
        throttle.accepted()
        assert not throttle.gave_up

    bounded(job())


def test_a_limit_on_bursts_does_not_slow_the_pace(clock: Clock) -> None:
    async def job() -> None:
        throttle = Throttle(clock)
        for _ in range(20):
            await throttle.rejected(refusing(429), in_burst=True)
            throttle.accepted()
        before_s = clock.now_s
        await throttle.turn()
        await throttle.turn()
        assert clock.now_s - before_s < 0.05

    asyncio.run(job())


def test_a_wait_ends_when_nothing_is_throttled_any_more(clock: Clock) -> None:
    """Many requests wait for their turn; the target turns out to accept nothing at all."""

    async def job() -> None:
        throttle = Throttle(clock)
        for _ in range(20):
            await throttle.rejected(refusing(429))
        waiting = [asyncio.create_task(throttle.turn()) for _ in range(50)]
        await asyncio.sleep(0)
        throttle.gave_up = True
        before_s = clock.now_s
        await asyncio.gather(*waiting)
        assert clock.now_s - before_s < 20

    asyncio.run(job())


@pytest.mark.parametrize("problem", [ValueError, OverflowError, TypeError, IndexError])
def test_whatever_a_date_makes_the_library_raise_it_is_no_date(
    monkeypatch: pytest.MonkeyPatch, problem: type[Exception]
) -> None:
    """Which it is depends on the version of Python."""

    def raising(_: str) -> None:
        raise problem

    monkeypatch.setattr("harness.protocol.http_date.parsedate_to_datetime", raising)
    assert retry_after_s(refusing(503, "Fri, 1 Jan 2027 00:00:00 GMT")) == 1
