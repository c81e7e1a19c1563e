"""The fast path: event streams of the one form that nearly all of them have, read at the speed of C.

A stream is *regular* when each of its events is one `id` and one `data` line (and an `event` line, if any)
in the same order, the data are token objects with the same keys, the ids grow, and nothing but comments
follows its one terminal event. Then every rule about a stream's form holds, and its events need not be
looked at one by one. The reader here only ever says "regular so far", with a few counts, or "not regular",
and then the full decoder has the word: what is unusual is never judged by a shortcut. That the two agree
is proven over generated streams (tests/contract/test_regular.py).
"""

from __future__ import annotations

import operator
import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from harness.profiles.workflow_actions.event_id import StreamId
from harness.profiles.workflow_actions.events import TERMINAL_TYPES, ErrorEvent, RunEvent, parse_run_event
from harness.protocol.strict_json import loads_strict

_LINE = re.compile(rb"(id|data|event)(: ?)([^\r\n]*)")
_ID = re.compile(rb"([0-9]{1,19})-([0-9]{1,19})")
_MEMBER = re.compile(rb'(?P<key>"[^"\\]*")[ \t]*:[ \t]*(?P<value>"(?:[^"\\]|\\.)*"|[^",{}\[\] \t]+)')
_PLAIN_KEY = re.compile(r"[ !#-\[\]-~]*")
_GROUP_NAME = re.compile(rb"\(\?P<[a-z]+>")
_SPACED_COLON = re.compile(rb'"[ \t]+:')
_DIGITS = b"0123456789"
_MOST_KEYS = 16
_LONGEST_PENDING = 65536  # bytes; it is copied at each read
#: Bytes of a line with keys beyond the documented: a number in it may have thousands of digits.
_LONGEST_EXTRA = 4096

_Match = Callable[[bytes], re.Match[bytes] | None]
Scalar = int | float | str | bool | None


class FastPathError(Exception):
    """The stream is not, or no longer, of the regular form; the text says why, for whoever tunes this."""


@dataclass(frozen=True, slots=True)
class FrameTemplate:
    """How one stream writes its events, learnt from the first: everything that is then looked for.

    prefixes: what its lines begin with, in order. id_at, data_at, event_at: their places in a frame. lines: of
    a frame, with its blank one. match_token, match_chunk: match a whole frame with a plain token, and a chunk
    with one (see _patterns); ms, seq and content are groups of the match. match_tokens: matches as many such
    frames as there are, perhaps none. empty: how a plain token writes that it has no content.
    """

    newline: bytes
    prefixes: tuple[bytes, ...]
    keys: frozenset[str]
    id_at: int
    data_at: int
    event_at: int | None
    event_name: bytes | None
    decode: Callable[[bytes], Any]
    decode_lines: Callable[[bytes], list[Any]]
    lines: int
    match_token: _Match
    match_chunk: _Match
    match_tokens: _Match
    empty: bytes
    key_count: int


@lru_cache(maxsize=256)
def _token_decoder(keys: frozenset[str]) -> msgspec.json.Decoder[Any]:
    """A decoder that takes token objects of exactly these keys."""
    extras = sorted(keys - {"type", "content"})
    names = {f"extra_{number}": name for number, name in enumerate(extras)}
    fields: list[tuple[str, Any]] = [("content", str), *((name, Scalar) for name in names)]
    token = msgspec.defstruct(
        "Token", fields, tag_field="type", tag="token", forbid_unknown_fields=True, rename=names, gc=False
    )
    return msgspec.json.Decoder(token)


_recent: list[FrameTemplate] = []  # the form learnt last: most streams of a test are of one


def _learn_template(frame: bytes, newline: bytes) -> FrameTemplate:
    """The form of a stream whose first event that frame is."""
    for form in _recent:
        if form.newline == newline and form.match_token(frame + newline * 2) is not None:
            return form
    form = _learn(frame, newline)
    _recent[:] = [form]
    return form


