"""Where runs are kept if several processes, or a later one, serve them: a table of keys and one log of events.

A store is the only place where two replicas meet, so each step that they may both take is one atomic statement:
claiming a key, and appending the event with a certain number to a run. The end of a run is an entry of its log too.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from typing import NamedTuple, Protocol

from harness.profiles.workflow_actions.event_id import StreamId
from harness.reference.runs import Event, KeyTakenError, Run, RunKey

SCHEME = "sqlite:"
REDIS_SCHEMES = ("redis:", "rediss:")
_BUSY_S = 5.0
_AGAIN_S = 0.005
_END = ""  # the type of the entry that ends a run's log

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    number INTEGER PRIMARY KEY, organization TEXT NOT NULL, run_id TEXT NOT NULL, fingerprint BLOB NOT NULL,
    kind TEXT, key TEXT, owner TEXT NOT NULL, generation INTEGER NOT NULL, ended_s REAL,
    UNIQUE (organization, kind, key)
);
CREATE INDEX IF NOT EXISTS runs_by_id ON runs (organization, run_id);
CREATE INDEX IF NOT EXISTS runs_by_end ON runs (ended_s);
CREATE TABLE IF NOT EXISTS events (
    position INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER NOT NULL, place INTEGER NOT NULL,
    ms INTEGER, seq INTEGER, type TEXT NOT NULL, data TEXT NOT NULL,
    UNIQUE (run, place)
);
"""


class PlaceTakenError(Exception):
    """The run's log has an entry with this number: another process has written to it."""


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run's row. owner: the replica that executes it. generation: how often that had been restarted then."""

    number: int
    organization: str
    run_id: str
    fingerprint: bytes
    identity: RunKey | None
    owner: str
    generation: int


class Entry(NamedTuple):
    """An entry of the log. position: in the whole log. place: in its run, from 0. event: None ends the run."""

    position: int
    run: int
    place: int
    event: Event | None


class RunStore(Protocol):
    """What the registry of a server with a shared store needs of it."""

    def claim(self, run: Run, owner: str, generation: int) -> int:
        """Store a new run; returns its number. Raises KeyTakenError if its key has one."""

    def find(self, identity: RunKey) -> StoredRun | None:
        """The run that was started under `identity`."""

    def find_by_run_id(self, organization: str, run_id: str) -> StoredRun | None:
        """The newest run of `organization` with this run id."""

    def log(self, number: int) -> list[Entry]:
        """The entries of one run so far, in order."""

    def log_after(self, position: int) -> list[Entry]:
        """The entries of all runs after `position`, in order."""

    def last_position(self) -> int:
        """The position of the newest entry; 0 if there is none."""

    def append(self, number: int, place: int, event: Event | None) -> None:
        """Append to a run's log; None ends it. Raises PlaceTakenError if the run has an entry at this place."""

    def unfinished(self, owner: str, before_generation: int) -> list[StoredRun]:
        """The runs without an end that `owner` executed before it was started for the last time."""

    def has_older(self, generation: int) -> bool:
        """Whether a run was started before this generation."""

    def expire(self, ended_before_s: float) -> None:
        """Forget the runs that ended before this time (seconds of the epoch)."""

    def close(self) -> None:
        """Release the connection."""


