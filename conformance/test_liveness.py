"""A client can tell a slow run from a dead one."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.rules import liveness
from harness.suite.pytest_plugin import CheckFunction, decides


@decides(liveness.first_event)
def test_the_first_event_arrives_in_time(check: CheckFunction, stream: Exchange) -> None:
    check(stream)


@decides(liveness.heartbeat)
def test_comments_break_a_silence(check: CheckFunction, quiet_run: Exchange) -> None:
    check(quiet_run)


@decides(liveness.heartbeat_inert)
def test_a_heartbeat_is_not_an_event(check: CheckFunction, quiet_run: Exchange) -> None:
    check(quiet_run)


@decides(liveness.heartbeat_interval)
def test_how_often_a_silent_stream_sends_a_comment(check: CheckFunction, quiet_run: Exchange) -> None:
    check(quiet_run)


@decides(liveness.retry_hint)
def test_which_reconnection_time_is_requested(check: CheckFunction, long_run: Exchange) -> None:
    check(long_run)