def _learn(frame: bytes, newline: bytes) -> FrameTemplate:
    lines = frame.split(newline)
    parts = [_LINE.fullmatch(line) for line in lines]
    names = [part[1] if part else b"" for part in parts]
    if sorted(names) not in ([b"data", b"id"], [b"data", b"event", b"id"]):
        raise FastPathError("a frame of other lines than id, data and event")
    data_at = names.index(b"data")
    value = _strict_object(lines[data_at].partition(b":")[2])
    if value.get("type") != "token" or len(value) > _MOST_KEYS:
        raise FastPathError("the first event is no token")
    if not all(isinstance(one, Scalar) for one in value.values()) or not isinstance(
        value.get("content"), str
    ):
        raise FastPathError("a token with more than texts and numbers in it")
    event_at = names.index(b"event") if b"event" in names else None
    event_name = None if event_at is None else lines[event_at].partition(b":")[2].removeprefix(b" ")
    if event_name not in {None, b"token", b"message", b""}:
        raise FastPathError("an event name of its own")
    if not all(map(_PLAIN_KEY.fullmatch, value)):
        raise FastPathError("a key that is written with escapes")
    keys = frozenset(value)
    decoder = _token_decoder(keys)
    prefixes = tuple(part[1] + part[2] for part in parts if part)
    return FrameTemplate(
        newline,
        prefixes,
        keys,
        names.index(b"id"),
        data_at,
        event_at,
        event_name,
        decoder.decode,
        decoder.decode_lines,
        len(prefixes) + 1,
        *_patterns(lines, prefixes, newline),
        len(keys),
    )


def _patterns(
    lines: list[bytes], prefixes: tuple[bytes, ...], newline: bytes
) -> tuple[_Match, _Match, _Match, bytes]:
    """What matches a frame with a plain token like the one in `lines`, a chunk with one, and any number of
    frames; and how such a token is written when it is empty.

    Plain is a token written as that one is, but for its texts and whole numbers; the texts are ASCII without
    escapes. What they match is strict JSON with no key twice, so it need not be read as JSON.
    """
    frame = newline.join([*(_line_pattern(*pair) for pair in zip(lines, prefixes, strict=True)), b"", b""])
    chunk = rb"([0-9A-Fa-f]{1,8})\r\n" + frame + rb"\r\n"
    frames = b"(?:" + _GROUP_NAME.sub(b"(?:", frame) + b")*+"
    data = next(line for line, prefix in zip(lines, prefixes, strict=True) if prefix.startswith(b"data"))
    content = next(member for member in _MEMBER.finditer(data) if member["key"] == b'"content"')
    empty = data[content.start("key") : content.start("value")] + b'""'
    return re.compile(frame).fullmatch, re.compile(chunk).fullmatch, re.compile(frames).match, empty


def _line_pattern(line: bytes, prefix: bytes) -> bytes:
    value = line[len(prefix) :]
    if prefix.startswith(b"id"):
        return re.escape(prefix) + rb"(?P<ms>[0-9]{1,19})-(?P<seq>[0-9]{1,19})"
    return re.escape(prefix) + (_data_pattern(value) if prefix.startswith(b"data") else re.escape(value))


def _data_pattern(data: bytes) -> bytes:
    """For a JSON object of scalars, its key "type" and its layout as they are."""
    pattern, done = b"", 0
    members = list(_MEMBER.finditer(data))
    if [member["key"] for member in members].count(b'"content"') != 1:
        raise FastPathError("keys that are written with escapes")
    for member in members:
        key, value = member.group("key", "value")
        pattern += re.escape(data[done : member.start("value")])
        if key == b'"content"':
            pattern += rb'"(?P<content>[ !#-\[\]-~]{,4000})"'
        elif key != b'"type"' and value[:1] == b'"':
            pattern += rb'"[ !#-\[\]-~]{,4000}"'
        elif key != b'"type"' and value.lstrip(b"-").isdigit():
            pattern += rb"-?(?:0|[1-9][0-9]{,17})"
        else:
            pattern += re.escape(value)
        done = member.end("value")
    return pattern + re.escape(data[done:])


def _strict_object(data: bytes) -> dict[str, Any]:
    try:
        value = loads_strict(data.decode("utf-8"))
    except (ValueError, RecursionError):
        raise FastPathError("data that is not strict JSON") from None
    if not isinstance(value, dict):
        raise FastPathError("data that is no object")
    return value


