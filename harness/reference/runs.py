"""Runs and their registry. A run is an append-only list of events, read by any number of streams.

There are no locks: everything runs in one event loop, and looking up a run and starting a new one happen without an
await in between.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from harness.profiles.workflow_actions.event_id import StreamId

RunKey = tuple[str, str, str]
"""The registry key of a run: organization, ``key`` or ``runId``, and its value."""


class Event(NamedTuple):
    """One event of a run; `data` is its JSON text."""

    id: StreamId
    type: str
    data: str


class RegistryFullError(Exception):
    """The limit of running runs is reached, or the registry is closed."""


class KeyTakenError(Exception):
    """Another request has started a run under this key."""


class RunEndedError(RuntimeError):
    """The run has ended, here or in another process."""


def next_id(last: StreamId | None, now_ms: int) -> StreamId:
    """The id after `last` at wall clock time `now_ms`; increasing even if the clock stands still or goes back."""
    if last is None or now_ms > last.ms:
        return StreamId(now_ms, 0)
    return StreamId(last.ms, last.seq + 1)


class Run:
    """One execution of an action: its events so far, and the streams that wait for more."""

    def __init__(self, organization: str, run_id: str, fingerprint: bytes, identity: RunKey | None) -> None:
        self.organization = organization
        self.run_id = run_id
        self.fingerprint = fingerprint
        self.identity = identity
        self.events: list[Event] = []
        self.ended = False
        self.task: asyncio.Task[None] | None = None
        self._waiters: set[asyncio.Future[bool]] = set()

    @property
    def last_id(self) -> StreamId | None:
        """Id of the newest event."""
        return self.events[-1].id if self.events else None

    def append(self, event: Event) -> None:
        """Add the next event and wake the waiting streams.

        Raises RunEndedError after the end.
        """
        if self.ended:
            raise RunEndedError(f"run {self.run_id!r} has ended: no more events allowed")
        self.events.append(event)
        self._wake()

    def end(self) -> None:
        """Mark the end: no event follows."""
        self.ended = True
        self._wake()

    def index_after(self, last_seen: StreamId) -> int | None:
        """The index after the event with id `last_seen`; None if this run has no such event."""
        index = bisect_left(self.events, last_seen, key=lambda event: event.id)
        exists = index < len(self.events) and self.events[index].id == last_seen
        return index + 1 if exists else None

    async def more_than(self, count: int, timeout_s: float) -> bool:
        """Wait until there are more than `count` events or the run has ended; False after `timeout_s`."""
        if len(self.events) > count or self.ended:
            return True
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiters.add(waiter)
        timer = loop.call_later(timeout_s, _resolve, waiter, False)
        try:
            woken = await waiter
        finally:
            timer.cancel()
            self._waiters.discard(waiter)
        # An event may have come after the timer, in the same turn of the loop.
        return woken or len(self.events) > count or self.ended

    def _wake(self) -> None:
        for waiter in self._waiters:
            _resolve(waiter, True)
        self._waiters.clear()


def _resolve(waiter: asyncio.Future[bool], woken: bool) -> None:
    if not waiter.done():
        waiter.set_result(woken)


class RunRegistry:
    """The runs in flight, and finished runs that can still be resumed.

    Finished runs are removed `ttl_s` seconds after their end, or earlier (oldest first) while there are more than
    `max_runs` runs. Runs in flight are never removed.
    """

    def __init__(self, *, ttl_s: float, max_runs: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl_s = ttl_s
        self._max_runs = max_runs
        self._clock = clock
        self._closed = False
        self._running: set[Run] = set()
        self._finished: deque[tuple[float, Run]] = deque()
        self._by_identity: dict[RunKey, Run] = {}
        self._by_run_id: dict[tuple[str, str], Run] = {}
        self.following: asyncio.Task[None] | None = None
        """Reads what other processes write, for as long as the server runs; ends if their store fails."""

    def __len__(self) -> int:
        self._expire()
        return len(self._running) + len(self._finished)

    @property
    def running(self) -> frozenset[Run]:
        """The runs in flight."""
        return frozenset(self._running)

    def find(self, identity: RunKey) -> Run | None:
        """The run that was started under `identity`."""
        self._expire()
        return self._by_identity.get(identity)

    def find_by_run_id(self, organization: str, run_id: str) -> Run | None:
        """The newest run of `organization` with this run id."""
        self._expire()
        return self._by_run_id.get((organization, run_id))

    def add(self, run: Run) -> None:
        """Register a run before its start. Raises RegistryFullError if full or closed."""
        self._expire(room_for=1)
        if self._closed or len(self._running) >= self._max_runs:
            raise RegistryFullError
        self._running.add(run)
        self._by_run_id[run.organization, run.run_id] = run
        if run.identity is not None:
            self._by_identity[run.identity] = run

    def begin(self) -> None:
        """Called before the first request."""

    async def shut(self) -> None:
        """Called after the last request."""

    def left_unfinished(self) -> list[Run]:
        """The runs that this server was executing when it was stopped."""
        return []

    def refresh(self, run: Run) -> None:
        """Bring the run up to date, if other processes write to it."""

    def publish(self, run: Run, event: Event) -> None:
        """Append an event. Raises RunEndedError after the end."""
        run.append(event)

    def close(self) -> None:
        """Accept no more runs."""
        self._closed = True

    def retire(self, run: Run) -> None:
        """Mark the run as finished: its time to live starts."""
        self._running.remove(run)
        self._finished.append((self._clock(), run))
        self._expire()

    def forget(self, run: Run) -> None:
        """Remove the run from lookups; streams that already read it continue."""
        if self._by_run_id.get((run.organization, run.run_id)) is run:
            del self._by_run_id[run.organization, run.run_id]
        if run.identity is not None and self._by_identity.get(run.identity) is run:
            del self._by_identity[run.identity]

    def _expire(self, room_for: int = 0) -> None:
        horizon = self._clock() - self._ttl_s
        room = self._max_runs - len(self._running) - room_for
        while self._finished and (self._finished[0][0] <= horizon or len(self._finished) > room):
            self.forget(self._finished.popleft()[1])