class SqliteStore:
    """A store in one SQLite file, for processes of one machine. Raises OSError if the file cannot be opened.

    Calls block for the time of one statement, which on a local disk is less than a millisecond.
    """

    def __init__(self, path: str) -> None:
        try:
            self._database = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
            try:
                self._prepare()
            except BaseException:
                self._database.close()
                raise
        except sqlite3.Error as problem:
            raise OSError(f"cannot open the store {path}: {problem}") from None
        self._version = -1

    def _prepare(self) -> None:
        """Make what is missing in the file. SQLite does not wait while another process changes its journal mode."""
        until_s = time.monotonic() + _BUSY_S
        while True:
            try:
                self._database.execute("PRAGMA journal_mode = WAL")
                # Survives a killed process, not a power cut.
                self._database.execute("PRAGMA synchronous = OFF")
                self._database.executescript(_SCHEMA)
            except sqlite3.OperationalError as problem:
                if problem.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until_s:
                    raise
                time.sleep(_AGAIN_S)
            else:
                return

    def claim(self, run: Run, owner: str, generation: int) -> int:
        _, kind, key = run.identity or (None, None, None)
        try:
            cursor = self._database.execute(
                "INSERT INTO runs (organization, run_id, fingerprint, kind, key, owner, generation) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (run.organization, run.run_id, run.fingerprint, kind, key, owner, generation),
            )
        except sqlite3.IntegrityError:
            raise KeyTakenError from None
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def find(self, identity: RunKey) -> StoredRun | None:
        return next(self._runs("organization = ? AND kind = ? AND key = ?", *identity), None)

    def find_by_run_id(self, organization: str, run_id: str) -> StoredRun | None:
        where = "organization = ? AND run_id = ? ORDER BY number DESC LIMIT 1"
        return next(self._runs(where, organization, run_id), None)

    def unfinished(self, owner: str, before_generation: int) -> list[StoredRun]:
        return list(self._runs("ended_s IS NULL AND owner = ? AND generation < ?", owner, before_generation))

    def has_older(self, generation: int) -> bool:
        return next(self._runs("generation < ? LIMIT 1", generation), None) is not None

    def _runs(self, where: str, *values: object) -> Iterator[StoredRun]:
        columns = "number, organization, run_id, fingerprint, kind, key, owner, generation"
        with closing(self._database.execute(f"SELECT {columns} FROM runs WHERE {where}", values)) as rows:  # noqa: S608 - constant text
            for number, organization, run_id, fingerprint, kind, key, owner, generation in rows:
                identity = None if kind is None else (organization, kind, key)
                yield StoredRun(number, organization, run_id, fingerprint, identity, owner, generation)

    def log(self, number: int) -> list[Entry]:
        return self._entries("run = ?", number)

    def log_after(self, position: int) -> list[Entry]:
        """The entries after `position`; none without a look at the log if no other connection has written."""
        version = self._database.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version:
            return []
        entries = self._entries("position > ?", position)
        self._version = version
        return entries

    def _entries(self, where: str, value: int) -> list[Entry]:
        rows = self._database.execute(
            f"SELECT position, run, place, ms, seq, type, data FROM events WHERE {where} ORDER BY position",  # noqa: S608 - constant text
            (value,),
        )
        return [
            Entry(position, run, place, Event(StreamId(ms, seq), kind, data) if kind != _END else None)
            for position, run, place, ms, seq, kind, data in rows
        ]

    def last_position(self) -> int:
        position: int = self._database.execute("SELECT coalesce(max(position), 0) FROM events").fetchone()[0]
        return position

    def append(self, number: int, place: int, event: Event | None) -> None:
        ms, seq, kind, data = (*event.id, event.type, event.data) if event else (None, None, _END, "")
        try:
            self._database.execute(
                "INSERT INTO events (run, place, ms, seq, type, data) VALUES (?, ?, ?, ?, ?, ?)",
                (number, place, ms, seq, kind, data),
            )
        except sqlite3.IntegrityError:
            raise PlaceTakenError from None
        if event is None:
            self._database.execute("UPDATE runs SET ended_s = ? WHERE number = ?", (time.time(), number))

    def expire(self, ended_before_s: float) -> None:
        old = "SELECT number FROM runs WHERE ended_s < ?"
        self._database.execute(f"DELETE FROM events WHERE run IN ({old})", (ended_before_s,))  # noqa: S608 - constant text
        self._database.execute("DELETE FROM runs WHERE ended_s < ?", (ended_before_s,))

    def close(self) -> None:
        self._database.close()


def kind_of_store(address: str) -> Callable[[str], RunStore]:
    """What opens a store with this address. It imports what that takes, so that forked processes have it.

    Raises ValueError for another kind of address, and for Redis without its client.
    """
    if address.startswith(REDIS_SCHEMES):
        if find_spec("redis") is None:
            raise ValueError(
                "a store in Redis needs its client; install it with: pip install 'agent-run-harness[redis]'"
            )
        from harness.reference import redis_store

        return redis_store.RedisStore
    if not address.startswith(SCHEME) or address == SCHEME:
        raise ValueError(f"the store {address!r} is not of the form sqlite:PATH or redis://HOST")
    return lambda address: SqliteStore(address.removeprefix(SCHEME))


def open_store(address: str) -> RunStore:
    """The store at ``sqlite:PATH`` or ``redis://HOST``.

    Raises ValueError as `kind_of_store` does and for another form of address; OSError if it cannot be opened.
    """
    return kind_of_store(address)(address)
