"""Switchable defects of the embedded server: what real servers get wrong, one named class each.

A fault overrides one method of the API and leaves the rest correct, so that a suite that finds it has found that
and nothing else. Several compose: each calls the next through ``super()``.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from harness.reference.api import ReferenceApi
from harness.reference.faults import (
    auth,
    conflict,
    events,
    framing,
    headers,
    ids,
    input,  # noqa: A004 - the area's name
    key,
    liveness,
    race,
    resume,
    run_id,
    security,
    terminal,
)
from harness.reference.faults.base import FAULTS, Fault
from harness.reference.faults.rare import RARE_FAULTS, SPOILT_FRAMES_PATH, RareFault, SpoiltFrame, rare_fault


def faulty_api(names: Iterable[str]) -> type[ReferenceApi]:
    """The API with those faults, composed; the correct API when `names` is empty.

    Raises ValueError for a name that is neither in FAULTS nor one of RARE_FAULTS with a number, and for two rare
    ones: each counts the frames sent, and one would count what the other made of them.
    """
    bases = [_fault(name) for name in dict.fromkeys(names)]
    if sum(issubclass(base, RareFault) for base in bases) > 1:
        raise ValueError("give only one fault that spoils one frame in n: each counts the frames sent")
    return type("FaultyApi", tuple(bases), {}) if bases else ReferenceApi


def _fault(name: str) -> type[Fault]:
    if name in FAULTS:
        return FAULTS[name]
    if (rare := rare_fault(name)) is not None:
        return rare
    known = [*FAULTS, *RARE_FAULTS]
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
    raise ValueError(f"there is no fault {name!r}; {hint}")


__all__ = [
    "FAULTS",
    "RARE_FAULTS",
    "SPOILT_FRAMES_PATH",
    "Fault",
    "RareFault",
    "SpoiltFrame",
    "auth",
    "conflict",
    "events",
    "faulty_api",
    "framing",
    "headers",
    "ids",
    "input",
    "key",
    "liveness",
    "race",
    "resume",
    "run_id",
    "security",
    "terminal",
]
