"""Learns from the first token of a stream of any profile how the stream writes its tokens, as a pattern of bytes.

Within the pattern only these values may differ from the first token: the text, the id, the run's id (which must be the
same in the whole stream), and whatever no expression of the profile reads. So each frame that matches is the same event
but for its text and its id, and need not be decoded. Its JSON is strict, since the first token's is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import repeat

from harness.contract.decoding.frame_template import FastPathError
from harness.contract.decoding.token_layout import (
    COUNTER,
    JSON_COUNTER,
    LINE,
    NUMBER,
    STREAM_ID,
    STRING,
    TEXT,
    bytes_of,
)
from harness.profiles.event_rules import Events
from harness.profiles.profile import Profile
from harness.profiles.run_event import RunEvent
from harness.protocol.sse import Frame

_LINE = re.compile(rb"(id|data|event)(: ?)([^\r\n]*)")
_SCALAR = re.compile(rb'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|true|false|null')
_SPACE = re.compile(rb"[ \t]*")
_PROBE = "qzProbe"
_PROBE_NUMBER = "987654321"
_MAX_BYTES = 8192
_ID = rb"(?:[0-9]{1,18}(?:-[0-9]{1,18})?)"
_PLAIN = rb"[ !#-\[\]-~\x80-\xff]{,4000}+"
_REST = (
    _PLAIN + rb'(?:\\["\\/bfnrt]' + _PLAIN + rb"){,4000}+"
)  # half the time of one group for each character
_FREE_TEXT = rb'"' + _REST + rb'"'
_WORDS = rb'(?!")' + _REST
_TEXT = rb'"' + _WORDS + rb'"'
_TEXT_GROUP = rb'"(?P<text>' + _WORDS + rb')"'
_NOT_PLAIN = bytes(range(32)) + b'"\\\x7f'
_PLAIN_BYTES = bytes(set(range(256)) - set(_NOT_PLAIN))
_LEAST_FRAMES = 4
_MARK_BYTES = 16  # a longer one takes longer to find
_only_words = re.compile(_WORDS).fullmatch
_NUMBER = rb"-?(?:0|[1-9][0-9]{,14})(?:\.[0-9]{1,17})?"

_MatchAt = Callable[[bytes, int], "re.Match[bytes] | None"]


@dataclass(frozen=True, slots=True)
class ProfileTemplate:
    """How one stream writes its tokens.

    match: a frame with a token, and any number of further ones, from a place in a body; its groups ``run`` and ``id``
    are those of the first. match_chunk: an HTTP chunk with one such frame; group 1 is its size. ids: finds all ids of a
    match. blank: two line ends, with which a frame ends. lines: of a frame, with the blank one. layout: of such a
    frame, for the native reader of tokens, in two parts if the run's id is between them. id_numbers: of
    which an id consists there; 0 if there is none.
    """

    match: _MatchAt
    match_chunk: Callable[[bytes], re.Match[bytes] | None]
    ids: Callable[[bytes], list[bytes]] | None
    has_run: bool
    blank: bytes
    lines: int
    layout: tuple[bytes, ...]
    id_numbers: int

    def layout_of(self, run: bytes) -> bytes:
        """The layout for a stream of this run."""
        return bytes_of(run).join(self.layout)

    def count(self, block: bytes) -> int:
        """The number of frames of a match; to count single bytes takes less time than to count blank lines."""
        return block.count(self.blank[-1:]) // self.lines


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A scalar of the JSON: its place in the bytes, and the names on its path; a list adds none."""

    start: int
    end: int
    path: tuple[str, ...]
    raw: bytes

    @property
    def is_text(self) -> bool:
        return self.raw.startswith(b'"')

    @property
    def is_number(self) -> bool:
        return not self.is_text and self.raw not in {b"true", b"false", b"null"}

    @property
    def value(self) -> str:
        return str(json.loads(self.raw)) if self.is_text else self.raw.decode("ascii")


