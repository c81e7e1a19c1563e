"""What rules may expect of a target: its time budgets, and its declared behaviour."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Budgets:
    """Time budgets, in seconds.

    first_event_s: from the request to the first event. terminal_close_s: from the terminal event to the end of the
    message. heartbeat_s: the longest silence in a stream. run_s: a whole stream. cancel_s: from the answer to a request
    that cancels a run to the end of its streams.
    """

    first_event_s: float = 10.0
    terminal_close_s: float = 5.0
    heartbeat_s: float = 15.0
    run_s: float = 120.0
    cancel_s: float = 5.0

    @property
    def patience_s(self) -> float:
        """How long to wait for the first event: twice its budget, to tell late from never."""
        return 2 * self.first_event_s

    @property
    def silence_s(self) -> float:
        """How much silence in a stream to wait for: twice the heartbeat budget, to tell a missing heartbeat from a dead
        stream, and at least the budget for the first event.
        """
        return max(2 * self.heartbeat_s, self.first_event_s)


@dataclass(frozen=True, slots=True)
class Expectations:
    """Time budgets, and the behaviour that the target declares (``any``: not declared, so any is accepted)."""

    budgets: Budgets = field(default_factory=Budgets)
    conflict: Literal["any", "http-409", "event"] = "any"
    resume_start: Literal["any", "replay", "tail"] = "any"
    last_event_id: bool | None = None
    key_retention_s: float | None = None
