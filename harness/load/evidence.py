"""What a violation met under load is shown by: excerpts of its Exchanges, and where in them to look."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from harness.contract.evidence import excerpt
from harness.contract.finding import Place


def excerpts(places: Iterable[Place], base_url: str, secrets: Iterable[str]) -> list[dict[str, Any]]:
    """The Exchanges that a finding points at, each once, each with the frames that it points at."""
    hidden = tuple(secrets)
    told: dict[int, dict[str, Any]] = {}
    for place in places:
        shown = told.get(id(place.exchange))
        if shown is None:
            shown = excerpt(place.exchange, base_url=base_url, secrets=hidden)
            shown["pointed_at"] = []
            told[id(place.exchange)] = shown
        if place.at is not None:
            shown["pointed_at"].append({"event": place.at.index, "note": place.note})
    return list(told.values())
