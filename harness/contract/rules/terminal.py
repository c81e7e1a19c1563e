"""terminal: a run's stream ends with exactly one of done, error, cancelled, and then it closes."""

from __future__ import annotations

from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Judgement, Place, broken, held, inconclusive
from harness.contract.rules.rule import judges, name_event, of_events


def _types(run: Exchange) -> str:
    return ", ".join(one.event.type for one in run.terminals if one.event)


@judges("terminal.exactly-one", of_form=True)
@of_events
def exactly_one(run: Exchange) -> Judgement:
    if run.ending in {Ending.CUT, Ending.STOPPED}:
        return inconclusive("the stream was cut by us", Place(run))
    if len(run.terminals) == 1:
        return held(f"one terminal event, {_types(run)}")
    if not run.terminals:
        return broken(f"no terminal event: {run.describe()}", Place(run))
    return broken(f"{len(run.terminals)} terminal events: {_types(run)}", Place(run, run.terminals[1]))


@judges("terminal.last", of_form=True)
@of_events
def last(run: Exchange) -> Judgement:
    if not run.terminals:
        return inconclusive(f"there was no terminal event: {run.describe()}", Place(run))
    end = run.terminals[0]
    for one in run.received[end.index + 1 :]:
        if any(name for name, _ in one.frame.fields):
            return broken(f"{name_event(one)} follows the terminal event", Place(run, one))
    return held("nothing but comments, if anything, follows the terminal event")


@judges("terminal.closes")
@of_events
def closes(run: Exchange, *, expect: Expectations) -> Judgement:
    terminal_ns = run.summary.terminal_ns
    if terminal_ns is None or run.ending in {Ending.CUT, Ending.STOPPED}:
        return inconclusive(f"the stream did not come to its terminal event: {run.describe()}", Place(run))
    limit_s = expect.budgets.terminal_close_s
    took_s = (run.timing.ended_ns - terminal_ns) / 1e9
    if run.ending is Ending.TIMED_OUT:
        return broken(f"{run.ending_detail} (allowed: {limit_s:g} s)", Place(run, run.terminals[0]))
    if took_s > limit_s:
        return broken(
            f"the stream closed {took_s:.2f} s after its terminal event (allowed: {limit_s:g} s)",
            Place(run, run.terminals[0]),
        )
    return held(f"closed {took_s * 1000:.0f} ms after the terminal event")


@judges("terminal.always", of_form=True)
def always(run: Exchange) -> Judgement:
    if run.status != 200 or run.is_rejection_event or run.ending in {Ending.CUT, Ending.STOPPED}:
        return inconclusive(f"there is no stream to judge: {run.describe()}", Place(run))
    if run.terminals:
        return held(f"the stream ended with {_types(run)}")
    last_event = run.events[-1] if run.events else None
    return broken(f"the stream ended without a terminal event: {run.describe()}", Place(run, last_event))


@judges("terminal.failure")
@of_events
def failure(run: Exchange) -> Judgement:
    if run.outcome == "error":
        return held("the failing action ended with error")
    if run.outcome is None:
        return broken(f"the failing action ended without a terminal event: {run.describe()}", Place(run))
    return broken(f"the failing action ended with {run.outcome}, not error", Place(run, run.terminals[0]))


@judges("terminal.cancelled")
@of_events
def cancelled(run: Exchange) -> Judgement:
    if run.outcome == "cancelled" and len(run.terminals) == 1:
        return held("the cancelled run ended with one cancelled")
    if run.outcome is None:
        return broken(f"the cancelled run ended without a terminal event: {run.describe()}", Place(run))
    return broken(f"the cancelled run ended with {_types(run)}", Place(run, run.terminals[-1]))


@judges("terminal.no-tokens")
def no_tokens(run: Exchange) -> Judgement:
    if run.status != 200 or run.is_rejection_event:
        return inconclusive(f"there is no stream to judge: {run.describe()}", Place(run))
    if run.tokens:
        return inconclusive(
            f"the silent action made {len(run.tokens)} tokens; configure one that makes none", Place(run)
        )
    if run.terminals:
        return held(f"a run without tokens ended with {_types(run)}")
    return broken(f"a run without tokens has no terminal event: {run.describe()}", Place(run))
