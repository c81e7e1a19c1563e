"""Switchable defects of the embedded server: what real servers get wrong, one named class each.

A fault overrides one seam of the API and leaves the rest right, so that a suite which finds it has found
that and nothing else. Several compose, each calling the next through ``super()``.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import socket
import time
import traceback
import uuid
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from typing import Any, ClassVar
from weakref import WeakKeyDictionary, WeakSet

from aiohttp import web

from harness.profiles.workflow_actions.event_id import StreamId
from harness.profiles.workflow_actions.events import TERMINAL_TYPES
from harness.protocol.request import WorkflowActionRequest
from harness.reference.actions import Tokens
from harness.reference.api import (
    HEARTBEAT,
    Payload,
    Reader,
    ReferenceApi,
    Rejection,
    Submission,
    canonical_json,
)
from harness.reference.runs import Event, Identity, Run, next_id
from harness.reference.settings import ServerSettings

FAULTS: dict[str, type[Fault]] = {}
"""Every fault by the name that ``--fault`` takes."""


class Fault(ReferenceApi):
    """A defect; its docstring says what the server does wrong.

    `name` is what ``--fault`` takes; `breaks` is the id of the requirement that it violates.
    """

    name: ClassVar[str] = ""
    breaks: ClassVar[str] = ""

    def __init_subclass__(cls, *, name: str = "", breaks: str = "") -> None:
        super().__init_subclass__()
        if name:
            cls.name, cls.breaks = name, breaks
            FAULTS[name] = cls


def faulty_api(names: Iterable[str]) -> type[ReferenceApi]:
    """The API with those faults in it, composed; the correct one where there are none.

    Raises ValueError for a name that is neither in FAULTS nor one of RARE_FAULTS with a number, and for two
    rare ones: each counts the frames that are sent, and one would count what the other made of them.
    """
    bases = [_fault(name) for name in dict.fromkeys(names)]
    if sum(issubclass(base, RareFault) for base in bases) > 1:
        raise ValueError("only one fault that spoils a frame in so many can be had at a time")
    return type("FaultyApi", tuple(bases), {}) if bases else ReferenceApi


def _fault(name: str) -> type[Fault]:
    if name in FAULTS:
        return FAULTS[name]
    if (rare := _rare_fault(name)) is not None:
        return rare
    known = [*FAULTS, *RARE_FAULTS]
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
    raise ValueError(f"there is no fault {name!r}; {hint}")


def _with_data(event: Event, data: str) -> Event:
    return event._replace(data=data)


# framing


class Latin1Stream(Fault, name="latin-1-stream", breaks="framing.utf8"):
    """Writes the stream in the platform's old default encoding wherever that has the character."""

    def encode_frame(self, event: Event) -> bytes:
        text = super().encode_frame(event).decode()
        return b"".join(
            char.encode("latin-1") if ord(char) < 0x100 else char.encode("utf-8") for char in text
        )


class UnknownField(Fault, name="unknown-field", breaks="framing.fields"):
    """Adds a field of its own invention, which every client passes over."""

    def encode_frame(self, event: Event) -> bytes:
        return b"channel: run\n" + super().encode_frame(event)


class NoLastBlankLine(Fault, name="no-last-blank-line", breaks="framing.blank-line"):
    """Joins frames with blank lines instead of ending each with one, so the last event is never dispatched."""

    def encode_frame(self, event: Event) -> bytes:
        frame = super().encode_frame(event)
        return frame.removesuffix(b"\n") if event.type in TERMINAL_TYPES else frame


class TwoObjectsInData(Fault, name="two-objects-in-data", breaks="framing.one-json-object"):
    """Puts usage next to the token in the same data, as a second JSON object on a line of its own."""

    def encode_frame(self, event: Event) -> bytes:
        frame = super().encode_frame(event)
        return frame[:-1] + b'data: {"type":"usage","tokens":1}\n\n' if event.type == "token" else frame


class ReprInData(Fault, name="repr-in-data", breaks="framing.one-json-object"):
    """Formats a token with the language's own repr, which only looks like JSON."""

    def encode_frame(self, event: Event) -> bytes:
        if event.type == "token":
            event = _with_data(event, repr(json.loads(event.data)))
        return super().encode_frame(event)


class NulInId(Fault, name="nul-in-id", breaks="framing.id-no-nul"):
    """Sends a second id line from a zero-padded buffer, NUL and all; clients ignore that line."""

    def encode_frame(self, event: Event) -> bytes:
        head, _, rest = super().encode_frame(event).partition(b"\n")
        return head + b"\n" + head + b"\0\n" + rest


class WordyRetry(Fault, name="wordy-retry", breaks="framing.retry-digits"):
    """Says the reconnection time with its unit."""

    def encode_frame(self, event: Event) -> bytes:
        return b"retry: 3s\n" + super().encode_frame(event)


class WrongEventName(Fault, name="wrong-event-name", breaks="framing.event-name"):
    """Names every event alike, and none of them message or its type."""

    def encode_frame(self, event: Event) -> bytes:
        return b"event: update\n" + super().encode_frame(event)


class RawLineFeed(Fault, name="raw-line-feed", breaks="framing.content-inert"):
    """Undoes the escaping of line feeds, so that content can end a frame and forge the next."""

    def encode_frame(self, event: Event) -> bytes:
        return super().encode_frame(_with_data(event, event.data.replace(r"\n", "\n")))


class RawCarriageReturn(Fault, name="raw-carriage-return", breaks="framing.content-inert"):
    """Takes care of line feeds and forgets that a lone carriage return ends a line as well."""

    def encode_frame(self, event: Event) -> bytes:
        return super().encode_frame(_with_data(event, event.data.replace(r"\r", "\r")))


class BomPerFrame(Fault, name="bom-per-frame", breaks="framing.bom"):
    """Opens each flush with a comment, in a codec that begins with a byte order mark."""

    def encode_frame(self, event: Event) -> bytes:
        return ": flush\n".encode("utf-8-sig") + super().encode_frame(event)


# headers