@dataclass(frozen=True, slots=True)
class _Reading:
    """What a profile reads of an event. names: of which the value counts. compared: those whose value is compared."""

    names: frozenset[str]
    compared: frozenset[str]

    @classmethod
    def of(cls, events: Events, at: frozenset[str]) -> _Reading:
        expressions = events.expressions
        names = frozenset(name for expression in expressions for name in expression.last_names)
        compared = frozenset(name for expression in expressions for name in expression.compared_names)
        return cls(names | at, compared)


@dataclass(frozen=True, slots=True)
class TokenFrame:
    """A token, and the template of the tokens that are written as it is. match: of its frame.

    event: what the profile makes of it. Its text is that of the first such token of the process.
    """

    frame: Frame
    event: RunEvent
    template: ProfileTemplate
    match: re.Match[bytes]


_recent: list[tuple[Profile, TokenFrame]] = []  # most streams of a test are written alike


def known_token(profile: Profile, raw: bytes, newline: bytes) -> TokenFrame | None:
    """A frame without its blank line, if it is written as a token of an earlier stream: it need not be read."""
    whole = raw + newline * 2
    for known, token in _recent:
        template = token.template
        if known is profile and template.blank == newline * 2:
            match = template.match(whole, 0)
            if match is not None and match.end() == len(whole):
                event = token.event
                if template.has_run:
                    event = replace(event, run_id=match["run"].decode("ascii"))
                if template.ids is not None:
                    event = replace(event, id=match["id"].decode("ascii"))
                return TokenFrame(token.frame, event, template, match)
    return None


def learn_token(profile: Profile, frame: Frame, event: RunEvent, newline: bytes) -> TokenFrame:
    """Learn how a stream writes its tokens, of which `frame` is one. Raises FastPathError if they have no pattern."""
    template = _learn(profile, frame, event, newline)
    match = template.match(frame.raw.removesuffix(newline) + newline * 2, 0)
    if match is None:
        raise FastPathError("the pattern of a token does not fit it")
    token = TokenFrame(frame, event, template, match)
    _recent[:] = [(profile, token), *_recent[:3]]
    return token


def _learn(profile: Profile, frame: Frame, event: RunEvent, newline: bytes) -> ProfileTemplate:
    lines = frame.raw.removesuffix(newline).split(newline)
    parts = [_LINE.fullmatch(line) for line in lines]
    names = [part[1] if part else b"" for part in parts]
    if (
        b"" in names
        or names.count(b"data") != 1
        or len(set(names)) != len(names)
        or len(frame.raw) > _MAX_BYTES
    ):
        raise FastPathError("a token's frame has other lines than id, event and one data")
    at = frozenset() if profile.ids is None else profile.ids.at.last_names
    try:
        reading = _Reading.of(profile.events, at)
    except ValueError as problem:
        raise FastPathError(f"an expression of the profile: {problem}") from None
    frame_pattern = _FramePattern(profile, [part for part in parts if part], newline)
    frame_pattern.add_lines(frame, event, reading)
    if profile.ids is not None and not frame_pattern.has_id:
        raise FastPathError("a token has no id")
    one, more = frame_pattern.first + newline, frame_pattern.repeated + newline
    return ProfileTemplate(
        re.compile(one + b"(?:" + more + b")*+").match,
        re.compile(rb"([0-9A-Fa-f]{1,8})\r\n" + one + rb"\r\n").fullmatch,
        re.compile(_ids_only(one)).findall if frame_pattern.has_id else None,
        frame_pattern.has_run,
        newline * 2,
        len(lines) + 1,
        tuple(frame_pattern.layout),
        frame_pattern.id_numbers,
    )


