"""Where the order of a run's ids as text differs from their order as numbers: `9` then `10`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

from harness.contract.exchange import Exchange
from harness.profiles.workflow_actions.event_id import read_leniently

OwnIds = tuple[Exchange, Exchange, Sequence[Exchange]]
"""A finished run whose ids have a different order as text, its plain retry, and its resumptions after some of them."""

_MOST_PLACES = 6


def ordered_ids(run: Exchange) -> list[str]:
    """The ids of a run's events; none unless each event has one, and they increase as pairs of numbers."""
    ids = [event.id or "" for event in run.sequence]
    numbers = [number for event_id in ids if (number := read_leniently(event_id)) is not None]
    increase = all(earlier < later for earlier, later in pairwise(numbers))
    return ids if len(numbers) == len(ids) and increase else []


def misplaced(ids: list[str]) -> list[int]:
    """The places, from 0, of the ids that as text are not greater than all before them, or not less than all after.

    A server that compares ids as text resumes after such an id with the wrong event. The last id is left out: no event
    follows it.
    """
    before = ["", *accumulate(ids, max)]
    after = [*accumulate(reversed(ids), min)][::-1]
    return [place for place in range(len(ids) - 1) if not before[place] < ids[place] < after[place + 1]]


def places_to_resume(ids: list[str]) -> list[int]:
    """The places of a few misplaced ids: those around a step back in the order as text, and others."""
    wrong = misplaced(ids)
    steps = [place for place in wrong if ids[place] > ids[place + 1]]
    first = [place for step in (steps[:1] + steps[-1:]) for place in (step, step + 1) if place in wrong]
    others = wrong[:: max(1, len(wrong) // _MOST_PLACES)]
    return list(dict.fromkeys([*first, *others]))[:_MOST_PLACES]


def is_order_of_text(run: Exchange, answer: Exchange, named: str) -> bool:
    """Whether `answer` has what follows the id `named` of `run` in the order of text, which is not what follows it."""
    ids = ordered_ids(run)
    if named not in ids:
        return False
    greater = [place for place, event_id in enumerate(ids) if event_id > named]
    from_first = run.sequence[greater[0] :] if greater else ()
    all_greater = tuple(run.sequence[place] for place in greater)
    right = tuple(run.sequence[ids.index(named) + 1 :])
    return tuple(answer.sequence) != right and tuple(answer.sequence) in (tuple(from_first), all_greater)