class JsonContentType(Fault, name="json-content-type", breaks="headers.event-stream"):
    """Labels the stream as what its events hold."""

    def stream_headers(self, http: web.BaseRequest) -> dict[str, str]:
        return {**super().stream_headers(http), "Content-Type": "application/json"}


class Latin1Charset(Fault, name="latin-1-charset", breaks="headers.charset"):
    """Declares another charset than the UTF-8 that it sends."""

    def stream_headers(self, http: web.BaseRequest) -> dict[str, str]:
        return {**super().stream_headers(http), "Content-Type": "text/event-stream; charset=ISO-8859-1"}


class NoLastChunk(Fault, name="no-last-chunk", breaks="headers.complete"):
    """Closes the connection after the terminal event without ending the chunked message."""

    async def complete(self, http: web.BaseRequest, response: web.StreamResponse) -> None:  # noqa: ARG002
        if http.transport is not None:
            http.transport.close()


class Cacheable(Fault, name="cacheable", breaks="headers.no-cache"):
    """Lets shared caches keep the stream for a minute."""

    def stream_headers(self, http: web.BaseRequest) -> dict[str, str]:
        return {**super().stream_headers(http), "Cache-Control": "public, max-age=60"}


class BufferedStream(Fault, name="buffered-stream", breaks="headers.incremental"):
    """Sits behind a proxy that buffers: everything arrives at the end."""

    async def chunks(self, reader: Reader) -> AsyncGenerator[bytes, None]:
        chunks = super().chunks(reader)
        yield b"".join([chunk async for chunk in chunks])


class GetAnswered(Fault, name="get-answered", breaks="headers.method"):
    """Answers every method with 200, from a catch-all route."""

    def wrong_method(self, http: web.BaseRequest) -> web.StreamResponse:  # noqa: ARG002
        return web.Response(text="ok", headers=self.common_headers())


class NoAllow(Fault, name="no-allow", breaks="headers.method"):
    """Refuses another method without saying which one is right."""

    def reject(self, http: web.BaseRequest, rejection: Rejection) -> web.StreamResponse:
        answer = super().reject(http, rejection)
        answer.headers.popall("Allow", None)
        return answer


# events


class NumericContent(Fault, name="numeric-content", breaks="events.schema"):
    """Passes tokens through a loosely typed store, which makes a number of what looks like one."""

    def event_data(self, payload: Payload) -> str:
        if re.fullmatch(r"\s*[0-9]{2,15}", payload.get("content", "")):
            payload = {**payload, "content": int(payload["content"])}
        return super().event_data(payload)


class DoneWithoutRunId(Fault, name="done-without-run-id", breaks="events.schema"):
    """Leaves out the run id of the terminal event."""

    def event_data(self, payload: Payload) -> str:
        if payload["type"] == "done":
            payload = {"type": "done"}
        return super().event_data(payload)


class UntypedToken(Fault, name="untyped-token", breaks="events.type"):
    """Takes tokens for so common that they need no type."""

    def event_data(self, payload: Payload) -> str:
        if payload["type"] == "token":
            payload = {"content": payload["content"]}
        return super().event_data(payload)


class StackTrace(Fault, name="stack-trace", breaks="events.error-detail"):
    """Tells the client its own source lines when an action fails."""

    def event_data(self, payload: Payload) -> str:
        if payload["type"] == "error" and "runId" in payload:
            try:
                raise OSError(payload["message"])  # noqa: TRY301 - a trace needs a raise
            except OSError:
                payload = {**payload, "message": traceback.format_exc()}
        return super().event_data(payload)


class BareError(Fault, name="bare-error", breaks="events.error-detail"):
    """Ends a failed run with an error event that says nothing of the failure."""

    def event_data(self, payload: Payload) -> str:
        if payload["type"] == "error" and "runId" in payload:
            payload = {"type": "error", "runId": payload["runId"]}
        return super().event_data(payload)


class DuplicateKeys(Fault, name="duplicate-keys", breaks="events.strict-json"):
    """Appends fields to serialized JSON without looking what is in it."""

    def event_data(self, payload: Payload) -> str:
        return super().event_data(payload).removesuffix("}") + f',"type":"{payload["type"]}"}}'


class NanInEvent(Fault, name="nan-in-event", breaks="events.strict-json"):
    """Gives each token a probability that its serializer cannot write as JSON."""

    def event_data(self, payload: Payload) -> str:
        return super().event_data(
            {**payload, "probability": math.nan} if payload["type"] == "token" else payload
        )


# ids


class NoIds(Fault, name="no-ids", breaks="ids.present"):
    """Sends events without their ids."""

    def encode_frame(self, event: Event) -> bytes:
        return super().encode_frame(event).partition(b"\n")[2]


class DecreasingIds(Fault, name="decreasing-ids", breaks="ids.increasing"):
    """Counts the sequence number down."""

    def event_id(self, run: Run) -> StreamId:
        last = run.last_id
        return StreamId(super().event_id(run).ms, 10**6) if last is None else StreamId(last.ms, last.seq - 1)

    def resume_index(self, run: Run, last_seen: StreamId | None) -> int:
        ids = [event.id for event in run.events]
        return ids.index(last_seen) + 1 if last_seen in ids else 0


class RepeatedId(Fault, name="repeated-id", breaks="ids.unique"):
    """Gives the terminal event the id of the event before it."""

    def finish(self, run: Run, outcome: Payload) -> None:
        if run.events:
            run.append(Event(run.events[-1].id, outcome["type"], self.event_data(outcome)))
            self.close_run(run)
        else:
            super().finish(run, outcome)


