"""Events that open something, events that close it, and tokens in between, where an API has such pairs."""

from __future__ import annotations

from harness.formatting import shortened
from harness.profiles.run_event import PairMark, RunEvent


class OpenPairs:
    """What a stream has opened and not yet closed. is_whole: the stream starts with its run, not later.

    A run that failed or was cancelled stops in the middle, so nothing after that is compared.
    """

    def __init__(self, *, is_whole: bool = True) -> None:
        self._is_whole = is_whole
        self._open: dict[tuple[str, str], None] = {}
        self._closed: set[tuple[str, str]] = set()
        self._is_broken_off = False

    @property
    def left_open(self) -> list[str]:
        """What is open, in words."""
        return [_words(*thing) for thing in self._open]

    def take(self, event: RunEvent) -> str | None:
        """Note the next event. What is wrong with it, as a predicate; None if it fits."""
        if event.outcome in {"error", "cancelled"}:
            self._is_broken_off = True
        if self._is_broken_off:
            return None
        return next(filter(None, map(self._take_mark, event.marks)), None)

    def _take_mark(self, mark: PairMark) -> str | None:
        thing = mark.thing
        if mark.role == "opens":
            if thing in self._open:
                return f"opens {_words(*thing)} again, which is open"
            self._closed.discard(thing)
            self._open[thing] = None
        elif mark.role == "closes":
            if thing not in self._open and (self._is_whole or thing in self._closed):
                return f"closes {_words(*thing)}, which is not open"
            self._open.pop(thing, None)
            self._closed.add(thing)
        elif thing in self._closed:
            return f"brings text of {_words(*thing)} after its end"
        return None


def _words(opening: str, key: str) -> str:
    return f"{opening} {shortened(key)!r}" if key else opening
