"""Rare faults: one frame in n is lost, duplicated, or swapped with the next."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import ClassVar
from weakref import WeakKeyDictionary

from aiohttp import web

from harness.contract.rules import ids, resume
from harness.profiles.workflow_actions.events import TERMINAL_TYPES
from harness.reference.api import (
    Connection,
)
from harness.reference.faults.base import Fault
from harness.reference.runs import Event, Run
from harness.reference.settings import ServerSettings

SPOILT_FRAMES_PATH = "/debug/spoilt-frames"
"""Where a server with a rare fault lists, as JSON, the frames that it spoilt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoiltFrame:
    """One frame that was sent incorrectly on one connection; the run itself is correct.

    fault: its name without the number. key, run_id: of the run. connection: number of the run's connection, from 0, in
    the order of the requests. first: number of the run's event, from 0, with which that connection started. event:
    number of the spoilt event in the run, from 0. id, type: of that event. place: where on the connection it was due,
    from 1.
    """

    fault: str
    key: str | None
    run_id: str
    connection: int
    first: int
    event: int
    id: str
    type: str
    place: int


@dataclass(slots=True)
class _Delivery:
    """The state of one connection. held: an event that is held back until the next one is sent."""

    connection: int
    first: int
    sent: int = 0
    held: Event | None = None


class RareFault(Fault):
    """Spoils one in `one_in` of all frames that the server sends, on one connection only.

    Other connections get the same event unspoilt. If a frame cannot be spoilt, the next one that can is spoilt instead.
    """

    stem: ClassVar[str]
    one_in: ClassVar[int]

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings)
        self._frames = 0
        self._owed = 0
        self._spoilt: list[SpoiltFrame] = []
        self._connections: WeakKeyDictionary[Run, int] = WeakKeyDictionary()
        self._deliveries: WeakKeyDictionary[Connection, _Delivery] = WeakKeyDictionary()

    async def route(self, http: web.BaseRequest) -> web.StreamResponse:
        if http.path == SPOILT_FRAMES_PATH and http.method == "GET":
            document = {"frames": self._frames, "spoilt": [asdict(frame) for frame in self._spoilt]}
            return web.json_response(document, headers=self.common_headers())
        return await super().route(http)

    async def stream(self, http: web.BaseRequest, reader: Connection) -> web.StreamResponse:
        number = self._connections.get(reader.run, 0)
        self._connections[reader.run] = number + 1
        self._deliveries[reader] = _Delivery(number, reader.index)
        return await super().stream(http, reader)

    def due(self, reader: Connection) -> list[Event]:
        delivery = self._deliveries[reader]
        sent: list[Event] = []
        for number, event in enumerate(super().due(reader), reader.index):
            self._frames += 1
            self._owed += self._frames % self.one_in == 0
            if self._owed and self.can_spoil(event, delivery):
                self._owed -= 1
                self._record(reader.run, delivery, event, number, delivery.sent + len(sent) + 1)
                sent += self.spoil(event, delivery)
            else:
                sent.append(event)
                if delivery.held is not None:
                    sent.append(delivery.held)
                    delivery.held = None
        delivery.sent += len(sent)
        return sent

    def _record(self, run: Run, delivery: _Delivery, event: Event, number: int, place: int) -> None:
        key = run.identity[2] if run.identity is not None and run.identity[1] == "key" else None
        self._spoilt.append(
            SpoiltFrame(
                fault=self.stem,
                key=key,
                run_id=run.run_id,
                connection=delivery.connection,
                first=delivery.first,
                event=number,
                id=str(event.id),
                type=event.type,
                place=place,
            )
        )

    def can_spoil(self, event: Event, delivery: _Delivery) -> bool:  # noqa: ARG002 - most can
        return True

    def spoil(self, event: Event, delivery: _Delivery) -> list[Event]:
        """The events to send instead."""
        raise NotImplementedError


class DropsFrames(RareFault, breaks=resume.replay):
    """Drops one frame on one connection."""

    stem = "drops-one-frame-in"

    def spoil(self, event: Event, delivery: _Delivery) -> list[Event]:  # noqa: ARG002
        return []


class DoublesFrames(RareFault, breaks=ids.unique):
    """Sends one frame twice on one connection."""

    stem = "doubles-one-frame-in"

    def spoil(self, event: Event, delivery: _Delivery) -> list[Event]:  # noqa: ARG002
        return [event, event]


class SwapsFrames(RareFault, breaks=ids.increasing):
    """Swaps one frame with the next one on one connection."""

    stem = "swaps-one-frame-in"

    def can_spoil(self, event: Event, delivery: _Delivery) -> bool:
        # Nothing follows the last event to swap it with, and an event is not swapped twice.
        return event.type not in TERMINAL_TYPES and delivery.held is None

    def spoil(self, event: Event, delivery: _Delivery) -> list[Event]:
        delivery.held = event
        return []


RARE_FAULTS: dict[str, type[RareFault]] = {
    f"{fault.stem}-n": fault for fault in (DropsFrames, DoublesFrames, SwapsFrames)
}
"""Too rare for mutants, as they do not show in a few requests. ``--fault`` takes the name with a number for n."""


def rare_fault(name: str) -> type[RareFault] | None:
    stem, _, number = name.rpartition("-")
    fault = RARE_FAULTS.get(f"{stem}-n")
    if fault is None or re.fullmatch("[1-9][0-9]{0,9}", number) is None:
        return None
    return type(fault.__name__, (fault,), {"name": name, "one_in": int(number), "__doc__": fault.__doc__})