class SecondsInIds(Fault, name="seconds-in-ids", breaks="ids.clock"):
    """Takes the clock in seconds for one in milliseconds."""

    def event_id(self, run: Run) -> StreamId:
        return next_id(run.last_id, time.time_ns() // 10**9)


# terminal


class TwoTerminals(Fault, name="two-terminals", breaks="terminal.exactly-one"):
    """Ends the run in the action and once more in its supervisor."""

    def finish(self, run: Run, outcome: Payload) -> None:
        self.publish(run, outcome)
        super().finish(run, outcome)


class TokenAfterTerminal(Fault, name="token-after-terminal", breaks="terminal.last"):
    """Flushes a buffered token when the run has already been declared over."""

    def finish(self, run: Run, outcome: Payload) -> None:
        self.publish(run, outcome)
        self.publish(run, {"type": "token", "content": " late"})
        self.close_run(run)


class StaysOpen(Fault, name="stays-open", breaks="terminal.closes"):
    """Keeps the stream alive after its terminal event until the client hangs up."""

    async def complete(self, http: web.BaseRequest, response: web.StreamResponse) -> None:  # noqa: ARG002
        while True:
            await asyncio.sleep(self.settings.heartbeat_s)
            await self.write(response, HEARTBEAT)


class NoTerminal(Fault, name="no-terminal", breaks="terminal.always"):
    """Takes the end of the stream for the end of the run: success has no event of its own."""

    def finish(self, run: Run, outcome: Payload) -> None:
        if outcome["type"] == "done" and run.events:
            self.close_run(run)
        else:
            super().finish(run, outcome)


class FailureAsDone(Fault, name="failure-as-done", breaks="terminal.failure"):
    """Reports a failed action as done."""

    def finish(self, run: Run, outcome: Payload) -> None:
        done = {"type": "done", "runId": run.run_id}
        super().finish(run, done if outcome["type"] == "error" else outcome)


class FailureAsBareClose(Fault, name="failure-as-bare-close", breaks="terminal.failure"):
    """Just ends the stream when an action fails."""

    def finish(self, run: Run, outcome: Payload) -> None:
        if outcome["type"] == "error":
            self.close_run(run)
        else:
            super().finish(run, outcome)


class CancelledAsDone(Fault, name="cancelled-as-done", breaks="terminal.cancelled"):
    """Reports a cancelled run as done."""

    def finish(self, run: Run, outcome: Payload) -> None:
        super().finish(run, {**outcome, "type": "done"} if outcome["type"] == "cancelled" else outcome)


class SilentHangs(Fault, name="silent-hangs", breaks="terminal.no-tokens"):
    """Ends a run in the handling of its last token, so that one without tokens never ends."""

    def finish(self, run: Run, outcome: Payload) -> None:
        if run.events or outcome["type"] != "done":
            super().finish(run, outcome)


class SilentWithoutTerminal(Fault, name="silent-without-terminal", breaks="terminal.no-tokens"):
    """Closes the stream of a run without tokens as if nothing had happened in it."""

    def finish(self, run: Run, outcome: Payload) -> None:
        if run.events:
            super().finish(run, outcome)
        else:
            self.close_run(run)


# resume


class ReplayReexecutes(Fault, name="replay-reexecutes", breaks="resume.no-new-run"):
    """Forgets the key when the run is done: a retry after that executes the action again."""

    def find(self, submission: Submission, key: str | None) -> Run | None:
        run = super().find(submission, key)
        return None if run and run.ended and run.events[-1].type == "done" else run


class ReplayDropsLastToken(Fault, name="replay-drops-last-token", breaks="resume.replay"):
    """Stores tokens one behind: a replay after completion lacks the last one."""

    def due(self, reader: Reader) -> list[Event]:
        due = super().due(reader)
        if reader.started_run or reader.joined:
            return due
        tokens = [event for event in due if event.type == "token"]
        return [event for event in due if event not in tokens[-1:]]


class ReplayStampsNewIds(Fault, name="replay-stamps-new-ids", breaks="resume.replay"):
    """Makes up ids while sending, so that a replayed event has another one than before."""

    def due(self, reader: Reader) -> list[Event]:
        due = super().due(reader)
        if reader.started_run or reader.joined:
            return due
        return [event._replace(id=StreamId(event.id.ms + 1, event.id.seq)) for event in due]


class StringSortedReplay(Fault, name="string-sorted-replay", breaks="resume.replay"):
    """Reads a finished run from a store that orders ids as text: sequence number 10 comes before 9."""

    def event_id(self, run: Run) -> StreamId:
        first = run.events[0].id if run.events else None
        return super().event_id(run) if first is None else StreamId(first.ms, len(run.events))

    def due(self, reader: Reader) -> list[Event]:
        due = super().due(reader)
        return due if reader.started_run or reader.joined else sorted(due, key=lambda event: str(event.id))


class LateJoinerMissesPrefix(Fault, name="late-joiner-misses-prefix", breaks="resume.joins"):
    """Subscribes whoever joins a running run to what comes next, without what there was."""

    def resume_index(self, run: Run, last_seen: StreamId | None) -> int:
        if last_seen is None and not run.ended:
            return len(run.events)
        return super().resume_index(run, last_seen)


class LateJoinerGap(Fault, name="late-joiner-gap", breaks="resume.joins"):
    """Sends whoever joins a running run its first event and then only what comes next."""

    def due(self, reader: Reader) -> list[Event]:
        due = super().due(reader)
        return due[:1] if reader.joined and reader.index == 0 else due


class OffByOneGap(Fault, name="off-by-one-gap", breaks="resume.every-cut"):
    """Resumes one event after the one that should come next."""

    def resume_index(self, run: Run, last_seen: StreamId | None) -> int:
        index = super().resume_index(run, last_seen)
        return index + 1 if index else 0


class OffByOneDuplicate(Fault, name="off-by-one-duplicate", breaks="resume.every-cut"):
    """Resumes at the event that the client has already seen."""

    def resume_index(self, run: Run, last_seen: StreamId | None) -> int:
        return max(super().resume_index(run, last_seen) - 1, 0)


class LastEventIdIgnored(Fault, name="last-event-id-ignored", breaks="resume.last-event-id"):
    """Replays from the first event whatever the client has seen."""

    def resume_index(self, run: Run, last_seen: StreamId | None) -> int:  # noqa: ARG002
        return super().resume_index(run, None)


class DisconnectCancels(Fault, name="disconnect-cancels", breaks="resume.survives-disconnect"):
    """Ties the run to the connection that reads it."""

    def on_disconnect(self, reader: Reader) -> None:
        super().on_disconnect(reader)
        run = reader.run
        if not run.ended:
            self.finish(run, {"type": "cancelled", "runId": run.run_id})


class EarlyDisconnectCancels(Fault, name="early-disconnect-cancels", breaks="resume.survives-disconnect"):
    """Takes a client that leaves before the head for one that has changed its mind."""

    async def stream(self, http: web.BaseRequest, reader: Reader) -> web.StreamResponse:
        run = reader.run
        if reader.started_run:
            await asyncio.sleep(0.05)  # a head that is out already would hide the defect
            gone = http.transport is None or http.transport.is_closing()
            if gone and not run.ended:
                self.finish(run, {"type": "cancelled", "runId": run.run_id})
        return await super().stream(http, reader)


class BadLastEventIdBreaks(Fault, name="bad-last-event-id-breaks", breaks="resume.bad-last-event-id"):
    """Parses Last-Event-ID without expecting anything else than its own ids."""

    def last_event_id(self, http: web.BaseRequest) -> StreamId | None:
        try:
            return super().last_event_id(http)
        except Rejection:
            raise _internal_error() from None


class UnknownLastEventIdHangs(Fault, name="unknown-last-event-id-hangs", breaks="resume.bad-last-event-id"):
    """Waits for an event id that this run will never reach."""

    def resume_index(self, run: Run, last_seen: StreamId | None) -> int:
        unknown = last_seen is not None and run.index_after(last_seen) is None
        return -1 if unknown else super().resume_index(run, last_seen)

    async def chunks(self, reader: Reader) -> AsyncGenerator[bytes, None]:
        while reader.index < 0:
            await asyncio.sleep(self.settings.heartbeat_s)
            yield HEARTBEAT
        async for chunk in super().chunks(reader):
            yield chunk


class FailureReexecutes(Fault, name="failure-reexecutes", breaks="resume.failure-replayed"):
    """Keeps only successes: the retry of a failed run executes it anew."""

    def find(self, submission: Submission, key: str | None) -> Run | None:
        run = super().find(submission, key)
        return None if run and run.ended and run.events[-1].type == "error" else run


class FailureReplayedAsDone(Fault, name="failure-replayed-as-done", breaks="resume.failure-replayed"):
    """Stores that a run is over and not how: the replay of a failure ends with done."""

    def due(self, reader: Reader) -> list[Event]:
        due = super().due(reader)
        if not (reader.started_run or reader.joined) and due and due[-1].type == "error":
            done = self.event_data({"type": "done", "runId": reader.run.run_id})
            due[-1] = Event(due[-1].id, "done", done)
        return due


class TerminalLostInRace(Fault, name="terminal-lost-in-race", breaks="resume.terminal-race"):
    """Copies the past and then subscribes: a run that ends shortly after a retry came loses its end there."""

    window_s: ClassVar[float] = 0.04

    def due(self, reader: Reader) -> list[Event]:
        due = super().due(reader)
        raced = reader.joined and time.monotonic() - reader.opened_s < self.window_s
        return [event for event in due if event.type not in TERMINAL_TYPES] if raced else due


class FirstReaderRobbed(Fault, name="first-reader-robbed", breaks="resume.first-reader-kept"):
    """Keeps one subscriber a run: a second connection takes the events away from the first."""

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings)
        self._newest: WeakKeyDictionary[Run, float] = WeakKeyDictionary()

    def due(self, reader: Reader) -> list[Event]:
        newest = self._newest[reader.run] = max(self._newest.get(reader.run, 0.0), reader.opened_s)
        return super().due(reader) if reader.opened_s >= newest or not reader.started_run else []


