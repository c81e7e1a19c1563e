"""Learns from the first frame of a stream how the stream writes its tokens, and compiles patterns that match them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from harness.contract.decoding.token_layout import CONTENT, INTEGER, STREAM_ID, STRING, bytes_of
from harness.protocol.strict_json import loads_strict

_LINE = re.compile(rb"(id|data|event)(: ?)([^\r\n]*)")
_MEMBER = re.compile(rb'(?P<key>"[^"\\]*")[ \t]*:[ \t]*(?P<value>"(?:[^"\\]|\\.)*"|[^",{}\[\] \t]+)')
_PLAIN_KEY = re.compile(r"[ !#-\[\]-~]*")
_GROUP_NAME = re.compile(rb"\(\?P<[a-z]+>")
_MAX_KEYS = 16

_Match = Callable[[bytes], re.Match[bytes] | None]
_Scalar = int | float | str | bool | None


class FastPathError(Exception):
    """The stream is not regular, or no longer. The message says why, for tuning the fast path."""


@dataclass(frozen=True, slots=True)
class FrameTemplate:
    """How one stream writes its frames.

    prefixes: of the lines of a frame, in order (``id: ``). id_at, data_at, event_at: positions of these lines in a
    frame. lines: per frame, with the blank one. decode, decode_lines: decode one token, and one token per line.
    match_token, match_chunk: match one whole frame with a plain token, and one HTTP chunk with such a frame (see
    _patterns); ms, seq and content are groups of the match. match_tokens: matches any number of such frames, perhaps
    none. empty: how a plain token without content is written. layout: of the same frames, for the native reader of
    tokens. key_count: of the keys of a token.
    """

    newline: bytes
    prefixes: tuple[bytes, ...]
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
    layout: bytes
    key_count: int


_recent: list[FrameTemplate] = []  # the latest template: most streams of a test use the same one


def learn_template(frame: bytes, newline: bytes) -> FrameTemplate:
    """The template of a stream whose first event is in `frame`. Raises FastPathError if it is not a token."""
    for template in _recent:
        if template.newline == newline and template.match_token(frame + newline * 2) is not None:
            return template
    template = _learn(frame, newline)
    _recent[:] = [template]
    return template


def strict_object(data: bytes) -> dict[str, Any]:
    """A strict JSON object. Raises FastPathError."""
    try:
        value = loads_strict(data.decode("utf-8"))
    except ValueError:
        raise FastPathError("data is not strict JSON") from None
    if not isinstance(value, dict):
        raise FastPathError("data is not a JSON object")
    return value


def _learn(frame: bytes, newline: bytes) -> FrameTemplate:
    lines = frame.split(newline)
    parts = [_LINE.fullmatch(line) for line in lines]
    names = [part[1] if part else b"" for part in parts]
    if sorted(names) not in ([b"data", b"id"], [b"data", b"event", b"id"]):
        raise FastPathError("a frame has lines other than id, data and event")
    data_at = names.index(b"data")
    value = strict_object(lines[data_at].partition(b":")[2])
    if value.get("type") != "token" or len(value) > _MAX_KEYS:
        raise FastPathError("the first event is not a token")
    if not all(isinstance(member, _Scalar) for member in value.values()) or not isinstance(
        value.get("content"), str
    ):
        raise FastPathError("a token has values other than strings, numbers, booleans and null")
    event_at = names.index(b"event") if b"event" in names else None
    event_name = None if event_at is None else lines[event_at].partition(b":")[2].removeprefix(b" ")
    if event_name not in {None, b"token", b"message", b""}:
        raise FastPathError("a custom event name")
    if not all(map(_PLAIN_KEY.fullmatch, value)):
        raise FastPathError("a key is written with escapes")
    decoder = _token_decoder(frozenset(value))
    prefixes = tuple(part[1] + part[2] for part in parts if part)
    return FrameTemplate(
        newline,
        prefixes,
        names.index(b"id"),
        data_at,
        event_at,
        event_name,
        decoder.decode,
        decoder.decode_lines,
        len(prefixes) + 1,
        *_patterns(lines, prefixes, newline),
        len(value),
    )


@lru_cache(maxsize=256)
def _token_decoder(keys: frozenset[str]) -> msgspec.json.Decoder[Any]:
    """A decoder for token objects with exactly these keys."""
    extras = sorted(keys - {"type", "content"})
    names = {f"extra_{number}": name for number, name in enumerate(extras)}
    fields: list[tuple[str, Any]] = [("content", str), *((name, _Scalar) for name in names)]
    token = msgspec.defstruct(
        "Token", fields, tag_field="type", tag="token", forbid_unknown_fields=True, rename=names, gc=False
    )
    return msgspec.json.Decoder(token)


def _patterns(
    lines: list[bytes], prefixes: tuple[bytes, ...], newline: bytes
) -> tuple[_Match, _Match, _Match, bytes, bytes]:
    """Patterns for one frame with a plain token like the one in `lines`, for one HTTP chunk with it, and for any
    number of such frames; how a plain token without content is written; and the layout of such a frame.

    A plain token is written like the one in `lines` except for its strings and integers; the strings are ASCII without
    escapes. What the patterns match is strict JSON without duplicate keys, so it need not be parsed. What may vary is
    possessive, which takes half the time: no other part begins with one of its characters.
    """
    parts = [_line_pattern(*pair) for pair in zip(lines, prefixes, strict=True)]
    frame = newline.join([*(pattern for pattern, _ in parts), b"", b""])
    layout = bytes_of(newline).join([*(layout for _, layout in parts), b"", b""])
    chunk = rb"([0-9A-Fa-f]{1,8}+)\r\n" + frame + rb"\r\n"
    frames = b"(?:" + _GROUP_NAME.sub(b"(?:", frame) + b")*+"
    data = next(line for line, prefix in zip(lines, prefixes, strict=True) if prefix.startswith(b"data"))
    content = next(member for member in _MEMBER.finditer(data) if member["key"] == b'"content"')
    empty = data[content.start("key") : content.start("value")] + b'""'
    return re.compile(frame).fullmatch, re.compile(chunk).fullmatch, re.compile(frames).match, empty, layout


def _line_pattern(line: bytes, prefix: bytes) -> tuple[bytes, bytes]:
    """The pattern of a line, and its layout."""
    value = line[len(prefix) :]
    if prefix.startswith(b"id"):
        pattern = re.escape(prefix) + rb"(?P<ms>[0-9]{1,20}+)-(?P<seq>[0-9]{1,20}+)"
        return pattern, bytes_of(prefix) + STREAM_ID
    if not prefix.startswith(b"data"):
        return re.escape(line), bytes_of(line)
    pattern, layout = _data_pattern(value)
    return re.escape(prefix) + pattern, bytes_of(prefix) + layout


def _data_pattern(data: bytes) -> tuple[bytes, bytes]:
    """For a JSON object of scalars with the same layout and the same "type"."""
    pattern, layout, done = b"", b"", 0
    members = list(_MEMBER.finditer(data))
    if [member["key"] for member in members].count(b'"content"') != 1:
        raise FastPathError("a key is written with escapes")
    for member in members:
        key, value = member.group("key", "value")
        pattern += re.escape(data[done : member.start("value")])
        layout += bytes_of(data[done : member.start("value")])
        if key == b'"content"':
            pattern += rb'"(?P<content>[ !#-\[\]-~]{,4000}+)"'
            layout += bytes_of(b'"') + CONTENT + bytes_of(b'"')
        elif key != b'"type"' and value[:1] == b'"':
            pattern += rb'"[ !#-\[\]-~]{,4000}+"'
            layout += bytes_of(b'"') + STRING + bytes_of(b'"')
        elif key != b'"type"' and value.lstrip(b"-").isdigit():
            pattern += rb"-?(?:0|[1-9][0-9]{,17}+)"
            layout += INTEGER
        else:
            pattern += re.escape(value)
            layout += bytes_of(value)
        done = member.end("value")
    return pattern + re.escape(data[done:]), layout + bytes_of(data[done:])
