"""Compares the event sequences of two streams of a run: where they differ, and how to say it."""

from __future__ import annotations

from collections.abc import Sequence

from harness.contract.exchange import Exchange
from harness.contract.finding import Location
from harness.contract.rules.rule import quoted
from harness.formatting import counted
from harness.profiles.workflow_actions.identity import EventIdentity
from harness.protocol.sse import DEFAULT_EVENT_NAME


def first_difference(expected: Sequence[EventIdentity], actual: Sequence[EventIdentity]) -> str | None:
    """The first difference between two sequences, as part of a sentence; None if they are equal."""
    if expected == actual:
        return None
    place = common_prefix_length(expected, actual)
    if place < min(len(expected), len(actual)):
        return _difference_at(expected, actual, place)
    if len(actual) < len(expected):
        missing = counted(len(expected) - len(actual), "event")
        return f"{missing} missing, from {identity_label(expected[len(actual)])} on"
    extra = counted(len(actual) - len(expected), "event")
    return f"{extra} too many, from {identity_label(actual[len(expected)])} on"


def identity_label(identity: EventIdentity) -> str:
    """An event in a sentence: its id, or its data if it has no id."""
    return f"id {identity.id}" if identity.id is not None else f"data {quoted(identity.data or '', 60)}"


def _difference_at(expected: Sequence[EventIdentity], actual: Sequence[EventIdentity], place: int) -> str:
    is_instead_of = (
        f"event {place + 1} is {identity_label(actual[place])} instead of {identity_label(expected[place])}"
    )
    if actual[place] in expected[place + 1 :]:
        skipped = expected.index(actual[place], place + 1) - place
        return f"{is_instead_of}: {counted(skipped, 'event')} lost before it"
    if actual[place] in expected[:place]:
        return f"{is_instead_of}: it was already sent"
    wanted, got = expected[place], actual[place]
    if wanted.id is None or wanted.id != got.id:
        return is_instead_of
    if wanted.name != got.name:
        names = (
            f"{quoted(got.name or DEFAULT_EVENT_NAME)} instead of {quoted(wanted.name or DEFAULT_EVENT_NAME)}"
        )
        return f"event {place + 1} (id {got.id}) has the event name {names}"
    return (
        f"event {place + 1} (id {got.id}) has data {quoted(got.data or '', 60)} instead of "
        f"{quoted(wanted.data or '', 60)}"
    )


def common_prefix_length(expected: Sequence[EventIdentity], actual: Sequence[EventIdentity]) -> int:
    """The number of events with which both sequences start."""
    pairs = enumerate(zip(expected, actual, strict=False))
    return next((place for place, (left, right) in pairs if left != right), min(len(expected), len(actual)))


def location_of_difference(
    run: Exchange, sequence: Sequence[EventIdentity], expected: Sequence[EventIdentity]
) -> Location:
    """The first event of `run` that differs from `expected`, or its last. `sequence` is the run's own."""
    events = run.events
    for place, identity in enumerate(sequence):
        if place >= len(expected) or identity != expected[place]:
            return Location(run, events[place] if place < len(events) else None)
    return Location(run, events[-1] if events else None)


def divergence(
    run: Exchange, expected: Sequence[EventIdentity], other: Exchange, actual: Sequence[EventIdentity]
) -> tuple[Location, Location]:
    """Where two streams differ: in `run`, whose last events are `expected`, and in `other`, whose events are `actual`.

    `expected` may start with events that earlier connections received: a difference there names no event of `run`.
    If events are missing at the end of one, these are the other's first such event and its own last event.
    """
    place = common_prefix_length(expected, actual) + len(run.events) - len(expected)
    event = run.events[min(place, len(run.events) - 1)] if run.events and place >= 0 else None
    return Location(run, event), location_of_difference(other, actual, expected)


def is_subsequence(part: Sequence[EventIdentity], whole: Sequence[EventIdentity]) -> bool:
    """Whether `whole` has all events of `part` in the same order, at least one more, and none twice."""
    rest = iter(whole)
    return len(part) < len(whole) == len(set(whole)) and all(identity in rest for identity in part)


def described_difference(retry: Exchange, difference: str) -> str:
    """`difference` in a sentence: what a retry got instead: a different sequence, or no run at all."""
    return difference if retry.started_run else retry.describe()
