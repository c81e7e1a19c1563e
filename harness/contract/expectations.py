"""What a judge may take for granted about this one target: time budgets, and readings it declares."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Budgets:
    """How long things may take, in seconds.

    first_event_s: from the request to the first event. terminal_close_s: from the terminal event to the
    end of the message. heartbeat_s: the longest silence in a stream. run_s: a whole stream.
    """

    first_event_s: float = 10.0
    terminal_close_s: float = 5.0
    heartbeat_s: float = 15.0
    run_s: float = 120.0

    @property
    def patience_s(self) -> float:
        """How long a client waits for a first event at all: twice its budget, so that late is not never."""
        return 2 * self.first_event_s

    @property
    def silence_s(self) -> float:
        """After how much silence inside a stream a client gives it up.

        Twice the heartbeat budget, so that a missing heartbeat is still seen as that; never less than the
        budget for the first event.
        """
        return max(2 * self.heartbeat_s, self.first_event_s)


@dataclass(frozen=True, slots=True)
class Expectations:
    """Budgets, and the readings of the documentation that the target declares (``any``: discover it)."""

    budgets: Budgets = field(default_factory=Budgets)
    conflict: Literal["any", "http-409", "event"] = "any"
    resume_start: Literal["any", "replay", "tail"] = "any"
    last_event_id: bool | None = None
