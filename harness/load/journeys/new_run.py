"""A new run, which some APIs let begin only after a request before it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NewRun:
    """A request for a new run of an action, which may need a request before it. run_id: the client's, if it has one."""

    action: str
    run_id: str | None = None


class NotStartedError(Exception):
    """The request before a run was not answered with what the run needs. Its stream is counted, with this reason."""
