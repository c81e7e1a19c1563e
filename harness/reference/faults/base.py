"""What a fault is: a defect of the embedded server and the requirement that it violates."""

from __future__ import annotations

from typing import ClassVar

from harness.reference.api import (
    ReferenceApi,
)
from harness.reference.runs import Event

FAULTS: dict[str, type[Fault]] = {}
"""Every fault by the name that ``--fault`` takes."""


class Fault(ReferenceApi):
    """A defect; its docstring says what the server does wrong.

    `name` is what ``--fault`` takes; `breaks` is the id of the requirement that it violates.
    """

    name: ClassVar[str] = ""
    breaks: ClassVar[str] = ""

    def __init_subclass__(cls, *, name: str = "", breaks: str = "") -> None:
        super().__init_subclass__()
        if name:
            cls.name, cls.breaks = name, breaks
            FAULTS[name] = cls


def with_data(event: Event, data: str) -> Event:
    return event._replace(data=data)
