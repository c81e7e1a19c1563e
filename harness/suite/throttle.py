"""Targets that limit requests: what a 429 or 503 asks for, and how fast the suite may send.

RFC 6585, 4 and RFC 9110, 15.6.4: both statuses are temporary, and Retry-After says how long to wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

from harness.contract.exchange import Exchange
from harness.protocol.http_date import http_date

_UNAVAILABLE = 503
MAX_WAIT_S = 30.0
_BELIEVED_S = 60.0  # a server that asks for more is asked again soon: no test can wait that long
_BRIEF_WAIT_S = 5.0
_DEFAULT_WAIT_S = 1.0
_FIRST_GAP_S = 0.05
_LONGEST_GAP_S = 1.0
_SLOWER, _FASTER = 1.4, 0.98
_NO_GAP_S = 0.01
_RECHECK_S = 0.25
_MANY, _LONG_S, _WAITS = 20, 10.0, 4  # refusals in a row, time, and waits of Retry-After, until it gives up
_MEMORY = 0.9  # weight of the past in the share of refused requests
_OVERLOADED = 0.15  # two 503 shortly after each other; a single one says nothing about the pace


def retry_after_s(response: Exchange) -> float:
    """The wait before a request is sent again, in seconds: as Retry-After says, at most 30, and 1 without a valid one.

    If it says more than a minute, 5 s: nobody waits that long, and the server may not mean it. A date counts from the
    response's own Date, so the clocks need not agree.
    """
    asked_s = _asked_s(response)
    return min(asked_s, MAX_WAIT_S) if asked_s <= _BELIEVED_S else _BRIEF_WAIT_S


def _asked_s(response: Exchange) -> float:
    value = _header(response, "retry-after")
    if value.isascii() and value.strip().isdigit():
        return float(value)
    until = http_date(value)
    if until is None:
        return _DEFAULT_WAIT_S
    now = http_date(_header(response, "date")) or datetime.now(UTC)
    return max(0.0, (until - now).total_seconds())


def _header(response: Exchange, name: str) -> str:
    return (response.head.value(name) if response.head else None) or ""


class Throttle:
    """Paces the requests to a target that has answered 429 or 503. Until then it delays nothing.

    The gap between requests grows with each 429 or 503 and shrinks slowly with each accepted request, so that it comes
    close to what the target allows. gave_up: the target accepts nothing any more; nothing is delayed then.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.has_accepted = False
        self.gave_up = False
        self._clock = clock
        self._share = 0.0  # of refused requests, recently
        self._refused_in_a_row = 0
        self._accepted_s = 0.0
        self._gap_s = 0.0
        self._free_s = 0.0  # when the next request may be sent
        self._blocked_until_s = 0.0
        self._slowed_ns = 0
        self._waiting = 0
        self._waiting_since_s = 0.0
        self._waited_s = 0.0

    @property
    def is_active(self) -> bool:
        """Whether requests are delayed."""
        return self._gap_s > 0 and not self.gave_up

    async def turn(self, count: int = 1) -> None:
        """Wait until `count` requests may be sent at once; no longer than the target is throttled."""
        while self.is_active:
            now_s = self._clock()
            at_s = max(self._free_s, self._blocked_until_s) + self._gap_s * (count - 1)
            if at_s <= now_s:
                self._free_s = now_s + self._gap_s
                return
            # In steps, because a longer wait may turn out to be needless.
            await self._wait(min(at_s - now_s, _RECHECK_S))

    def reset(self) -> None:
        """Delay nothing until the next 429 or 503: the earlier ones were answers to certain requests."""
        self._share = self._gap_s = self._blocked_until_s = 0.0

    def accepted(self) -> None:
        """A request got a response other than 429 and 503."""
        self.has_accepted, self.gave_up = True, False
        self._refused_in_a_row = 0
        self._accepted_s = self._clock()
        self._share *= _MEMORY
        self._gap_s *= _FASTER
        if self._gap_s < _NO_GAP_S:
            self._gap_s = 0.0

    async def rejected(self, response: Exchange, *, in_burst: bool = False) -> None:
        """A request got 429 or 503: wait as long as it says. A 429, or several 503, slow down all requests.

        in_burst: it was sent together with others. A limit on bursts refuses them at any pace, so they only wait.
        """
        wait_s = retry_after_s(response)
        self._refused_in_a_row += 1
        refused_s = self._clock() - self._accepted_s
        if (
            self.has_accepted
            and self._refused_in_a_row >= _MANY
            and refused_s > max(_LONG_S, _WAITS * wait_s)
        ):
            self.gave_up = True
        self._share = self._share * _MEMORY + 1 - _MEMORY
        if response.status != _UNAVAILABLE or self._share > _OVERLOADED:
            self._slow_down(wait_s, response.timing.started_ns, faster_than_allowed=not in_burst)
        await self._wait(wait_s)

    def put_off_s(self) -> float:
        """For how long at least one request has waited, in all; seconds."""
        now_s = self._clock() if self._waiting else self._waiting_since_s
        return self._waited_s + now_s - self._waiting_since_s

    async def _wait(self, seconds: float) -> None:
        if not self._waiting:
            self._waiting_since_s = self._clock()
        self._waiting += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._waited_s += self._clock() - self._waiting_since_s
                self._waiting_since_s = self._clock()

    def _slow_down(self, wait_s: float, sent_ns: int, *, faster_than_allowed: bool) -> None:
        self._blocked_until_s = max(self._blocked_until_s, self._clock() + wait_s)
        self._gap_s = max(self._gap_s, _NO_GAP_S)
        if faster_than_allowed and sent_ns >= self._slowed_ns:  # else it was sent at the earlier, faster pace
            self._gap_s = min(_LONGEST_GAP_S, max(_FIRST_GAP_S, self._gap_s * _SLOWER))
            self._slowed_ns = time.monotonic_ns()