# key


class EqualBodiesShareRun(Fault, name="equal-bodies-share-run", breaks="key.none-independent"):
    """Takes the body for a key where none is sent."""

    def identity(self, submission: Submission, key: str | None) -> Identity | None:
        own = super().identity(submission, key)
        return own or (submission.organization, "body", self.fingerprint(submission.body).hex())


class UuidKeysOnly(Fault, name="uuid-keys-only", breaks="key.opaque"):
    """Makes a rule of the recommendation that a key be a UUID."""

    def idempotency_key(self, http: web.BaseRequest) -> str | None:
        key = super().idempotency_key(http)
        try:
            return None if key is None else str(uuid.UUID(key))
        except ValueError:
            raise Rejection(400, "bad_idempotency_key", "Idempotency-Key must be a UUID.") from None


class AnyKeyAccepted(Fault, name="any-key-accepted", breaks="key.bad"):
    """Takes any header value for a key, the empty one too."""

    def idempotency_key(self, http: web.BaseRequest) -> str | None:
        return http.headers.get("Idempotency-Key")


class KeyEchoed(Fault, name="key-echoed", breaks="key.inert"):
    """Gives the client's key back in a header of the answer."""

    def stream_headers(self, http: web.BaseRequest) -> dict[str, str]:
        key = http.headers.get("Idempotency-Key")
        own = super().stream_headers(http)
        return own if key is None else {**own, "Idempotency-Key": key}


# conflict


class ConflictIgnored(Fault, name="conflict-ignored", breaks="conflict.rejected"):
    """Looks at the key alone: another body resumes the run of the first."""

    def conflicts(self, run: Run, submission: Submission) -> bool:  # noqa: ARG002
        return False


class ConflictAs422(Fault, name="conflict-as-422", breaks="conflict.rejected"):
    """Answers a conflict as the IETF draft recommends, not as the API documents."""

    def conflict(self, http: web.BaseRequest, rejection: Rejection) -> web.StreamResponse:
        return self.reject(http, Rejection(422, rejection.code, rejection.detail))


class ConflictAsJson(Fault, name="conflict-as-json", breaks="conflict.error-event"):
    """Rejects a conflict with 409, but as a JSON document instead of an error event."""

    def conflict(self, http: web.BaseRequest, rejection: Rejection) -> web.StreamResponse:
        return self.reject(http, rejection)