class _FramePattern:
    """The pattern of a token's lines. first: with groups. repeated: refers to the first one's run. layout: see
    ProfileTemplate.
    """

    def __init__(self, profile: Profile, parts: list[re.Match[bytes]], newline: bytes) -> None:
        self._profile, self._parts, self._newline = profile, parts, newline
        self.first = self.repeated = b""
        self.layout = [b""]
        self.has_run = self.has_id = False
        self.id_numbers = 0

    def add_lines(self, frame: Frame, event: RunEvent, reading: _Reading) -> None:
        """Add every line of the token. Raises FastPathError if one of them cannot be part of a pattern."""
        for part in self._parts:
            start = part[1] + part[2]
            if part[1] == b"id":
                self._add_id(start)
            elif part[1] == b"event":
                self._add(re.escape(part[0]), re.escape(part[0]), bytes_of(part[0]))
            else:
                data = _DataPattern(self._profile, frame, event, reading, part[3])
                self._add(re.escape(start) + data.first, re.escape(start) + data.repeated, bytes_of(start))
                self.layout[-1:] = [self.layout[-1] + data.layout[0], *data.layout[1:]]
                self.has_run, self.has_id = data.has_run, self.has_id or data.has_id
                self.id_numbers = self.id_numbers or int(data.has_id)
            self._add(self._newline, self._newline, bytes_of(self._newline))
        self.layout[-1] += bytes_of(self._newline)

    def _add(self, first: bytes, repeated: bytes, step: bytes) -> None:
        self.first += first
        self.repeated += repeated
        self.layout[-1] += step

    def _add_id(self, start: bytes) -> None:
        ids, begins = self._profile.ids, re.escape(start)
        if ids is None or ids.at.text != "id":
            self._add(begins + rb"[ -~]{,200}", begins + rb"[ -~]{,200}", bytes_of(start) + LINE)
            return
        self.has_id, self.id_numbers = True, 2 if ids.order == "ms-seq" else 1
        step = STREAM_ID if self.id_numbers > 1 else COUNTER
        self._add(begins + b"(?P<id>" + _ID + b")", begins + _ID, bytes_of(start) + step)


def _ids_only(pattern: bytes) -> bytes:
    """The pattern of one frame with the group ``id`` only."""
    return pattern.replace(b"(?P<run>", b"(?:").replace(b"(?P<text>", b"(?:").replace(b"(?P<id>", b"(")


class EqualFrames:
    """Tokens of one stream that are written as one of them is, but for the text.

    To take them apart at the same bytes before each text needs half the time of a pattern.
    """

    __slots__ = ("_after", "_before", "_mark", "_tail")

    def __init__(self, match: re.Match[bytes]) -> None:
        """match: of one frame, by ProfileTemplate."""
        start, end = (place - match.start() for place in match.span("text"))
        self._before, self._after = match[0][:start], match[0][end:]
        self._mark = self._before[-_MARK_BYTES:]
        self._tail = self._after + self._before[: -len(self._mark)]

    def are_at(self, body: bytes, place: int, whole: int) -> bool:
        """Whether such a frame may begin at a place, with room for several."""
        return whole - place > _LEAST_FRAMES * len(self._before) and body.startswith(self._before, place)

    def take(self, body: bytes, place: int, whole: int) -> tuple[int, bytes, int] | None:
        """The number of such frames from `place` on, their texts with blanks between them, and the place after them.

        None if one of them needs a closer look. No frame ends after `whole`.
        """
        start = place + len(self._before)
        *parts, last = body[start:whole].split(self._mark)
        texts = list(map(bytes.removesuffix, parts, repeat(self._tail)))
        texts_bytes = whole - start - len(last) - len(parts) * (len(self._mark) + len(self._tail))
        end = last.find(self._after)
        texts.append(last[:end])
        joined = b" ".join(texts)
        if end < 0 or len(joined) != texts_bytes + end + len(parts) or not all(texts):
            return None
        if joined.translate(None, _PLAIN_BYTES) and not all(map(_only_words, texts)):
            return None
        return len(texts), joined, whole - len(last) + end + len(self._after)


