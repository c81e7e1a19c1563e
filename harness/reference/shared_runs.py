"""The registry of a server whose runs are in a store that other processes read and write too.

The process that started a run executes it and writes its events. Every process has the runs in flight that its clients
read, and brings them up to date from the log. Each run takes the entry with its next number and no other, so nothing is
lost or repeated between the past and the live events, however a run came into the process.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from weakref import WeakKeyDictionary, WeakSet

from harness.profiles.workflow_actions.events import TERMINAL_TYPES
from harness.reference.runs import Event, RegistryFullError, Run, RunEndedError, RunKey, RunRegistry
from harness.reference.store import Entry, PlaceTakenError, RunStore, StoredRun

_LOOK_S = 0.004  # how often the log is looked at


class SharedRegistry(RunRegistry):
    """Runs in a store.

    owner: the name of this replica. generation: how often it has been restarted; runs that it left unfinished in an
    earlier generation are ended with an `error` event when it starts.
    """

    def __init__(self, store: RunStore, *, owner: str, generation: int, ttl_s: float, max_runs: int) -> None:
        super().__init__(ttl_s=ttl_s, max_runs=max_runs)
        self.store = store
        self.owner = owner
        self.generation = generation
        self._rows: dict[int, Run] = {}  # in flight, as far as this process knows them
        self._origin: WeakKeyDictionary[Run, StoredRun] = WeakKeyDictionary()
        self._ended_elsewhere: WeakSet[Run] = WeakSet()  # another process has written the terminal event
        self._position = 0
        self._expired_s = 0.0

    def begin(self) -> None:
        """Follow the log from now on."""
        self._position = self.store.last_position()
        self.following = asyncio.create_task(self._follow())

    async def shut(self) -> None:
        """Stop following, and release the store."""
        if self.following is not None:
            self.following.cancel()
            await asyncio.wait({self.following})
        self.store.close()

    def left_unfinished(self) -> list[Run]:
        """The runs that this replica was executing when it was stopped."""
        return [self._loaded(row) for row in self.store.unfinished(self.owner, self.generation)]

    async def _follow(self) -> None:
        while True:
            self.catch_up()
            await asyncio.sleep(_LOOK_S)

    def catch_up(self) -> None:
        """Bring the runs in flight up to date."""
        for entry in self.store.log_after(self._position):
            self._position = entry.position
            run = self._rows.get(entry.run)
            if run is not None:
                self.take(run, entry)

    def take(self, run: Run, entry: Entry) -> None:
        """Add an entry of the log to its run, if it is the next one."""
        if run.ended or entry.place != len(run.events):
            return
        if entry.event is not None:
            run.append(entry.event)
            if entry.event.type in TERMINAL_TYPES:
                self._ended_elsewhere.add(run)
            return
        run.end()
        self._rows.pop(entry.run, None)
        self._running.discard(run)
        if run.task is not None:  # another process has ended it
            run.task.cancel()

    def row_of(self, run: Run) -> StoredRun:
        """The run's row."""
        return self._origin[run]

    def is_foreign(self, run: Run) -> bool:
        """Whether another replica executes the run."""
        return self._origin[run].owner != self.owner

    def has_older(self) -> bool:
        """Whether a run was started before the replicas were restarted."""
        return self.store.has_older(self.generation)

    def is_older(self, run: Run) -> bool:
        """Whether the run was started before the replicas were restarted."""
        return self._origin[run].generation < self.generation

    def find(self, identity: RunKey) -> Run | None:
        self._expire()
        return self._known(self.store.find(identity))

    def find_by_run_id(self, organization: str, run_id: str) -> Run | None:
        self._expire()
        return self._known(self.store.find_by_run_id(organization, run_id))

    def _known(self, row: StoredRun | None) -> Run | None:
        return None if row is None else self._rows.get(row.number) or self._loaded(row)

    def _loaded(self, row: StoredRun) -> Run:
        run = Run(row.organization, row.run_id, row.fingerprint, row.identity)
        self._origin[run] = row
        self._rows[row.number] = run
        self.refresh(run)
        return run

    def refresh(self, run: Run) -> None:
        for entry in self.store.log(self._origin[run].number):
            self.take(run, entry)

    def add(self, run: Run) -> None:
        """Store a run before its start. Raises RegistryFullError if full or closed, KeyTakenError for a used key."""
        self._expire()
        if self._closed or len(self._running) >= self._max_runs:
            raise RegistryFullError
        number = self.store.claim(run, self.owner, self.generation)
        self._origin[run] = StoredRun(
            number, run.organization, run.run_id, run.fingerprint, run.identity, self.owner, self.generation
        )
        self._rows[number] = run
        self._running.add(run)

    def publish(self, run: Run, event: Event) -> None:
        """Append an event, here and in the store. Raises RunEndedError if another process has ended the run.

        That takes two entries, the terminal event and the end; what comes between them would be a second end.
        """
        if run in self._ended_elsewhere:
            raise RunEndedError(f"another process has ended run {run.run_id!r}")
        self._write(run, event)
        run.append(event)

    def retire(self, run: Run) -> None:
        """End the run in the store."""
        self._rows.pop(self._origin[run].number, None)
        self._running.discard(run)
        with suppress(RunEndedError):
            self._write(run, None)

    def _write(self, run: Run, event: Event | None) -> None:
        number = self._origin[run].number
        try:
            self.store.append(number, len(run.events), event)
        except PlaceTakenError:
            raise RunEndedError(f"another process has written to run {run.run_id!r}") from None

    def _expire(self, room_for: int = 0) -> None:  # noqa: ARG002 - room is the limit of runs in flight here
        now_s = time.time()
        if now_s - self._expired_s > 1:
            self._expired_s = now_s
            self.store.expire(now_s - self._ttl_s)
