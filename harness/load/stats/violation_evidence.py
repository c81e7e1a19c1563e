"""What a violation met under load is shown by: excerpts of its Exchanges, and where in them to look."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from harness.contract.evidence.document import excerpt
from harness.contract.finding import Location


def excerpts(places: Iterable[Location], base_url: str, secrets: Iterable[str]) -> list[dict[str, Any]]:
    """The Exchanges that a finding points at, each once, with the frames that it points at and their neighbours."""
    hidden = tuple(secrets)
    by_exchange: dict[int, list[Location]] = {}
    for place in places:
        by_exchange.setdefault(id(place.exchange), []).append(place)
    return [_shown(found, base_url, hidden) for found in by_exchange.values()]


def _shown(places: list[Location], base_url: str, secrets: tuple[str, ...]) -> dict[str, Any]:
    """What several places in one Exchange are shown by."""
    pointed_at = [{"event": one.frame.index, "note": one.note} for one in places if one.frame is not None]
    events = {one.frame.index for one in places if one.frame is not None}
    shown = excerpt(places[0].exchange, base_url=base_url, secrets=secrets, pointed_at=events)
    return {**shown, "pointed_at": pointed_at}
