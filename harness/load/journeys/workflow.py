"""The journey of a session: steps one after another, each with the outputs of those before it.

The streams of a step have its name as their journey, workflow.step1 and so on, so that every number is known by step.
Echo steps return a text that only their session sends, so that a recall step shows outputs of a different one.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import cache, partial

from harness.contract.exchange import Exchange
from harness.contract.finding import Finding
from harness.contract.rules.comparisons import check_recalled
from harness.contract.rules.workflow import marker, step_text
from harness.load.journeys.stream_runner import StreamRunner
from harness.load.stats.collector import PendingStream
from harness.load.stats.stream_metrics import StreamStep

WORKFLOW = "workflow"


def step_name(number: int) -> str:
    """The journey of a step's streams. number: from 1."""
    return f"{WORKFLOW}.step{number}"


@cache
def _step(number: int) -> StreamStep:
    return StreamStep(f"step{number}", begins_run=True, is_cold=number == 1)


def workflow(runner: StreamRunner, intended_ns: int | None = None) -> None:
    """A session. It ends with its last step, or with the first one that fails."""
    settings, target = runner.target.journeys.workflow, runner.target
    session, text = str(uuid.uuid4()), marker()
    steps: list[Exchange] = []
    first: PendingStream | None = None
    duration_ms, is_open = 0.0, intended_ns is not None
    for number, action in enumerate(settings.steps, 1):
        think_s = settings.think_s(runner.rng) if steps else 0.0
        if steps and not runner.pause(think_s):
            return  # the test is ending: neither a success nor a failure
        outputs = [step.text for step in steps]
        echoed = step_text(text, number) if action == "echo" else None
        handle = runner.begin(
            step_name(number),
            _step(number),
            target.step(action, session, outputs, text=echoed),
            intended_ns=intended_ns,
        )
        intended_ns = None
        first = first or handle.stream
        if action == "recall":
            handle.checks.append(partial(_recalled, steps=tuple(steps), text=text))
        try:
            exchange = runner.execute(handle)
        finally:
            runner.finalize(handle)
        stream = handle.stream
        if steps and is_open:
            runner.collector.add_value(stream, "schedule_lag_ms", _lag_ms(steps[-1], exchange, think_s))
        if not stream.is_judged:
            return
        duration_ms += stream.measured.values.get("duration_ms", 0.0)
        steps.append(exchange)
        succeeded = stream.reason is None
        if not succeeded or number == len(settings.steps):
            runner.collector.end_session(first, stream, succeeded=succeeded, duration_ms=duration_ms)
            return


def _lag_ms(before: Exchange, step: Exchange, think_s: float) -> float:
    """How much later than its user would a step began: the harness did not get to it.

    It is part of no latency, but an open loop that falls behind sends less load than it should.
    """
    due_ns = (before.over_ns or before.timing.ended_ns) + round(think_s * 1e9)
    return max(0, step.timing.started_ns - due_ns) / 1e6


def _recalled(recall: Exchange, steps: Sequence[Exchange], text: str) -> list[Finding]:
    return check_recalled([*steps, recall], text)