class ShallowFingerprint(Fault, name="shallow-fingerprint", breaks="conflict.any-field"):
    """Compares the values of the top level only; what is inside an object or a list may change."""

    def fingerprint(self, body: Mapping[str, Any]) -> bytes:
        flat = {
            name: type(value).__name__ if isinstance(value, dict | list) else value
            for name, value in body.items()
        }
        return super().fingerprint(flat)


class FingerprintOfRequired(Fault, name="fingerprint-of-required", breaks="conflict.any-field"):
    """Compares the required fields only; the optional ones may change."""

    def fingerprint(self, body: Mapping[str, Any]) -> bytes:
        required = ("organizationId", "sessionId", "workflowAction")
        return super().fingerprint({name: body[name] for name in required})


class ConflictMissedInFlight(Fault, name="conflict-missed-in-flight", breaks="conflict.in-flight"):
    """Stores the fingerprint when the run is over; until then any body resumes it."""

    def conflicts(self, run: Run, submission: Submission) -> bool:
        return run.ended and super().conflicts(run, submission)


class ConflictMissedAfterwards(Fault, name="conflict-missed-afterwards", breaks="conflict.after-completion"):
    """Holds the fingerprint with the lock on the running run and drops both together."""

    def conflicts(self, run: Run, submission: Submission) -> bool:
        return not run.ended and super().conflicts(run, submission)


class ConflictCancelsOriginal(Fault, name="conflict-cancels-original", breaks="conflict.original-untouched"):
    """Takes a conflict as a reason to stop the run that was there first."""

    def on_conflict(self, run: Run, submission: Submission) -> None:
        super().on_conflict(run, submission)
        if not run.ended:
            self.finish(run, {"type": "cancelled", "runId": run.run_id})


class ConflictPoisonsKey(Fault, name="conflict-poisons-key", breaks="conflict.original-untouched"):
    """Marks the key as misused: from then on the first body is a conflict as well."""

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings)
        self._poisoned: WeakSet[Run] = WeakSet()

    def on_conflict(self, run: Run, submission: Submission) -> None:
        super().on_conflict(run, submission)
        self._poisoned.add(run)

    def conflicts(self, run: Run, submission: Submission) -> bool:
        return run in self._poisoned or super().conflicts(run, submission)


class ConflictLeaksBody(Fault, name="conflict-leaks-body", breaks="conflict.leaks-nothing"):
    """Explains a conflict by quoting the body that the key belongs to."""

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings)
        self._bodies: WeakKeyDictionary[Run, Mapping[str, Any]] = WeakKeyDictionary()

    def start(self, submission: Submission, key: str | None, action: Callable[[], Tokens]) -> Run:
        run = super().start(submission, key, action)
        self._bodies[run] = submission.body
        return run

    def conflict_of(self, run: Run) -> Rejection:
        own = super().conflict_of(run)
        return Rejection(
            own.status, own.code, f"{own.detail} It was: {canonical_json(self._bodies.get(run)).decode()}"
        )


class ConflictStartsRun(Fault, name="conflict-starts-run", breaks="conflict.starts-nothing"):
    """Starts the action first and compares bodies later; asked again, it resumes that second run."""

    def find(self, submission: Submission, key: str | None) -> Run | None:
        run = super().find(submission, key)
        if run is None or not super().conflicts(run, submission):
            return run
        return self.registry.find(self._shadow_identity(submission)) or run

    def on_conflict(self, run: Run, submission: Submission) -> None:
        super().on_conflict(run, submission)
        identity = self._shadow_identity(submission)
        shadow = Run(run.organization, self.run_id(submission), self.fingerprint(submission.body), identity)
        self.launch(shadow, self.action(submission))

    def _shadow_identity(self, submission: Submission) -> Identity:
        by_run_id = self.identity(submission, None)
        return by_run_id or (submission.organization, "rejected", self.fingerprint(submission.body).hex())


# run id


class RunIdNotEchoed(Fault, name="run-id-not-echoed", breaks="run-id.echoed"):
    """Names each run itself, whatever the client asked for."""

    def run_id(self, submission: Submission) -> str:  # noqa: ARG002
        return str(uuid.uuid4())


class RunIdPerConnection(Fault, name="run-id-per-connection", breaks="run-id.constant"):
    """Names the connection instead of the run in the terminal event."""

    def due(self, reader: Reader) -> list[Event]:
        due = super().due(reader)
        if not reader.started_run and due and due[-1].type in TERMINAL_TYPES:
            payload = {**json.loads(due[-1].data), "runId": str(uuid.uuid4())}
            due[-1] = _with_data(due[-1], self.event_data(payload))
        return due


class RunIdBeatsKey(Fault, name="run-id-beats-key", breaks="run-id.key-wins"):
    """Finds runs by runId wherever one is sent, and asks the key only after that."""

    def identity(self, submission: Submission, key: str | None) -> Identity | None:
        return super().identity(submission, key if submission.request.runId is None else None)


class RunIdDoesNotResume(Fault, name="run-id-does-not-resume", breaks="run-id.resumes"):
    """Starts a new run for a runId that it has already seen."""

    def identity(self, submission: Submission, key: str | None) -> Identity | None:
        return None if key is None else super().identity(submission, key)


# auth


class AnonymousAccepted(Fault, name="anonymous-accepted", breaks="auth.missing"):
    """Takes a request without Authorization for one of the first principal's."""

    def authenticate(self, http: web.BaseRequest) -> str:
        if "Authorization" not in http.headers:
            return next(iter(self.settings.principals.values()))
        return super().authenticate(http)


class AnyTokenAccepted(Fault, name="any-token-accepted", breaks="auth.bad"):
    """Asks for a token and never looks at it."""

    def organization_of(self, token: str) -> str | None:
        return super().organization_of(token) or next(iter(self.settings.principals.values()))


