"""A client can tell a slow run from a dead one."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.judges import liveness
from harness.pytest_plugin import JudgeFunction, requirement


@requirement("liveness.first-event")
def test_head_and_first_event_come_in_time(judge: JudgeFunction, stream: Exchange) -> None:
    judge(liveness.first_event, stream)


@requirement("liveness.heartbeat")
def test_silence_carries_comments(judge: JudgeFunction, quiet_run: Exchange) -> None:
    judge(liveness.heartbeat, quiet_run)


@requirement("liveness.heartbeat-inert")
def test_a_heartbeat_is_no_event(judge: JudgeFunction, quiet_run: Exchange) -> None:
    judge(liveness.heartbeat_inert, quiet_run)