class _DataPattern:
    """The pattern of a token's data. first: with groups. repeated: refers to the first one's run. layout: see
    ProfileTemplate.
    """

    def __init__(
        self, profile: Profile, frame: Frame, event: RunEvent, reading: _Reading, data: bytes
    ) -> None:
        self._profile, self._frame, self._event, self._data = profile, frame, event, data
        self.first = self.repeated = b""
        self.layout = [b""]
        self.has_run = self.has_id = has_text = False
        done = 0
        for leaf in _leaves(data):
            start, is_run = done, False
            between = re.escape(data[done : leaf.start])
            done = leaf.end
            path = frozenset(leaf.path)
            first = repeated = re.escape(leaf.raw)
            step = bytes_of(leaf.raw)
            if not path & reading.names:
                if leaf.is_text or (leaf.is_number and b"e" not in leaf.raw.lower()):
                    first = repeated = _FREE_TEXT if leaf.is_text else _NUMBER
                    step = _quoted(STRING) if leaf.is_text else NUMBER
            elif path & reading.compared:
                pass
            elif leaf.is_text and leaf.value == event.text and self._is(leaf, "text"):
                has_text, first, repeated, step = True, _TEXT_GROUP, _TEXT, _quoted(TEXT)
            elif (
                leaf.is_text and leaf.value == event.run_id and not self.has_run and self._is(leaf, "run_id")
            ):
                self.has_run = is_run = True
                step = bytes_of(b'"')
                first, repeated = b'"(?P<run>[ !#-\\[\\]-~]{1,600})"', b'"(?P=run)"'
            elif leaf.is_number and leaf.value == event.id and not self.has_id and self._is(leaf, "id"):
                self.has_id = True
                first, repeated = b"(?P<id>0|[1-9][0-9]{,17})", b"(?:0|[1-9][0-9]{,17})"
                step = JSON_COUNTER
            self.first += between + first
            self.repeated += between + repeated
            self.layout[-1] += bytes_of(data[start : leaf.start]) + step
            if is_run:
                self.layout.append(bytes_of(b'"'))
        rest = re.escape(data[done:])
        self.first, self.repeated = self.first + rest, self.repeated + rest
        self.layout[-1] += bytes_of(data[done:])
        if not has_text:
            raise FastPathError("the text of a token is not one string of it")

    def _is(self, leaf: _Leaf, field: str) -> bool:
        """Whether this leaf is where the profile reads `field`, and decides nothing else of the event."""
        value = _PROBE_NUMBER if leaf.is_number else _PROBE
        written = value if leaf.is_number else f'"{value}"'
        data = self._data[: leaf.start] + written.encode() + self._data[leaf.end :]
        probe = replace(self._frame, data=data.decode("utf-8"))
        expected = {
            "text": replace(self._event, text=value),
            "run_id": replace(self._event, run_id=value),
            "id": replace(self._event, id=value),
        }[field]
        return self._profile.reader.read(probe) == expected


def _quoted(step: bytes) -> bytes:
    return bytes_of(b'"') + step + bytes_of(b'"')


def _leaves(data: bytes) -> Iterator[_Leaf]:
    """The scalars of a JSON value, in order. Raises FastPathError if it is not one on one line."""
    stack: list[str | None] = []  # the name of the member, for each open object; None for a list
    place, expects_name = 0, False
    while place < len(data):
        place = _SPACE.match(data, place).end()  # type: ignore[union-attr]  # it matches anything
        mark = data[place : place + 1]
        if mark in {b"{", b"["}:
            stack.append("" if mark == b"{" else None)
            expects_name = mark == b"{"
            place += 1
        elif mark in {b"}", b"]"}:
            if not stack:
                raise FastPathError("the data are not JSON")
            stack.pop()
            expects_name = False
            place += 1
        elif mark == b",":
            expects_name = bool(stack) and stack[-1] is not None
            place += 1
        elif mark == b":":
            expects_name = False
            place += 1
        elif mark:
            scalar = _SCALAR.match(data, place)
            if scalar is None:
                raise FastPathError("the data are not JSON")
            if expects_name:
                stack[-1] = json.loads(scalar[0])
            else:
                path = tuple(name for name in stack if name is not None)
                yield _Leaf(place, scalar.end(), path, scalar[0])
            place = scalar.end()
