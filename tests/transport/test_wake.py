"""A wait ends once for each reason: it was set, before or meanwhile, or its time is over."""

from __future__ import annotations

import time

import gevent
import pytest

from harness.transport.wake import Wake

LONG_S = 60.0


def test_it_returns_at_once_if_it_was_set_before_and_only_once() -> None:
    wake = Wake()
    wake.set()
    wake.set()
    wake.wait_and_clear(LONG_S)
    began = time.monotonic()
    wake.wait_and_clear(0.02)
    assert time.monotonic() - began >= 0.015


def test_it_returns_when_it_is_set() -> None:
    wake = Wake()
    waiting = gevent.spawn(wake.wait_and_clear, LONG_S)
    gevent.sleep(0)
    assert not waiting.dead
    wake.set()
    wake.set()
    waiting.get(timeout=LONG_S / 2)


def test_what_is_set_after_the_limit_counts_for_the_next_wait() -> None:
    wake = Wake()
    wake.wait_and_clear(0.001)
    gevent.spawn(wake.set)
    wake.wait_and_clear(LONG_S)


def test_a_greenlet_that_is_stopped_while_it_waits_is_not_switched_to_again() -> None:
    wake, seen = Wake(), []

    def wait() -> None:
        try:
            wake.wait_and_clear(0.01)
        except gevent.GreenletExit:
            gevent.sleep(0.03)  # the limit passes
            seen.append("stopped")
            raise

    waiting = gevent.spawn(wait)
    gevent.sleep(0)
    gevent.spawn(wake.set)
    waiting.kill()
    assert seen == ["stopped"]
    wake.wait_and_clear(LONG_S)  # it was set, and nothing has cleared it


@pytest.mark.parametrize("limit_s", [0.0, 0.001])
def test_a_limit_that_is_over_ends_the_wait(limit_s: float) -> None:
    Wake().wait_and_clear(limit_s)
