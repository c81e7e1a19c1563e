"""terminal: a run's stream ends with exactly one of done, error or cancelled, and then closes."""

from __future__ import annotations

from collections.abc import Sequence

from harness.contract.decoding.decoded_frame import DecodedFrame
from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Location, RuleResult, failed, inconclusive, passed
from harness.contract.rules.rule import (
    Level,
    Need,
    event_label,
    needs_events,
    quoted,
    require_terminal,
    rule,
)
from harness.formatting import counted
from harness.profiles.capability import Capability
from harness.profiles.event_rules import END_CLOSE, END_OUTCOME


def _types(run: Exchange) -> str:
    return ", ".join(str(event.event.outcome) for event in run.terminals if event.event)


def _may_end_so(run: Exchange) -> bool:
    """Whether its outcome is an error after which no further event must come."""
    return run.profile.events.error_may_end and run.outcome == "error"


def _lacks_end(run: Exchange) -> bool:
    """Whether the event is missing that ends a stream after its outcome."""
    if run.profile.events.end in {END_OUTCOME, END_CLOSE} or run.ends:
        return False
    return not _may_end_so(run)


def _end(run: Exchange) -> DecodedFrame | None:
    """The event that ends the stream, or the error after which none must come; None if there is neither."""
    return run.ends[0] if run.ends else run.terminals[0] if _may_end_so(run) else None


@rule(
    "terminal.no-tokens",
    Level.MUST,
    "A run without tokens still ends with its terminal event",
    why="A server that ends a run after its last token never ends a run without tokens.",
    fix="Write the terminal event when the action ends, not after its last token.",
    source="api",
    promise=(Capability.OUTCOME,),
    needs=Need.SILENT_ACTION,
)
def no_tokens(run: Exchange) -> RuleResult:
    if run.status != 200 or run.is_rejection_event:
        return inconclusive(f"no stream to check: {run.describe()}", Location(run))
    if run.tokens:
        return inconclusive(
            f"the silent action produced {counted(len(run.tokens), 'token')}; configure one that produces none",
            Location(run),
        )
    if run.terminals:
        return passed(f"a run without tokens ended with {_types(run)}")
    return failed(f"a run without tokens has no terminal event: {run.describe()}", Location(run))


@rule(
    "terminal.success",
    Level.MUST,
    "A valid request with a new key starts a run, and a successful one ends with `done`",
    why="A success that is reported as a failure, or a new key that is taken for a used one, repeats work or loses it.",
    fix=(
        "Answer 409 only to a key that is stored with a different body, and end a successful run with `done`; "
        "configure an action that succeeds ([target.actions.success])."
    ),
    source="api",
    promise=(Capability.OUTCOME,),
)
def success(runs: Sequence[Exchange]) -> RuleResult:
    """`runs` are the responses to valid requests of the success action, each with a new key, a new runId or neither."""
    taken = [run for run in runs if run.status == 409 or run.is_rejection_event]
    if taken:
        return failed(
            f"{len(taken)} of {counted(len(runs), 'valid request')} with a new key got a conflict, for example "
            f"{taken[0].label}: {taken[0].describe()}",
            *(Location(run, run.first_event) for run in taken[:2]),
        )
    ended_so = [run for run in runs if run.started_run and run.outcome not in {"done", None}]
    if ended_so:
        first = ended_so[0].terminals[0]
        return failed(
            f"{len(ended_so)} of {counted(len(runs), 'run')} of the action that should succeed did not end with done, "
            f"for example {ended_so[0].label}: {quoted(first.frame.data or '')}",
            *(Location(run, run.terminals[0]) for run in ended_so[:2]),
        )
    # terminal.always decides about a run without a terminal event.
    problem = next(filter(None, map(require_terminal, runs)), None)
    if problem is not None or not runs:
        return problem or inconclusive("nothing was tested")
    return passed(f"{counted(len(runs), 'run')} ended with done")


@rule(
    "terminal.failure",
    Level.MUST,
    "A failing action ends with `error`, not with a bare close or `done`",
    why="A failure reported as success, or as a closed connection, is treated as if the work were done.",
    fix="Catch the action's failure, write an `error` event, then end the stream.",
    source="api",
    promise=(Capability.ERROR_EVENT,),
    needs=Need.FAILING_ACTION,
)
@needs_events
def failure(run: Exchange) -> RuleResult:
    if run.outcome == "error":
        return passed("the failing action ended with error")
    if run.outcome is None:
        return failed(f"the failing action ended without a terminal event: {run.describe()}", Location(run))
    return failed(f"the failing action ended with {run.outcome}, not error", Location(run, run.terminals[0]))


@rule(
    "terminal.always",
    Level.MUST,
    "Every stream ends with a terminal event",
    why="Without a terminal event a client waits, times out, and retries a run that is over.",
    fix=(
        "Write `done`, `error` or `cancelled` on every path that ends a run, for example in a `finally` "
        "block."
    ),
    source="api",
    promise=(Capability.OUTCOME,),
    any_stream=True,
    format_only=True,
)
def always(run: Exchange) -> RuleResult:
    if run.status != 200 or run.is_rejection_event or run.ending in {Ending.CUT, Ending.STOPPED}:
        return inconclusive(f"no stream to check: {run.describe()}", Location(run))
    if run.terminals and not _lacks_end(run):
        return passed(f"the stream ended with {_types(run)}")
    if run.obstacle is not None:
        return inconclusive(f"the end of the stream was not seen: {run.obstacle}", Location(run))
    if run.terminals:
        return failed(
            f"the stream has an outcome ({_types(run)}) but lacks the event that ends it: {run.describe()}",
            Location(run, run.terminals[-1]),
        )
    last_event = run.events[-1] if run.events else None
    return failed(f"the stream ended without a terminal event: {run.describe()}", Location(run, last_event))