class FastDecoder:
    """One stream, as long as it is regular.

    events, tokens: how many so far; a token is one with content. terminal: its terminal event.
    first_id: of its first event.
    """

    __slots__ = ("_form", "_last_id", "_newline", "events", "first_id", "pending", "terminal", "tokens")

    def __init__(self) -> None:
        self.events = 0
        self.tokens = 0
        self.terminal: RunEvent | None = None
        self.first_id: StreamId | None = None
        self._last_id: tuple[int, int] = (-1, -1)
        self.pending = b""
        self._form: FrameTemplate | None = None
        self._newline: bytes | None = None

    def feed(self, body: bytes) -> None:
        """Take the next bytes of the body. Raises NotRegularError, after which the object is of no use."""
        if self.pending:
            body = self.pending + body
        elif self._form is not None and self.terminal is None:
            match = self._form.match_token(body)
            if match is not None and self._take_match(match) is not None:
                return
        newline = self._line_end(body)
        end = body.rfind(newline + newline)
        if end < 0:
            self._keep(body, newline)
            return
        whole = end + 2 * len(newline)
        self._keep(body[whole:], newline)
        if self._form is None and not body.startswith(b":"):
            self._form = _learn_template(body.partition(newline + newline)[0], newline)
        taken = self._take_plain(body)
        if taken == whole:
            return
        frames = body[taken:end]
        self._check_lines(frames, newline)
        self._take(frames, newline)

    def _line_end(self, body: bytes) -> bytes:
        """The one kind of line end that this stream has, decided by its first."""
        if self._newline is not None:
            return self._newline
        newline = b"\r\n" if b"\r" in body else b"\n"
        if b"\n" in body:
            self._newline = newline
        return newline

    def _check_lines(self, frames: bytes, newline: bytes) -> None:
        self._check_line_ends(frames, newline)
        if not frames.isascii():
            self._check_utf8(frames)

    def lines_of(self, body: bytes) -> tuple[list[str], list[str]]:
        """The ids and the data of the events in `body`, which is all of the body that was fed."""
        form = self._form
        if form is None:
            return [], []
        blank = 2 * form.newline
        frames = _without_comments(body[: body.rfind(blank)], form.newline)
        lines = frames.decode("utf-8").split(form.newline.decode())
        ids, data = lines[form.id_at :: form.lines], lines[form.data_at :: form.lines]
        id_starts, data_starts = len(form.prefixes[form.id_at]), len(form.prefixes[form.data_at])
        return [line[id_starts:] for line in ids], [line[data_starts:] for line in data]

    def take_chunk(self, data: bytes) -> int | None:
        """A read in the most common form by far: one chunk (RFC 9112, section 7.1) with one frame, a plain token.

        Call it between two chunks. Returns how many tokens with content it holds, 0 or 1; None where it is
        anything else, which is for `feed` then.
        """
        form = self._form
        if form is None or self.pending or self.terminal is not None:
            return None
        match = form.match_chunk(data)
        if match is None or int(match[1], 16) != len(data) - match.end(1) - 4:
            return None
        return self._take_match(match)

    @staticmethod
    def ends_chunk(body: bytes, data: bytes) -> bool:
        """Whether `data`, which held `body`, ends with the end of a chunk and of a frame.

        Where the body ends with a blank line of LF alone and the data with CRLF behind it, that CRLF is no part
        of the body, and so it is the chunk's.
        """
        return body.endswith(b"\n\n") and data.endswith(b"\n\n\r\n")

    def _take_match(self, match: re.Match[bytes]) -> int | None:
        ms, seq, content = match.group("ms", "seq", "content")
        own_id = (int(ms), int(seq))
        if own_id <= self._last_id:
            return None
        self._last_id = own_id
        self.events += 1
        if content:
            self.tokens += 1
            return 1
        return 0

    def _keep(self, rest: bytes, newline: bytes) -> None:
        if len(rest) > _LONGEST_PENDING:
            raise FastPathError("a long event")
        # A line end of another kind may end a frame as well, which would wait here unseen; and a lone CR ends
        # a line as soon as it comes. The full decoder knows what to make of either.
        self._check_line_ends(rest, newline)
        self.pending = rest

    @staticmethod
    def _check_line_ends(text: bytes, newline: bytes) -> None:
        if newline == b"\n":
            if b"\r" in text:
                raise FastPathError("a CR in a stream of LF lines")
        elif not text.count(b"\r") == text.count(b"\n") == text.count(newline):
            raise FastPathError("line ends of several kinds")

    @staticmethod
    def _check_utf8(frames: bytes) -> None:
        try:
            frames.decode("utf-8")
        except UnicodeDecodeError:
            raise FastPathError("not UTF-8") from None

    def _take_plain(self, body: bytes) -> int:
        """Take the frames with plain tokens with which `body` begins; returns how many bytes that were."""
        form = self._form
        if form is None or self.terminal is not None:
            return 0
        match = form.match_tokens(body)
        taken = match.end() if match else 0
        if taken:
            block = body[:taken]
            ids = block.split(form.newline)[form.id_at : -1 : form.lines]
            self._take_ids(ids, form.prefixes[form.id_at], formed=True)
            self.events += len(ids)
            self.tokens += len(ids) - block.count(form.empty)
        return taken

    def _take(self, frames: bytes, newline: bytes) -> None:
        """Whole frames, with the blank lines between them and without the last."""
        if frames.startswith(b":") or newline + b":" in frames:
            frames = _without_comments(frames, newline)
            if not frames:
                return
        if self._form is None:
            self._form = _learn_template(frames.partition(newline + newline)[0], newline)
        form = self._form
        lines = frames.split(newline)
        if len(lines) % form.lines != form.lines - 1 or any(lines[form.lines - 1 :: form.lines]):
            raise FastPathError("frames of another form")
        if self.terminal is not None:
            raise FastPathError("something follows the terminal event")
        ids = lines[form.id_at :: form.lines]
        self._take_ids(ids, form.prefixes[form.id_at])
        names = None if form.event_at is None else lines[form.event_at :: form.lines]
        self._take_data(lines[form.data_at :: form.lines], names, form)
        self.events += len(ids)

    def _take_ids(self, ids: list[bytes], prefix: bytes, *, formed: bool = False) -> None:
        """They must be pairs of numbers, each above the one before it. formed: that they are is known."""
        first, last = _stream_id(ids[0], prefix), _stream_id(ids[-1], prefix)
        if first <= self._last_id:
            raise FastPathError("ids that do not grow")
        if len(ids) > 1 and not _grow(ids, prefix, formed=formed):
            raise FastPathError("ids that do not grow")
        if self.first_id is None:
            self.first_id = first
        self._last_id = last

    def _take_data(self, data: list[bytes], names: list[bytes] | None, form: FrameTemplate) -> None:
        if _tokens_in(data[-1:], form) is None:  # then it is the terminal event, or the stream is not regular
            last = data.pop()
            self._take_terminal(last, None if names is None else names.pop(), form, self.events + len(data))
        tokens = _tokens_in(data, form) if data else 0
        if tokens is None:
            raise FastPathError("an event that is neither a token like the first nor the last")
        if names:
            prefix = form.prefixes[form.event_at or 0]
            if set(names) != {prefix + (form.event_name or b"")}:
                raise FastPathError("event names of several kinds")
        self.tokens += tokens

    def _take_terminal(
        self, line: bytes, name: bytes | None, form: FrameTemplate, events_before: int
    ) -> None:
        prefix = form.prefixes[form.data_at]
        if not line.startswith(prefix + b"{"):  # a space that the prefix lacks would belong to it
            raise FastPathError("a line with another beginning")
        data = line[len(prefix) :]
        value = _strict_object(data)
        kind = value.get("type")
        if not isinstance(kind, str) or kind not in TERMINAL_TYPES:
            raise FastPathError("an event that is neither token nor terminal")
        if name is not None:
            event = name.removeprefix(form.prefixes[form.event_at or 0])
            if event not in {b"", b"message", kind.encode()}:
                raise FastPathError("an event name of its own")
        try:
            terminal = parse_run_event(data.decode("utf-8"))
        except ValueError:
            raise FastPathError("a terminal event without its fields") from None
        if isinstance(terminal, ErrorEvent) and not events_before:
            raise FastPathError("what may be a rejection")
        self.terminal = terminal


