"""Switchable defects of the embedded server: typical server bugs, one named class each.

A fault overrides one method of the API and leaves the rest correct, so the suite should report that fault and nothing
else. Faults compose: each calls the next through ``super()``.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from harness.profiles.profile import WORKFLOW_ACTIONS
from harness.reference.api import ReferenceApi
from harness.reference.apis import APIS
from harness.reference.faults import (
    ag_ui,
    auth,
    cancel,
    conflict,
    events,
    framing,
    headers,
    ids,
    input,  # noqa: A004 - the area's name
    key,
    liveness,
    openai_chat,
    race,
    replica,
    restart,
    resume,
    run_id,
    security,
    terminal,
    workflow,
)
from harness.reference.faults.base import FAULTS, Fault
from harness.reference.faults.rare import RARE_FAULTS, SPOILT_FRAMES_PATH, RareFault, SpoiltFrame, rare_fault


def faulty_api(names: Iterable[str], profile: str = WORKFLOW_ACTIONS) -> type[ReferenceApi]:
    """The API of a profile with these faults; the correct API if `names` is empty.

    Raises ValueError for a profile that the embedded server does not have, for a name that is neither in FAULTS nor one
    of RARE_FAULTS with a number, for a fault of another profile, and for more than one rare fault: each counts the
    frames sent, and would count those that the other added or removed.
    """
    if profile not in APIS:
        raise ValueError(
            f"the embedded server has no API of the profile {profile!r}: use one of {', '.join(APIS)}"
        )
    bases = [_fault(name) for name in dict.fromkeys(names)]
    for base in bases:
        if base.profile != profile:
            raise ValueError(
                f"the fault {base.name} is one of the profile {base.profile}, not of {profile}: use --profile "
                f"{base.profile}"
            )
    if sum(issubclass(base, RareFault) for base in bases) > 1:
        raise ValueError(
            "only one fault of the form *-one-frame-in-n is possible: each counts the frames sent"
        )
    return type("FaultyApi", tuple(bases), {}) if bases else APIS[profile]


def _fault(name: str) -> type[Fault]:
    if name in FAULTS:
        return FAULTS[name]
    if (rare := rare_fault(name)) is not None:
        return rare
    known = [*FAULTS, *RARE_FAULTS]
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known faults: {', '.join(sorted(known))}"
    raise ValueError(f"unknown fault {name!r}; {hint}")


__all__ = [
    "FAULTS",
    "RARE_FAULTS",
    "SPOILT_FRAMES_PATH",
    "Fault",
    "RareFault",
    "SpoiltFrame",
    "ag_ui",
    "auth",
    "cancel",
    "conflict",
    "events",
    "faulty_api",
    "framing",
    "headers",
    "ids",
    "input",
    "key",
    "liveness",
    "openai_chat",
    "race",
    "replica",
    "restart",
    "resume",
    "run_id",
    "security",
    "terminal",
    "workflow",
]