class NoChallenge(Fault, name="no-challenge", breaks="auth.challenge"):
    """Sends 401 without WWW-Authenticate."""

    def reject(self, http: web.BaseRequest, rejection: Rejection) -> web.StreamResponse:
        answer = super().reject(http, rejection)
        answer.headers.popall("WWW-Authenticate", None)
        return answer


class KeyToldWithoutToken(Fault, name="key-told-without-token", breaks="auth.before-key"):
    """Looks the key up before the token, and answers otherwise where it is known."""

    def authenticate(self, http: web.BaseRequest) -> str:
        try:
            return super().authenticate(http)
        except Rejection as rejection:
            key = http.headers.get("Idempotency-Key", "")
            organizations = self.settings.principals.values()
            if any(self.registry.find((organization, "key", key)) for organization in organizations):
                detail = "Sign in to resume the run of this Idempotency-Key."
                raise Rejection(401, "sign_in_to_resume", detail, rejection.headers) from None
            raise


class ForeignOrganizationAccepted(Fault, name="foreign-organization-accepted", breaks="auth.org-mismatch"):
    """Never compares organizationId with the principal's."""

    def authorize(self, submission: Submission) -> None:
        """Every organization is welcome."""


class ConflictBeforeOrganization(
    Fault, name="conflict-before-organization", breaks="auth.org-before-conflict"
):
    """Checks the organization only where the key is new."""

    def authorize(self, submission: Submission) -> None:
        if self.find(submission, submission.http.headers.get("Idempotency-Key")) is None:
            super().authorize(submission)


class _GlobalIdentity(Fault):
    def identity(self, submission: Submission, key: str | None) -> Identity | None:
        own = super().identity(submission, key)
        return None if own is None else ("", *own[1:])


class GlobalKeys(_GlobalIdentity, name="global-keys", breaks="auth.key-scope"):
    """Keeps the keys of all organizations in one namespace."""


class GlobalRuns(_GlobalIdentity, name="global-runs", breaks="auth.key-scope"):
    """Keeps the keys of all organizations in one namespace and shows each the other's run."""

    def fingerprint(self, body: Mapping[str, Any]) -> bytes:
        return super().fingerprint({name: body[name] for name in body if name != "organizationId"})


class QueryToken(Fault, name="query-token", breaks="auth.query-token"):
    """Accepts the token in the query string, from where it gets into logs."""

    def bearer_token(self, http: web.BaseRequest) -> str | None:
        return super().bearer_token(http) or http.query.get("access_token") or http.query.get("token")


# input


def _internal_error() -> Rejection:
    return Rejection(500, "internal", "The server failed on this request.")


def _broken_by(
    codes: frozenset[str], decode: Callable[[bytes], dict[str, Any]], raw: bytes
) -> dict[str, Any]:
    try:
        return decode(raw)
    except Rejection as rejection:
        raise (_internal_error() if rejection.code in codes else rejection) from None


class BadJsonBreaks(Fault, name="bad-json-breaks", breaks="input.not-json"):
    """Does not expect that a body is no JSON object."""

    def decode(self, raw: bytes) -> dict[str, Any]:
        return _broken_by(frozenset({"not_json", "not_object"}), super().decode, raw)


class DeepNestingBreaks(Fault, name="deep-nesting-breaks", breaks="input.hostile"):
    """Overflows its stack on a body that is nested deeply."""

    def decode(self, raw: bytes) -> dict[str, Any]:
        return _broken_by(frozenset({"too_deep"}), super().decode, raw)


class LoneSurrogateBreaks(Fault, name="lone-surrogate-breaks", breaks="input.hostile"):
    """Stumbles over a string that JSON can escape and UTF-8 cannot hold."""

    def decode(self, raw: bytes) -> dict[str, Any]:
        return _broken_by(frozenset({"not_unicode"}), super().decode, raw)


class MissingFieldAccepted(Fault, name="missing-field-accepted", breaks="input.required"):
    """Makes up a session where the client names none."""

    def validate(self, body: Mapping[str, Any]) -> WorkflowActionRequest:
        return super().validate({"sessionId": "anonymous", **body})


class FieldNotNamed(Fault, name="field-not-named", breaks="input.required-named"):
    """Refuses an invalid body without saying what is wrong in it."""

    def validate(self, body: Mapping[str, Any]) -> WorkflowActionRequest:
        try:
            return super().validate(body)
        except Rejection as rejection:
            raise Rejection(rejection.status, rejection.code, "The request is invalid.") from None


class TypesCoerced(Fault, name="types-coerced", breaks="input.types"):
    """Turns numbers and booleans into strings instead of refusing them."""

    def validate(self, body: Mapping[str, Any]) -> WorkflowActionRequest:
        texts = ("sessionId", "fileThreadId", "runId")
        coerced = {name: str(body[name]) for name in texts if isinstance(body.get(name), int | float)}
        return super().validate({**body, **coerced})


class AnySourceAccepted(Fault, name="any-source-accepted", breaks="input.source"):
    """Takes any text as source."""

    def validate(self, body: Mapping[str, Any]) -> WorkflowActionRequest:
        is_text = isinstance(body.get("source"), str)
        return super().validate({**body, "source": "other"} if is_text else body)


class AnyTimeZoneAccepted(Fault, name="any-time-zone-accepted", breaks="input.timezone"):
    """Stores the time zone without ever looking it up."""

    def knows_time_zone(self, name: str | None) -> bool:  # noqa: ARG002
        return True


class AnyMediaTypeAccepted(Fault, name="any-media-type-accepted", breaks="input.media-type"):
    """Parses every body as JSON, whatever it says it is."""

    def accepts_media_type(self, http: web.BaseRequest) -> bool:  # noqa: ARG002
        return True


class UnlimitedBody(Fault, name="unlimited-body", breaks="input.too-large"):
    """Reads bodies of any size into memory."""

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(replace(settings, max_body_bytes=2**30))


