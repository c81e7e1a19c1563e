"""What a restart of the server during a load cost: the manifest's key `restart`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from harness.formatting import counted

_HOW = {
    "command": "by target.restart_command",
    "hand": "by hand",
    "suite": "by the conformance suite",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartCost:
    """What a restart cost.

    at_ns: when it began, epoch ns. how: "command", "hand" or "suite". command_s: how long the command took. problem:
    why the command failed, or None. lost_after_ms: from the beginning to the first lost connection; None if none was
    lost. first_good_ms: from the beginning to the end of the first good run that was sent after that; None without one.

    interrupted: runs whose connection was lost, which are of five kinds after they were read again. resumed: ended with
    `done`. ended: ended with another terminal event. twice: the action was executed again. lost: no answer with the run
    in it. unread: not read again, because the test ended, or too many were interrupted.

    errors: runs in flight that ended with `error`, on a connection that was not lost. turned_away: runs that could not
    begin.
    """

    at_ns: int
    how: str
    command_s: float | None = None
    problem: str | None = None
    lost_after_ms: float | None = None
    first_good_ms: float | None = None
    interrupted: int = 0
    resumed: int = 0
    ended: int = 0
    twice: int = 0
    lost: int = 0
    unread: int = 0
    errors: int = 0
    turned_away: int = 0

    @classmethod
    def of(
        cls, counts: Mapping[str, int], *, at_ns: int, how: str, command_s: float | None, problem: str | None
    ) -> Self:
        """From counts by the names of the fields; `unread` is the rest of the interrupted runs."""
        names = ("interrupted", "resumed", "ended", "twice", "lost", "errors", "turned_away")
        found = {name: counts.get(name, 0) for name in names}
        read = found["resumed"] + found["ended"] + found["twice"] + found["lost"]
        return cls(
            at_ns=at_ns,
            how=how,
            command_s=command_s,
            problem=problem,
            unread=max(0, found["interrupted"] - read),
            **found,
        )

    @classmethod
    def in_manifest(cls, manifest: Mapping[str, Any]) -> Self | None:
        """That of a results file, whose manifest was checked; None without a restart."""
        document = manifest.get("restart")
        if document is None:
            return None
        return cls(**{part.name: document[part.name] for part in fields(cls) if part.name in document})

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    def sentences(self) -> list[str]:
        """What it cost, in sentences."""
        if self.problem is not None:
            return [f"the server was not restarted: target.restart_command {self.problem}"]
        if self.lost_after_ms is None:
            return [
                f"nothing shows that the server was restarted ({_HOW.get(self.how, self.how)}): no connection was "
                "lost after it, so the time to the first good run is unknown"
            ]
        first_good = (
            "no run that was sent after it was good"
            if self.first_good_ms is None
            else f"the first good run after it ended {self.first_good_ms / 1000:.2f} s after the restart began"
        )
        kinds = {
            "ended with done when read again": self.resumed,
            "ended with another terminal event": self.ended,
            "ran twice": self.twice,
            "lost": self.lost,
            "not read again": self.unread,
        }
        parts = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
        return [
            f"the server was restarted {_HOW.get(self.how, self.how)}, which interrupted "
            f"{counted(self.interrupted, 'run')}{f' ({parts})' if parts else ''}, ended "
            f"{counted(self.errors, 'run')} with an error event and turned {counted(self.turned_away, 'run')} away",
            first_good,
        ]
