"""Positions: ids of events as numbers that can be compared."""

from __future__ import annotations

from harness.profiles.workflow_actions.event_id import StreamId

MAX_COUNTER_DIGITS = 40


def position_of(event_id: str | None, order: str) -> tuple[int, ...] | None:
    """An id as numbers, of the order that a profile declares (Ids.order); None if it has not that form.

    ms-seq: a StreamId. counter: one number. opaque: always None.
    """
    if event_id is None or order == "opaque":
        return None
    if order == "ms-seq":
        try:
            return StreamId.parse(event_id)
        except ValueError:
            return None
    if not (event_id.isascii() and event_id.isdigit() and len(event_id) <= MAX_COUNTER_DIGITS):
        return None
    return (int(event_id),)