def _without_comments(frames: bytes, newline: bytes) -> bytes:
    """The frames less those that are comments and nothing else."""
    blank = newline + newline
    kept = []
    for frame in frames.split(blank):
        if not frame.startswith(b":"):
            kept.append(frame)
        elif not all(line.startswith(b":") for line in frame.split(newline)):
            raise FastPathError("a comment inside a frame")
    return blank.join(kept)


def _stream_id(line: bytes, prefix: bytes) -> StreamId:
    match = _ID.fullmatch(line, len(prefix)) if line.startswith(prefix) else None
    if match is None:
        raise FastPathError("an id of another form")
    return StreamId(int(match[1]), int(match[2]))


def _grow(ids: list[bytes], prefix: bytes, *, formed: bool = False) -> bool:
    """Whether the lines are ids, each above the one before it. formed: that they are ids is known.

    Raises NotRegularError for what is no id.
    """
    widths = list(map(len, ids))
    if widths == sorted(widths):  # as in nearly every batch: look at each width's lines at once
        last = None
        start = 0
        while start < len(ids):
            end = bisect_right(widths, widths[start], start)
            first = _stream_id(ids[start], prefix)
            if last is not None and first <= last:
                break
            if not _grow_in_fixed_width(ids[start:end], prefix, formed=formed):
                break
            last = _stream_id(ids[end - 1], prefix)
            start = end
        else:
            return True
    numbers = [_stream_id(line, prefix) for line in ids]
    return all(map(operator.lt, numbers, numbers[1:]))


