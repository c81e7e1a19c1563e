"""Evidence of a violation found under load: excerpts of its exchanges, with the frames that the finding points at."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from harness.contract.evidence.document import excerpt
from harness.contract.evidence.redaction import Redactor
from harness.contract.finding import Location


def excerpts(places: Iterable[Location], base_url: str, secrets: Iterable[str]) -> list[dict[str, Any]]:
    """One excerpt per exchange that a finding points at: the frames in `places` and their neighbours."""
    redact = Redactor(secrets)
    by_exchange: dict[int, list[Location]] = {}
    for place in places:
        by_exchange.setdefault(id(place.exchange), []).append(place)
    return [_excerpt(locations, base_url, redact) for locations in by_exchange.values()]


def _excerpt(places: list[Location], base_url: str, redact: Redactor) -> dict[str, Any]:
    pointed_at = [
        {"event": place.frame.index, "note": redact.sentence(place.note)}
        for place in places
        if place.frame is not None
    ]
    events = {place.frame.index for place in places if place.frame is not None}
    document = excerpt(places[0].exchange, base_url=base_url, secrets=redact.secrets, pointed_at=events)
    return {**document, "pointed_at": pointed_at}
