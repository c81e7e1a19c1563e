"""A client can tell a slow run from a dead one."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.rules import liveness
from harness.suite.pytest_plugin import JudgeFunction, requirement


@requirement("liveness.first-event")
def test_head_and_first_event_come_in_time(judge: JudgeFunction, stream: Exchange) -> None:
    judge(liveness.first_event, stream)


@requirement("liveness.heartbeat")
def test_silence_carries_comments(judge: JudgeFunction, quiet_run: Exchange) -> None:
    judge(liveness.heartbeat, quiet_run)


@requirement("liveness.heartbeat-inert")
def test_a_heartbeat_is_no_event(judge: JudgeFunction, quiet_run: Exchange) -> None:
    judge(liveness.heartbeat_inert, quiet_run)


@requirement("liveness.heartbeat-interval")
def test_how_often_silence_carries_a_comment(judge: JudgeFunction, quiet_run: Exchange) -> None:
    judge(liveness.heartbeat_interval, quiet_run)


@requirement("liveness.retry-hint")
def test_which_reconnection_time_is_asked_for(judge: JudgeFunction, long_run: Exchange) -> None:
    judge(liveness.retry_hint, long_run)