class TextualRejections(Fault, name="textual-rejections", breaks="input.error-shape"):
    """Lets its gateway refuse tokens, which knows nothing of problem documents."""

    def reject(self, http: web.BaseRequest, rejection: Rejection) -> web.StreamResponse:
        if rejection.status != 401:
            return super().reject(http, rejection)
        headers = {**self.common_headers(), **rejection.headers}
        return web.Response(status=401, text=rejection.detail, headers=headers)


# race


class _LateIndex(Fault):
    """Stores a new run's key some time after looking it up, and only then begins to answer."""

    lag_s: ClassVar[float] = 0.03

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings)
        self._stored_s: WeakKeyDictionary[Run, float] = WeakKeyDictionary()

    def start(self, submission: Submission, key: str | None, action: Callable[[], Tokens]) -> Run:
        run = super().start(submission, key, action)
        self._stored_s[run] = time.monotonic() + self.lag_s
        return run

    def find(self, submission: Submission, key: str | None) -> Run | None:
        run = super().find(submission, key)
        stored = run is None or self._stored_s.get(run, 0.0) <= time.monotonic()
        return run if run is None or stored or not self.overlooks(run, submission) else None

    def overlooks(self, run: Run, submission: Submission) -> bool:  # noqa: ARG002 - each fault adds its own
        """Whether the request does not see that run yet."""
        return False

    async def stream(self, http: web.BaseRequest, reader: Reader) -> web.StreamResponse:
        if reader.started_run:
            await asyncio.sleep(self.lag_s)
        return await super().stream(http, reader)


class RacingPostsBothRun(_LateIndex, name="racing-posts-both-run", breaks="race.same-body"):
    """Looks the key up and stores it in two steps, with time in between for an equal request."""

    def overlooks(self, run: Run, submission: Submission) -> bool:
        return super().overlooks(run, submission) or not self.conflicts(run, submission)


class TwoWinners(_LateIndex, name="two-winners", breaks="race.different-bodies"):
    """Makes key and body unique together, so that different bodies that race all win."""

    def overlooks(self, run: Run, submission: Submission) -> bool:
        return super().overlooks(run, submission) or self.conflicts(run, submission)


class Crosstalk(Fault, name="crosstalk", breaks="race.no-crosstalk"):
    """Keeps the current token in a variable that all runs share; every third is read too late."""

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings)
        self._shared: tuple[Run, Payload] | None = None
        self._published = 0

    def publish(self, run: Run, payload: Payload) -> None:
        if payload["type"] == "token":
            self._published += 1
            before, self._shared = self._shared, (run, payload)
            raced = before is not None and before[0] is not run and not before[0].ended
            if before is not None and raced and self._published % 3 == 0:
                payload = before[1]
        super().publish(run, payload)


class ClosingOneClosesAll(Fault, name="closing-one-closes-all", breaks="race.close-one"):
    """Tears the run's fan-out down with the first reader that leaves."""

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings)
        self._sent_s: WeakKeyDictionary[Reader, float] = WeakKeyDictionary()
        self._torn_s: WeakKeyDictionary[Run, float] = WeakKeyDictionary()

    def on_disconnect(self, reader: Reader) -> None:
        super().on_disconnect(reader)
        # who came after the last byte that arrived has a fan-out of their own: that is a resume
        self._torn_s[reader.run] = self._sent_s.get(reader, 0.0)

    async def chunks(self, reader: Reader) -> AsyncGenerator[bytes, None]:
        async for chunk in super().chunks(reader):
            if reader.opened_s < self._torn_s.get(reader.run, 0.0):
                return
            yield chunk
            self._sent_s[reader] = time.monotonic()


class StalledReaderBlocksAll(Fault, name="stalled-reader-blocks-all", breaks="race.slow-reader"):
    """Writes to all readers in one loop and pads frames against buffering: who does not read holds all up."""

    patience_s: ClassVar[float] = 2.0  # at each write anew: the others get slow, but they do not die

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings)
        self._turn = asyncio.Lock()

    def encode_frame(self, event: Event) -> bytes:
        return b":" + b" " * 0x4000 + b"\n" + super().encode_frame(event)

    async def stream(self, http: web.BaseRequest, reader: Reader) -> web.StreamResponse:
        http.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 0x1000)
        if http.transport is not None:
            http.transport.set_write_buffer_limits(0)
        return await super().stream(http, reader)

    async def write(self, response: web.StreamResponse, chunk: bytes) -> None:
        try:
            await asyncio.wait_for(self._turn.acquire(), self.patience_s if chunk != HEARTBEAT else 0.0)
        except TimeoutError:
            await super().write(response, chunk)
            return
        try:
            await super().write(response, chunk)
        finally:
            self._turn.release()


# liveness


class LateFirstEvent(Fault, name="late-first-event", breaks="liveness.first-event"):
    """Starts each run in a cold container, longer than the budget of three seconds."""

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(replace(settings, first_token_delay_s=settings.first_token_delay_s + 4.0))


class NoHeartbeat(Fault, name="no-heartbeat", breaks="liveness.heartbeat"):
    """Is silent while an action is."""

    def heartbeat(self, run: Run) -> bytes:  # noqa: ARG002
        return b""


class HeartbeatAsEvent(Fault, name="heartbeat-as-event", breaks="liveness.heartbeat-inert"):
    """Keeps the stream alive with an event that every client dispatches."""

    def heartbeat(self, run: Run) -> bytes:
        return f'id: {self.event_id(run)}\ndata: {{"type":"heartbeat"}}\n\n'.encode()


class HeartbeatWithId(Fault, name="heartbeat-with-id", breaks="liveness.heartbeat-inert"):
    """Gives its comment an id, from where a client would wrongly resume."""

    def heartbeat(self, run: Run) -> bytes:
        return f"id: {self.event_id(run)}\n".encode() + super().heartbeat(run)


# security


class TokenEchoed(Fault, name="token-echoed", breaks="security.no-secrets"):
    """Repeats the Authorization header in what it says about a refusal."""

    def reject(self, http: web.BaseRequest, rejection: Rejection) -> web.StreamResponse:
        sent = http.headers.get("Authorization", "nothing").encode("ascii", "replace").decode()
        detail = f"{rejection.detail} You sent: {sent}"
        return super().reject(http, Rejection(rejection.status, rejection.code, detail, rejection.headers))


