"""The fast decoder for the streams of any profile: most tokens are matched as bytes, all other events are read in full.

A stream is *regular* here if its lines are those of events and of comments only, each event is what its profile allows
at that place, and its data are strict JSON. Such a stream meets every rule about the format of a stream. As with
FastDecoder, whatever is not certain is left to the full decoder, and a property test compares both
(tests/contract/decoding/test_profile_decoder.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from harness.contract.decoding.fast_decoder import FastDecoder
from harness.contract.decoding.frame_template import FastPathError
from harness.contract.decoding.full_decoder import FullDecoder
from harness.contract.decoding.limits import LINES_OF_EVENT
from harness.contract.decoding.line_checks import check_lines, check_utf8
from harness.contract.decoding.profile_template import (
    EqualFrames,
    ProfileTemplate,
    TokenFrame,
    known_token,
    learn_token,
)
from harness.contract.decoding.read_log import ReadLog
from harness.contract.decoding.token_layout import IDS_BELOW, NO_READER, TokenReader
from harness.profiles.capability import Capability
from harness.profiles.event_position import position_of
from harness.profiles.event_rules import SIGNS
from harness.profiles.open_pairs import OpenPairs
from harness.profiles.profile import Profile
from harness.profiles.run_event import FrameReader, RunEvent
from harness.profiles.workflow_actions.event_id import StreamId
from harness.profiles.workflow_actions.identity import EventIdentity
from harness.protocol.sse import Frame, SseDecoder
from harness.protocol.strict_json import loads_strict

_FIELDS = frozenset({"data", "id", "event", ""})
_BOM = b"\xef\xbb\xbf"
_SHORT_BYTES = 48  # such as ``data: [DONE]`` and comments, which recur in every stream


def has_fast_path(profile: Profile) -> bool:
    """Whether streams of this profile can be regular: their ids have an order, if they have any."""
    return profile.ids is None or profile.ids.order != "opaque"


class ProfileDecoder(FastDecoder):
    """A Decoder for one regular stream of any profile."""

    __slots__ = (
        "_ends",
        "_equal",
        "_is_learned",
        "_last",
        "_order",
        "_pairs",
        "_profile",
        "_promised",
        "_run",
        "_run_events",
        "_run_id",
        "_signs",
        "_tokens_template",
        "_will_end_ns",
        "_with_id_ns",
        "first_signs_ns",
        "output_tokens",
        "reasoning_tokens",
    )

    least_bytes = 4096  # a frame that is read in full takes longer here

    def __init__(self, profile: Profile, reader: TokenReader = NO_READER) -> None:
        super().__init__(reader)
        self._profile = profile
        self._promised = profile.capabilities
        self._order = "opaque" if profile.ids is None else profile.ids.order
        self._ends = 0
        self._run_events = 0
        self._run_id: str | None = None
        self.output_tokens: int | None = None
        self.reasoning_tokens: int | None = None
        self.first_signs_ns: dict[str, int] = {}
        self._signs: set[str] = set()
        self._pairs = OpenPairs()
        self._run = b""
        self._last: tuple[int, ...] = ()
        self._tokens_template: ProfileTemplate | None = None
        self._equal: EqualFrames | None = None
        self._is_learned = False
        self._will_end_ns: int | None = None
        self._with_id_ns: int | None = None

    @property
    def is_regular(self) -> bool:
        """Whether the profile knows an event, no event is incomplete, and a run that is done left nothing open."""
        if not self.run_events or self.pending:
            return False
        return self.terminal is None or self.terminal.outcome != "done" or not self._pairs.left_open

    @property
    def run_events(self) -> int:
        """The events that the profile knows."""
        return self._run_events + self._reader.events

    @property
    def ends(self) -> int:
        """The events after which nothing may follow: 1 or 0."""
        return self._ends

    @property
    def end_ns(self) -> int | None:
        """Arrival of the event that ends the stream."""
        return self._will_end_ns

    @property
    def run_id(self) -> str | None:
        """The first run id."""
        return self._run_id

    @property
    def first_id_ns(self) -> int | None:
        """Arrival of the first event with an id of the form <ms>-<seq>."""
        return self._with_id_ns

    def take_chunk(self, data: bytes) -> int | None:
        """Decode a read that is exactly one chunk with one plain token; see Decoder."""
        template = self._tokens_template
        if self._match_chunk is None or template is None:
            return None
        match = self._match_chunk(data)
        if match is None or int(match[1], 16) != len(data) - match.end(1) - 4:
            return None
        if template.has_run and match["run"] != self._run:
            return None
        if not data.isascii():
            return None
        if template.ids is not None and not self._take_position(match["id"]):
            return None
        self._events += 1
        self._run_events += 1
        self._tokens += 1
        return 1

    def _next_chunk(self) -> Callable[[bytes], re.Match[bytes] | None] | None:
        if self._tokens_template is None or self.terminal is not None or self._ends:
            return None
        return self._tokens_template.match_chunk

    def _take_over(self, last: tuple[int, int]) -> None:
        if self._last:
            self._last = StreamId(*last) if len(self._last) > 1 else last[:1]

    def _arm(self, reader: TokenReader) -> None:
        template, last = self._tokens_template, self._last
        if template is None or (template.ids is not None and len(last) != template.id_numbers):
            return
        ms, seq = (*last, 0, 0)[:2]
        if max(ms, seq) < IDS_BELOW:
            reader.arm(template.layout_of(self._run), ms, seq)

    def _feed(self, arrival_ns: int, data: bytes) -> None:
        super()._feed(arrival_ns, data)
        if self._ends and self._will_end_ns is None:
            self._will_end_ns = arrival_ns
        if len(self._signs) != len(self.first_signs_ns):
            for sign in self._signs:
                self.first_signs_ns.setdefault(sign, arrival_ns)
        if self.first_id is not None and self._with_id_ns is None:
            self._with_id_ns = arrival_ns

    def identities(self, log: ReadLog) -> tuple[EventIdentity, ...]:
        """The identity of each event, from the full decoder."""
        full = FullDecoder(self._profile)
        for read in log:
            full.feed(read.arrival_ns, read.data)
        full.close()
        return full.identities(log)

    def feed_body(self, body: bytes) -> None:
        """Decode the next bytes of the body. Raises FastPathError."""
        body = self.pending + body
        newline = self._line_end(body)
        blank = newline + newline
        end = body.rfind(blank)
        whole = end + len(blank) if end >= 0 else 0
        self._keep(body[whole:], newline)
        place = 0
        while place < whole:
            taken = self._take_tokens(body, place, whole)
            if taken:
                place = taken
                continue
            end = body.find(blank, place, whole)
            if end < 0:
                raise FastPathError("an odd number of blank lines")
            self._take_frame(body[place:end], newline)
            place = end + len(blank)

    def _take_tokens(self, body: bytes, place: int, whole: int) -> int:
        """Count tokens like the first one, from `place` on; returns the place after them, or 0 if there are none."""
        template = self._tokens_template
        if template is None or self.terminal is not None or self._ends:
            return 0
        if self._equal is not None and self._equal.are_at(body, place, whole):
            equal = self._equal.take(body, place, whole)
            if equal is not None:
                count, texts, after = equal
                self._count(texts, count)
                return after
            self._equal = None  # the pattern alone takes less time than both
        match = template.match(body, place)
        if match is None or match.end() > whole or (template.has_run and match["run"] != self._run):
            return 0
        block = match[0]
        count = template.count(block)
        if template.ids is not None and not self._take_ids_of(template.ids(block), count):
            raise FastPathError("ids do not increase")
        self._count(block, count)
        return match.end()

    def _count(self, texts: bytes, count: int) -> None:
        """Count tokens. Raises FastPathError if the bytes of their texts are not UTF-8."""
        if not texts.isascii():
            check_utf8(texts)
        self._events += count
        self._run_events += count
        self._tokens += count

    def _take_ids_of(self, ids: list[bytes], count: int) -> bool:
        return len(ids) == count and all(map(self._take_position, ids))

    def _take_position(self, event_id: bytes) -> bool:
        """Whether an id of digits, and of a hyphen at most, is of the right form and greater than all before it."""
        position = position_of(event_id.decode("ascii"), self._order)
        if position is None or position <= self._last:
            return False
        self._last = position
        if self.first_id is None and isinstance(position, StreamId):
            self.first_id = position
        return True

    def _take_frame(self, raw: bytes, newline: bytes) -> None:
        """Read one frame in full. Raises FastPathError unless it is allowed at this place."""
        check_lines(raw, newline)
        lines = raw.count(newline) + 2  # with the blank one
        token = None if self._is_learned else known_token(self._profile, raw, newline)
        if token is None:
            read = _read_short if len(raw) <= _SHORT_BYTES else _read
            found = read(self._profile.reader, raw, newline)  # type: ignore[arg-type]  # hashed by identity
            if found is None:
                self.extra_lines += lines
                return
            frame, event = found
        else:
            frame, event = token.frame, token.event
        if not event.is_of_run:
            self.extra_lines += lines
            return
        self.extra_lines += max(0, lines - LINES_OF_EVENT)
        self._check_place(event)
        self._check_marks(event)
        self._check_id(event)
        self._check_name(frame, event)
        self._count_event(event)
        if event.is_token and event.outcome is None and not self._is_learned:
            self._learn(frame, event, newline, token)

    def _check_place(self, event: RunEvent) -> None:
        if self._ends and not event.is_trailer:
            raise FastPathError("an event follows the end")
        if event.outcome is not None and self.terminal is not None:
            raise FastPathError("a second outcome")
        if event.is_token and self.terminal is not None:
            raise FastPathError("a token follows the outcome")
        if event.outcome == "error" and not self.events:
            raise FastPathError("the only event may be a rejection")

    def _check_marks(self, event: RunEvent) -> None:
        first = self._profile.events.first
        if first and not self.events and event.type not in first:
            raise FastPathError("not a type of the first event")
        if self._pairs.take(event) is not None:
            raise FastPathError("an event does not fit what is open")
        if any(mark.role == "closes" for mark in event.marks):  # tokens like those before may not follow
            self._tokens_template, self._is_learned = None, False

    def _check_id(self, event: RunEvent) -> None:
        if Capability.EVENT_IDS not in self._promised or event.is_literal:
            return
        if event.id is None or not event.id.isascii() or not self._take_position(event.id.encode()):
            raise FastPathError("an event lacks an id that is greater than all before it")

    def _check_name(self, frame: Frame, event: RunEvent) -> None:
        if Capability.EVENT_NAMES in self._promised and frame.event not in {"", "message", event.type}:
            raise FastPathError("a custom event name")

    def _count_event(self, event: RunEvent) -> None:
        self._events += 1
        self._run_events += event.is_known and not event.is_literal
        self._tokens += event.is_token
        if event.outcome is not None:
            self.terminal = event
        self._ends += event.is_end
        if event.content in SIGNS:
            self._signs.add(event.content)
        if event.output_tokens is not None:
            self.output_tokens, self.reasoning_tokens = event.output_tokens, event.reasoning_tokens
        if self._run_id is None:
            self._run_id = event.run_id
        elif event.run_id not in {None, self._run_id}:
            raise FastPathError("a different run id")

    def _learn(self, frame: Frame, event: RunEvent, newline: bytes, token: TokenFrame | None) -> None:
        self._is_learned = True
        try:
            token = token or learn_token(self._profile, frame, event, newline)
        except FastPathError:
            return  # every event is read in full
        template = token.template
        if template.has_run:
            self._run = token.match["run"]
        self._equal = EqualFrames(token.match) if template.ids is None else None
        self._tokens_template = template


def _read(reader: FrameReader, raw: bytes, newline: bytes) -> tuple[Frame, RunEvent] | None:
    """One frame and what it is; None for comments. Raises FastPathError if a rule may object to it."""
    frame = _frame_of(raw, newline)
    if frame is None:
        return None
    event = reader.read(frame)
    if event.problem is not None or not (event.type or event.is_known):
        raise FastPathError("an event is not what the profile allows")
    if not event.is_literal:
        try:
            loads_strict(frame.data or "")
        except ValueError:
            raise FastPathError("data is not strict JSON") from None
    return frame, event


_read_short = lru_cache(maxsize=64)(_read)


def _frame_of(raw: bytes, newline: bytes) -> Frame | None:
    """The frame, or None if it is empty or consists of comments. Raises FastPathError if a rule may object to it."""
    if not raw:
        return None
    if raw.startswith((_BOM, newline)):
        raise FastPathError("a byte order mark, or an empty line")
    (frame,) = SseDecoder().feed(raw + newline * 2)
    names = {name for name, _ in frame.fields}
    if not names <= _FIELDS or (frame.data is None and names != {""}):
        raise FastPathError("a field other than data, id and event, or a block without data")
    if any(name == "id" and "\0" in value for name, value in frame.fields):
        raise FastPathError("a NUL in an id")
    return None if frame.data is None else frame