@rule(
    "terminal.exactly-one",
    Level.MUST,
    "A run's stream has exactly one terminal event",
    why="A client that sees two may bill the run twice or show both outcomes.",
    fix="Write the terminal event in one place in the code, and let a run end only once.",
    source="api",
    promise=(Capability.OUTCOME,),
    any_stream=True,
    format_only=True,
)
@needs_events
def exactly_one(run: Exchange) -> RuleResult:
    if run.ending in {Ending.CUT, Ending.STOPPED}:
        return inconclusive("the harness cut the stream", Location(run))
    if len(run.ends) > 1 and len(run.terminals) == 1:
        return failed(
            f"the event that ends the stream came {len(run.ends)} times", Location(run, run.ends[1])
        )
    if run.obstacle is not None and len(run.terminals) < 2:
        return inconclusive(f"the end of the stream was not seen: {run.obstacle}", Location(run))
    if len(run.terminals) == 1:
        return passed(f"one terminal event, {_types(run)}")
    if not run.terminals:
        return failed(f"no terminal event: {run.describe()}", Location(run))
    return failed(f"{len(run.terminals)} terminal events: {_types(run)}", Location(run, run.terminals[1]))


@rule(
    "terminal.last",
    Level.MUST,
    "Only comments may follow the terminal event",
    why="Clients that stop reading at the terminal event lose what follows; the others misread it.",
    fix="Stop whatever produces events before you write the terminal event, and write no event after it.",
    source="api",
    promise=(Capability.END,),
    any_stream=True,
    format_only=True,
)
@needs_events
def last(run: Exchange) -> RuleResult:
    end = run.ends[0] if run.ends else run.events[-1] if _may_end_so(run) else None
    if end is None:
        return inconclusive(f"no terminal event: {run.describe()}", Location(run))
    for frame in run.frames[end.index + 1 :]:
        if any(name for name, _ in frame.frame.fields) and not _may_follow(frame):
            return failed(f"{event_label(frame)} follows the terminal event", Location(run, frame))
    outcome = run.terminals[0] if run.terminals else end
    late = next((event for event in run.tokens if outcome.index < event.index <= end.index), None)
    if late is not None:
        return failed(
            f"{event_label(late)}, a token, follows the event that tells the outcome", Location(run, late)
        )
    return passed("nothing but comments after the terminal event")


def _may_follow(frame: DecodedFrame) -> bool:
    """Whether it is a trailer that the profile names, or an event about the connection."""
    event = frame.event
    return frame.frame.dispatches and event is not None and (event.is_trailer or not event.is_of_run)


@rule(
    "terminal.closes",
    Level.MUST,
    "The server ends the stream within the time budget after the terminal event",
    why="A stream left open ties up a connection, a worker and the client's spinner.",
    fix="End the response right after the terminal event; do not wait for the client to close.",
    source="api",
    promise=(Capability.END,),
    any_stream=True,
)
@needs_events
def closes(run: Exchange, *, expect: Expectations) -> RuleResult:
    # Only a stream that misses the limit is decoded event by event, or one that may lack its last event.
    end_ns = run.summary.end_ns
    if end_ns is None and _may_end_so(run):
        end_ns = run.terminals[0].arrival_ns
    if end_ns is None or run.ending in {Ending.CUT, Ending.STOPPED, Ending.LIMIT}:
        return inconclusive(f"the stream did not reach its terminal event: {run.describe()}", Location(run))
    limit_s = expect.budgets.terminal_close_s
    took_s = (run.timing.ended_ns - end_ns) / 1e9
    if run.ending is Ending.TIMED_OUT:
        return failed(f"{run.ending_detail} (allowed: {limit_s:g} s)", Location(run, _end(run)))
    # The earliest moment at which the end may have been there: a busy harness notices it late.
    at_least_s = ((run.timing.end_arrival_ns or run.timing.ended_ns) - end_ns) / 1e9
    if at_least_s <= limit_s < took_s:
        return inconclusive(
            f"the harness was busy and saw the end {took_s:.2f} s after the terminal event; it may have come up to "
            f"{took_s - at_least_s:.2f} s earlier (allowed: {limit_s:g} s)",
            Location(run, _end(run)),
        )
    if took_s > limit_s:
        return failed(
            f"the stream closed {took_s:.2f} s after its terminal event (allowed: {limit_s:g} s)",
            Location(run, _end(run)),
        )
    return passed(f"closed {took_s * 1000:.0f} ms after the terminal event")


@rule(
    "terminal.cancelled",
    Level.MUST,
    "A cancelled run ends with exactly one `cancelled` event",
    why="A user who cancelled a run must see that, not an error or a success.",
    fix="Write one `cancelled` event when a run is cancelled, in place of `error` or `done`.",
    source="api",
    promise=(Capability.CANCELLED_EVENT,),
    needs=Need.CANCELLED_ACTION,
)
@needs_events
def cancelled(run: Exchange) -> RuleResult:
    if run.outcome == "cancelled" and len(run.terminals) == 1:
        return passed("the cancelled run ended with one cancelled event")
    if run.outcome is None:
        return failed(f"the cancelled run ended without a terminal event: {run.describe()}", Location(run))
    return failed(f"the cancelled run ended with {_types(run)}", Location(run, run.terminals[-1]))
