"""Faults that violate the resume requirements."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import ClassVar
from weakref import WeakKeyDictionary, WeakSet

from aiohttp import web

from harness.contract.rules import resume
from harness.profiles.workflow_actions.event_id import StreamId
from harness.profiles.workflow_actions.events import TERMINAL_TYPES
from harness.reference.api import (
    HEARTBEAT,
    Connection,
    Rejection,
    Submission,
)
from harness.reference.faults.base import Fault
from harness.reference.faults.input import internal_error
from harness.reference.runs import Event, Run
from harness.reference.settings import ServerSettings


class ReplayReexecutes(Fault, name="replay-reexecutes", breaks=resume.no_new_run):
    """Forgets the key when the run is done: a later retry executes the action again."""

    def find(self, submission: Submission, key: str | None) -> Run | None:
        run = super().find(submission, key)
        return None if run and run.ended and run.events[-1].type == "done" else run


class ReplayDropsLastToken(Fault, name="replay-drops-last-token", breaks=resume.replay):
    """Stores tokens one behind: a replay after completion lacks the last token."""

    def due(self, reader: Connection) -> list[Event]:
        due = super().due(reader)
        if reader.started_run or reader.joined:
            return due
        tokens = [event for event in due if event.type == "token"]
        return [event for event in due if event not in tokens[-1:]]


class ReplayStampsNewIds(Fault, name="replay-stamps-new-ids", breaks=resume.replay):
    """Generates ids while sending, so a replayed event has a different id."""

    def due(self, reader: Connection) -> list[Event]:
        due = super().due(reader)
        if reader.started_run or reader.joined:
            return due
        return [event._replace(id=StreamId(event.id.ms + 1, event.id.seq)) for event in due]


class StringSortedReplay(Fault, name="string-sorted-replay", breaks=resume.replay):
    """Reads a finished run from a store that sorts ids as text: sequence number 10 comes before 9."""

    def event_id(self, run: Run) -> StreamId:
        first = run.events[0].id if run.events else None
        return super().event_id(run) if first is None else StreamId(first.ms, len(run.events))

    def due(self, reader: Connection) -> list[Event]:
        due = super().due(reader)
        return due if reader.started_run or reader.joined else sorted(due, key=lambda event: str(event.id))


class LateJoinerMissesPrefix(Fault, name="late-joiner-misses-prefix", breaks=resume.joins):
    """Sends a client that joins a running run only the new events, not the earlier ones."""

    def resume_index(self, run: Run, last_seen: StreamId | None) -> int:
        if last_seen is None and not run.ended:
            return len(run.events)
        return super().resume_index(run, last_seen)


class LateJoinerGap(Fault, name="late-joiner-gap", breaks=resume.joins):
    """Sends a client that joins a running run the first event, and then only new ones."""

    def due(self, reader: Connection) -> list[Event]:
        due = super().due(reader)
        return due[:1] if reader.joined and reader.index == 0 else due


class LateJoinerHole(Fault, name="late-joiner-hole", breaks=resume.joins):
    """Reads the past events of a running run, and subscribes to new ones 40 ms later: what comes between is lost."""

    hole_s: ClassVar[float] = 0.04

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings)
        self._had_past_s: WeakKeyDictionary[Connection, float] = WeakKeyDictionary()

    def due(self, reader: Connection) -> list[Event]:
        due, now_s = super().due(reader), time.monotonic()
        has_past = reader in self._had_past_s
        if reader.joined and has_past and now_s - self._had_past_s[reader] < self.hole_s:
            return [event for event in due if event.type in TERMINAL_TYPES]
        self._had_past_s.setdefault(reader, now_s)
        return due


class OffByOneGap(Fault, name="off-by-one-gap", breaks=resume.every_cut):
    """Resumes one event too late."""

    def resume_index(self, run: Run, last_seen: StreamId | None) -> int:
        index = super().resume_index(run, last_seen)
        return index + 1 if index else 0


class OffByOneDuplicate(Fault, name="off-by-one-duplicate", breaks=resume.every_cut):
    """Resumes with the event that the client has already seen."""

    def resume_index(self, run: Run, last_seen: StreamId | None) -> int:
        return max(super().resume_index(run, last_seen) - 1, 0)


class InFlightGap(Fault, name="in-flight-gap", breaks=resume.every_cut):
    """Resumes a run in flight one event too late, and a finished run correctly."""

    def resume_index(self, run: Run, last_seen: StreamId | None) -> int:
        index = super().resume_index(run, last_seen)
        return index + 1 if index and not run.ended else index


class OneInFlightGap(Fault, name="one-in-flight-gap", breaks=resume.every_cut):
    """Resumes one in four runs in flight one event too late, each time, and a finished run correctly."""

    one_in: ClassVar[int] = 4

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings)
        self._resumed: dict[str, int] = {}

    def resume_index(self, run: Run, last_seen: StreamId | None) -> int:
        index = super().resume_index(run, last_seen)
        if run.ended or not index:
            return index
        number = self._resumed.setdefault(run.run_id, len(self._resumed))
        return index + 1 if number % self.one_in == 0 else index


class SecondInFlightGap(Fault, name="second-in-flight-gap", breaks=resume.every_cut):
    """Resumes a run in flight correctly the first time, and one event too late from the second time on."""

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings)
        self._resumed: set[str] = set()

    def resume_index(self, run: Run, last_seen: StreamId | None) -> int:
        index = super().resume_index(run, last_seen)
        if run.ended or not index:
            return index
        was_resumed = run.run_id in self._resumed
        self._resumed.add(run.run_id)
        return index + 1 if was_resumed else index


class ResumesByMilliseconds(Fault, name="resumes-by-milliseconds", breaks=resume.every_cut):
    """Several events have one millisecond; resumes with the first event of the next one."""

    def event_id(self, run: Run) -> StreamId:
        following = super().event_id(run)
        is_third = len(run.events) % 3 == 0
        return following if is_third or run.last_id is None else StreamId(run.last_id.ms, run.last_id.seq + 1)

    def resume_index(self, run: Run, last_seen: StreamId | None) -> int:
        if last_seen is None or run.index_after(last_seen) is None:
            return super().resume_index(run, last_seen)
        later = (place for place, event in enumerate(run.events) if event.id.ms > last_seen.ms)
        return next(later, len(run.events))


class LastEventIdIgnored(Fault, name="last-event-id-ignored", breaks=resume.last_event_id):
    """Replays from the first event, whatever the client has seen."""

    def resume_index(self, run: Run, last_seen: StreamId | None) -> int:  # noqa: ARG002
        return super().resume_index(run, None)


class DisconnectCancels(Fault, name="disconnect-cancels", breaks=resume.survives_disconnect):
    """Ties the run to the connection that reads it."""

    def on_disconnect(self, reader: Connection) -> None:
        super().on_disconnect(reader)
        run = reader.run
        if not run.ended:
            self.finish(run, {"type": "cancelled", "runId": run.run_id})


class EarlyDisconnectCancels(Fault, name="early-disconnect-cancels", breaks=resume.survives_disconnect):
    """Sends the response head with the first event, and cancels the run if the client has disconnected by then."""

    first_event_s: ClassVar[float] = 0.5  # so that a busy client too can disconnect before it

    def __init__(self, settings: ServerSettings) -> None:
        delay_s = settings.first_token_delay_s + self.first_event_s
        super().__init__(replace(settings, first_token_delay_s=delay_s))

    async def stream(self, http: web.BaseRequest, reader: Connection) -> web.StreamResponse:
        run = reader.run
        if reader.started_run:
            while not await run.more_than(0, self.settings.heartbeat_s):
                pass
            gone = http.transport is None or http.transport.is_closing()
            if gone and not run.ended:
                self.finish(run, {"type": "cancelled", "runId": run.run_id})
        return await super().stream(http, reader)


class WaitsAfterTerminal(Fault, name="waits-after-terminal", breaks=resume.after_terminal):
    """Waits for the event after the terminal one, with heartbeats."""

    async def chunks(self, reader: Connection) -> AsyncGenerator[bytes, None]:
        while reader.run.ended and reader.index >= len(reader.run.events):
            yield HEARTBEAT
            await asyncio.sleep(self.settings.heartbeat_s)
        async for chunk in super().chunks(reader):
            yield chunk


class WaitsAfterCancelled(Fault, name="waits-after-cancelled", breaks=resume.after_terminal):
    """Waits for the event after a `cancelled`, with heartbeats; after any other terminal event nothing follows."""

    async def chunks(self, reader: Connection) -> AsyncGenerator[bytes, None]:
        run = reader.run
        while run.ended and run.events[-1].type == "cancelled" and reader.index >= len(run.events):
            yield HEARTBEAT
            await asyncio.sleep(self.settings.heartbeat_s)
        async for chunk in super().chunks(reader):
            yield chunk


class IdsComparedAsText(Fault, name="ids-compared-as-text", breaks=resume.id_order):
    """Resumes with the first event whose id is greater as text: `2-0` is greater than every id."""

    def resume_index(self, run: Run, last_seen: StreamId | None) -> int:
        if last_seen is None:
            return super().resume_index(run, last_seen)
        later = (place for place, event in enumerate(run.events) if str(event.id) > str(last_seen))
        return next(later, len(run.events))


class KnownIdsComparedAsText(Fault, name="known-ids-compared-as-text", breaks=resume.id_order):
    """Resumes a known id with the first event whose id is greater as text, which after seq 9 is not seq 10."""

    clock_ms: ClassVar[int] = 20  # it advances every 20 ms, so ten events of a short run have one millisecond

    def event_id(self, run: Run) -> StreamId:
        following, last = super().event_id(run), run.last_id
        is_soon = last is not None and following.ms - last.ms < self.clock_ms
        return StreamId(last.ms, last.seq + 1) if last is not None and is_soon else following

    def resume_index(self, run: Run, last_seen: StreamId | None) -> int:
        if last_seen is None or run.index_after(last_seen) is None:
            return super().resume_index(run, last_seen)
        later = (place for place, event in enumerate(run.events) if str(event.id) > str(last_seen))
        return next(later, len(run.events))


class UnknownIdGetsNothing(Fault, name="unknown-id-gets-nothing", breaks=resume.bad_last_event_id):
    """Ends the stream at once, without an event, if the run does not have the id."""

    def resume_index(self, run: Run, last_seen: StreamId | None) -> int:
        unknown = last_seen is not None and run.index_after(last_seen) is None
        return len(run.events) if unknown else super().resume_index(run, last_seen)


class BadLastEventIdBreaks(Fault, name="bad-last-event-id-breaks", breaks=resume.bad_last_event_id):
    """Parses Last-Event-ID and fails with 500 on anything but its own ids."""

    def last_event_id(self, http: web.BaseRequest) -> StreamId | None:
        try:
            return super().last_event_id(http)
        except Rejection:
            raise internal_error() from None


class UnknownLastEventIdHangs(Fault, name="unknown-last-event-id-hangs", breaks=resume.bad_last_event_id):
    """Waits for an event id that this run will never reach."""

    def resume_index(self, run: Run, last_seen: StreamId | None) -> int:
        unknown = last_seen is not None and run.index_after(last_seen) is None
        return -1 if unknown else super().resume_index(run, last_seen)

    async def chunks(self, reader: Connection) -> AsyncGenerator[bytes, None]:
        while reader.index < 0:
            await asyncio.sleep(self.settings.heartbeat_s)
            yield HEARTBEAT
        async for chunk in super().chunks(reader):
            yield chunk


class FailureReexecutes(Fault, name="failure-reexecutes", breaks=resume.failure_replayed):
    """Keeps only successful runs: the retry of a failed run executes it again."""

    def find(self, submission: Submission, key: str | None) -> Run | None:
        run = super().find(submission, key)
        return None if run and run.ended and run.events[-1].type == "error" else run


class FailureReplayedAsDone(Fault, name="failure-replayed-as-done", breaks=resume.failure_replayed):
    """Stores that a run is over, but not how: the replay of a failure ends with done."""

    def due(self, reader: Connection) -> list[Event]:
        due = super().due(reader)
        if not (reader.started_run or reader.joined) and due and due[-1].type == "error":
            done = self.event_data({"type": "done", "runId": reader.run.run_id})
            due[-1] = Event(due[-1].id, "done", done)
        return due


class TerminalLostInRace(Fault, name="terminal-lost-in-race", breaks=resume.terminal_race):
    """Copies the past events for the first reader that joins, and subscribes late: a run that ends soon has no end."""

    late_events: ClassVar[int] = 4  # counted, not timed: a slow machine does not change what is lost

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings)
        self._joined: WeakSet[Run] = WeakSet()
        self._copied: WeakKeyDictionary[Connection, int] = WeakKeyDictionary()

    async def stream(self, http: web.BaseRequest, reader: Connection) -> web.StreamResponse:
        if reader.joined and reader.run not in self._joined:
            self._joined.add(reader.run)
            self._copied[reader] = len(reader.run.events)
        return await super().stream(http, reader)

    def due(self, reader: Connection) -> list[Event]:
        due, copied = super().due(reader), self._copied.get(reader)
        raced = copied is not None and len(reader.run.events) - copied <= self.late_events
        return [event for event in due if event.type not in TERMINAL_TYPES] if raced else due


class FirstReaderRobbed(Fault, name="first-reader-robbed", breaks=resume.first_reader_kept):
    """Keeps one subscriber per run: a second connection takes the events away from the first."""

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings)
        self._newest: WeakKeyDictionary[Run, float] = WeakKeyDictionary()

    def due(self, reader: Connection) -> list[Event]:
        newest = self._newest[reader.run] = max(self._newest.get(reader.run, 0.0), reader.opened_s)
        return super().due(reader) if reader.opened_s >= newest or not reader.started_run else []


class KeysExpireEarly(Fault, name="keys-expire-early", breaks=resume.retention):
    """Keeps the keys of only the last 125 runs that ended: a later retry executes the action again."""

    kept: ClassVar[int] = 125  # more than end between a run and any retry of the suite but the last one

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings)
        self._ended: deque[Run] = deque()

    def close_run(self, run: Run) -> None:
        super().close_run(run)
        self._ended.append(run)
        if len(self._ended) > self.kept:
            self.registry.forget(self._ended.popleft())
