"""Faults that violate the liveness requirements."""

from __future__ import annotations

from dataclasses import replace

from harness.contract.rules import liveness
from harness.reference.faults.base import Fault
from harness.reference.runs import Run
from harness.reference.settings import ServerSettings


class LateFirstEvent(Fault, name="late-first-event", breaks=liveness.first_event):
    """Starts each run in a cold container, which takes longer than the budget of three seconds."""

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(replace(settings, first_token_delay_s=settings.first_token_delay_s + 4.0))


class NoHeartbeat(Fault, name="no-heartbeat", breaks=liveness.heartbeat):
    """Sends nothing while the action is silent."""

    def heartbeat(self, run: Run) -> bytes:  # noqa: ARG002
        return b""


class HeartbeatAsEvent(Fault, name="heartbeat-as-event", breaks=liveness.heartbeat_inert):
    """Sends heartbeats as events, which every client dispatches."""

    def heartbeat(self, run: Run) -> bytes:
        return f'id: {self.event_id(run)}\ndata: {{"type":"heartbeat"}}\n\n'.encode()


class HeartbeatWithId(Fault, name="heartbeat-with-id", breaks=liveness.heartbeat_inert):
    """Gives its heartbeat comments an id, from which a client would wrongly resume."""

    def heartbeat(self, run: Run) -> bytes:
        return f"id: {self.event_id(run)}\n".encode() + super().heartbeat(run)