def _grow_in_fixed_width(ids: list[bytes], prefix: bytes, *, formed: bool) -> bool:
    """Whether lines of one width are ids alike, each above the one before it: for such, text order is number
    order. The first is known to be an id.
    """
    width, count = len(ids[0]), len(ids)
    dash = ids[0].index(b"-")
    block = b"\n".join(ids)
    return (
        block[dash :: width + 1] == b"-" * count
        and (formed or _have_digits_alone(block, prefix, count))
        and all(map(operator.lt, ids, ids[1:]))
    )


def _have_digits_alone(block: bytes, prefix: bytes, count: int) -> bool:
    """Whether these lines are made of the prefix, a dash and digits."""
    return (
        block.count(b"\n" + prefix) == count - 1
        and block.translate(None, _DIGITS) == ((prefix + b"-\n") * count)[:-1]
    )


def _tokens_in(data: Sequence[bytes], form: FrameTemplate) -> int | None:
    """How many of these tokens have content; None when some are no tokens with exactly the form's keys."""
    prefix = form.prefixes[form.data_at]
    if form.key_count > 2 and max(map(len, data)) > _LONGEST_EXTRA:
        return None
    try:
        if len(data) == 1:
            if not data[0].startswith(prefix + b"{"):
                return None
            text = data[0][len(prefix) :]
            tokens = [form.decode(text)]
        else:
            lines = b"\n" + b"\n".join(data)
            text = lines.replace(b"\n" + prefix, b"\n")
            if len(lines) - len(text) != len(data) * len(prefix) or not _is_object_a_line(text, len(data)):
                return None
            tokens = form.decode_lines(text)
            if len(tokens) != len(data):
                return None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if _may_have_a_key_twice(text, len(data) * form.key_count) and not _are_strict(data, prefix):
        return None
    if b'""' not in text:  # as an empty text would be written
        return len(tokens)
    return sum(1 for token in tokens if token.content)


def _is_object_a_line(text: bytes, count: int) -> bool:
    """Whether each line begins and ends like an object: then no value goes on from one line to the next."""
    return text.startswith(b"\n{") and text.endswith(b"}") and text.count(b"}\n{") == count - 1


def _may_have_a_key_twice(text: bytes, keys: int) -> bool:
    """Whether objects that have `keys` different keys together may have more: False only if there are no more
    colons after quotes.
    """
    if text.count(b'":') != keys:
        return True
    return (b" :" in text or b"\t:" in text) and _SPACED_COLON.search(text) is not None


def _are_strict(data: Sequence[bytes], prefix: bytes) -> bool:
    try:
        for line in data:
            loads_strict(line[len(prefix) :].decode("utf-8"))
    except (ValueError, RecursionError):
        return False
    return True
