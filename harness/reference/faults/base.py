"""A fault: a defect of the embedded server, and the requirement that it violates."""

from __future__ import annotations

from typing import ClassVar

from harness.contract.rules.rule import Rule
from harness.profiles.profile import WORKFLOW_ACTIONS
from harness.reference.api import (
    ReferenceApi,
)
from harness.reference.runs import Event

FAULTS: dict[str, type[Fault]] = {}
"""Every fault by its name for ``--fault``."""


class Fault(ReferenceApi):
    """A defect of the server; the docstring says what it does wrong.

    name: for ``--fault``. breaks: the id of the requirement that it violates, passed as its rule. profile: of the API
    that it is a defect of. shared: whether it shows only in a server whose runs are in a store, with two replicas.
    stops_in_order: whether a restart stops its processes by SIGTERM, and does not kill them.
    """

    name: ClassVar[str] = ""
    breaks: ClassVar[str] = ""
    profile: ClassVar[str] = WORKFLOW_ACTIONS
    shared: ClassVar[bool] = False
    stops_in_order: ClassVar[bool] = False

    def __init_subclass__(cls, *, name: str = "", breaks: Rule | None = None) -> None:
        super().__init_subclass__()
        if breaks is not None:
            cls.breaks = breaks.requirement.id
        if name:
            assert name not in FAULTS, f"two faults are named {name}"
            cls.name = name
            FAULTS[name] = cls


def with_data(event: Event, data: str) -> Event:
    return event._replace(data=data)
