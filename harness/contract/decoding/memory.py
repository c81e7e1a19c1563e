"""What the responses of one process may hold in memory together.

A server decides how much it sends. Without a common bound a few large responses, or many of moderate size, would take
all memory of the machine that tests it. So each response takes from one budget; what it took returns when it is
dropped. While the budget lasts, a response may take half of what is left. Every response may hold LEAST_BYTES, however
little is left, so that ordinary streams are read to their end next to others that are not.

The suite keeps every response to its end, and its rules look at each event. So its responses also share a number of
events, which bounds the time.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

from harness.contract.decoding.limits import MAX_RESPONSE_BYTES, MIB, cost_in_events, in_mib

LEAST_BYTES = 256 * 1024
LEAST_EVENTS = 2000
KEPT_EVENTS = 1_000_000
_FULL_WEIGHT = 4  # an event that needs the full decoder counts as so many
DEFAULT_TOTAL_BYTES = 96 * MIB
RECENT_BYTES = 48 * MIB

T = TypeVar("T")


class MemoryBudget:
    """The common budget of a process's responses.

    total_bytes: of all responses. response_bytes: of one response, as received. used_bytes: taken by all responses.
    total_events, used_events: the same for events; None for no limit.
    """

    def __init__(
        self,
        total_bytes: int = DEFAULT_TOTAL_BYTES,
        response_bytes: int = MAX_RESPONSE_BYTES,
        total_events: int | None = None,
    ) -> None:
        self.total_events = total_events
        self.used_events = 0
        self.total_bytes = total_bytes
        self.response_bytes = response_bytes
        self.used_bytes = 0

    @classmethod
    def unlimited(cls) -> MemoryBudget:
        """For a response that is in memory already."""
        return cls(sys.maxsize, sys.maxsize)

    @property
    def is_tight(self) -> bool:
        """Whether more than a quarter is taken, so that what is kept should be made small."""
        return 4 * self.used_bytes > self.total_bytes

    def limit_of(self, share: MemoryShare) -> str | None:
        """Which limit this response has reached, in a sentence; None if it may go on."""
        if not self._allows_bytes(share):
            return (
                f"the responses in memory are larger than {in_mib(self.total_bytes)} together (limits.memory)"
            )
        if not self._allows_events(share):
            one = f"more than {LEAST_EVENTS:,} events in this one"
            return f"the responses have too many events or lines together ({one})"
        return None

    def _allows_events(self, share: MemoryShare) -> bool:
        if self.total_events is None:
            return True
        left_without_it = self.total_events - self.used_events + share.weighted_events
        return share.events <= LEAST_EVENTS or share.weighted_events <= left_without_it // 2

    def _allows_bytes(self, share: MemoryShare) -> bool:
        left_without_it = self.total_bytes - self.used_bytes + share.held_bytes
        return share.held_bytes <= max(LEAST_BYTES, left_without_it // 2)


DEFAULT_BUDGET = MemoryBudget()
"""Of all responses whose client was given no other."""


class MemoryShare:
    """What one response holds of a budget; it returns when the response is dropped.

    events: with what its lines cost (limits.cost_in_events).
    """

    __slots__ = ("budget", "events", "held_bytes", "weighted_events")

    def __init__(self, budget: MemoryBudget) -> None:
        self.budget = budget
        self.held_bytes = 0
        self.events = 0
        self.weighted_events = 0

    def hold(self, size_bytes: int) -> None:
        """The response holds this much from now on."""
        self.budget.used_bytes += size_bytes - self.held_bytes
        self.held_bytes = size_bytes

    def hold_events(self, events: int, extra_lines: int, *, in_full: bool) -> None:
        """The response has so many events and other lines. in_full: its events need the full decoder.

        A rule that looks at any event has the lines read by that decoder too.
        """
        count = cost_in_events(events, extra_lines)
        weighted = count * _FULL_WEIGHT if in_full else events + (count - events) * _FULL_WEIGHT
        self.budget.used_events += weighted - self.weighted_events
        self.events, self.weighted_events = count, weighted

    def __del__(self) -> None:
        self.budget.used_bytes -= self.held_bytes
        self.budget.used_events -= self.weighted_events


class _Recent:
    """The values of `kept_while_recent`, least recently used first."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.held_bytes = 0
        self._entries: OrderedDict[tuple[int, str], tuple[weakref.ref[Any], int]] = OrderedDict()
        self._lock = threading.RLock()  # the suite's scenarios run in a separate thread

    def touch(self, owner: object, name: str) -> None:
        with self._lock:
            if (id(owner), name) in self._entries:
                self._entries.move_to_end((id(owner), name))

    def add(self, owner: object, name: str, cost_bytes: int) -> None:
        key = (id(owner), name)
        with self._lock:
            self._drop(key)
            self._entries[key] = weakref.ref(owner, lambda _: self._drop(key)), cost_bytes
            self.held_bytes += cost_bytes
            while self.held_bytes > self.max_bytes and len(self._entries) > 1:
                self._forget(next(iter(self._entries)))

    def _forget(self, key: tuple[int, str]) -> None:
        owner = self._entries[key][0]()
        self._drop(key)
        if owner is not None:
            vars(owner).pop(key[1], None)

    def _drop(self, key: tuple[int, str]) -> None:
        with self._lock:
            entry = self._entries.pop(key, None)
            if entry is not None:
                self.held_bytes -= entry[1]


RECENT = _Recent(RECENT_BYTES)


class kept_while_recent(Generic[T]):  # noqa: N801 - a decorator, like cached_property
    """A property that is computed again if it was not used for a while: others have taken its place in memory.

    cost: the bytes that a value takes, about.
    """

    def __init__(self, function: Callable[[Any], T], cost: Callable[[T], int]) -> None:
        self._function = function
        self._cost = cost
        self.__doc__ = function.__doc__
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"_recent {name}"

    @overload
    def __get__(self, instance: None, owner: type) -> kept_while_recent[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> T | kept_while_recent[T]:
        if instance is None:
            return self
        values = vars(instance)
        try:
            value: T = values[self._name]
        except KeyError:
            value = self._function(instance)
            values[self._name] = value
            RECENT.add(instance, self._name, self._cost(value))
        else:
            RECENT.touch(instance, self._name)
        return value


def recent(cost: Callable[[T], int]) -> Callable[[Callable[[Any], T]], kept_while_recent[T]]:
    """Make a method a `kept_while_recent` property."""
    return lambda function: kept_while_recent(function, cost)