class WildcardCors(Fault, name="wildcard-cors", breaks="security.cors"):
    """Opens the API to every web page, credentials included."""

    def common_headers(self) -> dict[str, str]:
        return {
            **super().common_headers(),
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Allow-Credentials": "true",
        }


class SniffableErrors(Fault, name="sniffable-errors", breaks="security.nosniff"):
    """Leaves nosniff out where a refusal takes another way through its code."""

    def reject(self, http: web.BaseRequest, rejection: Rejection) -> web.StreamResponse:
        answer = super().reject(http, rejection)
        answer.headers.popall("X-Content-Type-Options", None)
        return answer


# rarely: one frame of many, for load tests


SPOILT_FRAMES_PATH = "/debug/spoilt-frames"
"""Where a server with one of RARE_FAULTS tells, as JSON, what it spoilt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoiltFrame:
    """One frame that was sent otherwise than it should have been, on one connection; the run itself is whole.

    fault: the name of the defect, without its number. key, run_id: the run's. connection: which of the run's
    connections, from 0, in the order of their requests. first: the run's event, from 0, with which that
    connection began. event: which of the run's events was spoilt, from 0. id, type: that event's. place: where
    on its connection, from 1, it was due.
    """

    fault: str
    key: str | None
    run_id: str
    connection: int
    first: int
    event: int
    id: str
    type: str
    place: int


@dataclass(slots=True)
class _Delivery:
    """What was done on one connection so far. held: the event that was held back, until the next was sent."""

    connection: int
    first: int
    sent: int = 0
    held: Event | None = None


class RareFault(Fault):
    """Spoils one frame in `one_in` of all that the server sends, on the connection on which it is due.

    Other connections bring the same event as it is. A frame that cannot be spoilt is spared, and the next one
    that can takes its place.
    """

    stem: ClassVar[str]
    one_in: ClassVar[int]

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings)
        self._frames = 0
        self._owed = 0
        self._spoilt: list[SpoiltFrame] = []
        self._connections: WeakKeyDictionary[Run, int] = WeakKeyDictionary()
        self._deliveries: WeakKeyDictionary[Reader, _Delivery] = WeakKeyDictionary()

    async def route(self, http: web.BaseRequest) -> web.StreamResponse:
        if http.path == SPOILT_FRAMES_PATH and http.method == "GET":
            told = {"frames": self._frames, "spoilt": [asdict(one) for one in self._spoilt]}
            return web.json_response(told, headers=self.common_headers())
        return await super().route(http)

    async def stream(self, http: web.BaseRequest, reader: Reader) -> web.StreamResponse:
        number = self._connections.get(reader.run, 0)
        self._connections[reader.run] = number + 1
        self._deliveries[reader] = _Delivery(number, reader.index)
        return await super().stream(http, reader)

    def due(self, reader: Reader) -> list[Event]:
        delivery = self._deliveries[reader]
        sent: list[Event] = []
        for number, event in enumerate(super().due(reader), reader.index):
            self._frames += 1
            self._owed += self._frames % self.one_in == 0
            if self._owed and self.can_spoil(event, delivery):
                self._owed -= 1
                self._tell(reader.run, delivery, event, number, delivery.sent + len(sent) + 1)
                sent += self.spoil(event, delivery)
            else:
                sent.append(event)
                if delivery.held is not None:
                    sent.append(delivery.held)
                    delivery.held = None
        delivery.sent += len(sent)
        return sent

    def _tell(self, run: Run, delivery: _Delivery, event: Event, number: int, place: int) -> None:
        key = run.identity[2] if run.identity is not None and run.identity[1] == "key" else None
        self._spoilt.append(
            SpoiltFrame(
                fault=self.stem,
                key=key,
                run_id=run.run_id,
                connection=delivery.connection,
                first=delivery.first,
                event=number,
                id=str(event.id),
                type=event.type,
                place=place,
            )
        )

    def can_spoil(self, event: Event, delivery: _Delivery) -> bool:  # noqa: ARG002 - most can
        return True

    def spoil(self, event: Event, delivery: _Delivery) -> list[Event]:
        """What is sent in the event's place."""
        raise NotImplementedError


class DropsFrames(RareFault):
    """Loses a frame on its way to one connection."""

    stem, breaks = "drops-one-frame-in", "resume.replay"

    def spoil(self, event: Event, delivery: _Delivery) -> list[Event]:  # noqa: ARG002
        return []


class DoublesFrames(RareFault):
    """Sends a frame twice to one connection."""

    stem, breaks = "doubles-one-frame-in", "ids.unique"

    def spoil(self, event: Event, delivery: _Delivery) -> list[Event]:  # noqa: ARG002
        return [event, event]


class SwapsFrames(RareFault):
    """Lets a frame be overtaken by the next one, on one connection."""

    stem, breaks = "swaps-one-frame-in", "ids.increasing"

    def can_spoil(self, event: Event, delivery: _Delivery) -> bool:
        # Nothing overtakes a run's last event, nor one that goes before an event that was overtaken itself.
        return event.type not in TERMINAL_TYPES and delivery.held is None

    def spoil(self, event: Event, delivery: _Delivery) -> list[Event]:
        delivery.held = event
        return []


RARE_FAULTS: dict[str, type[RareFault]] = {
    f"{fault.stem}-n": fault for fault in (DropsFrames, DoublesFrames, SwapsFrames)
}
"""Faults that a few requests do not meet, so they are no mutants: ``--fault`` takes the name with a number for n."""


def _rare_fault(name: str) -> type[RareFault] | None:
    stem, _, number = name.rpartition("-")
    fault = RARE_FAULTS.get(f"{stem}-n")
    if fault is None or re.fullmatch("[1-9][0-9]{0,9}", number) is None:
        return None
    return type(fault.__name__, (fault,), {"name": name, "one_in": int(number), "__doc__": fault.__doc__})
