"""Faults that violate the framing requirements."""

from __future__ import annotations

import json

from harness.contract.rules import framing
from harness.profiles.workflow_actions.events import TERMINAL_TYPES
from harness.reference.faults.base import Fault, with_data
from harness.reference.runs import Event


class Latin1Stream(Fault, name="latin-1-stream", breaks=framing.utf8):
    """Encodes the stream as Latin-1 wherever the character exists there."""

    def encode_frame(self, event: Event) -> bytes:
        text = super().encode_frame(event).decode()
        return b"".join(
            char.encode("latin-1") if ord(char) < 0x100 else char.encode("utf-8") for char in text
        )


class UnknownField(Fault, name="unknown-field", breaks=framing.fields):
    """Adds a custom field that every client ignores."""

    def encode_frame(self, event: Event) -> bytes:
        return b"channel: run\n" + super().encode_frame(event)


class NoLastBlankLine(Fault, name="no-last-blank-line", breaks=framing.blank_line):
    """Joins frames with blank lines instead of ending each with one, so the last event is never dispatched."""

    def encode_frame(self, event: Event) -> bytes:
        frame = super().encode_frame(event)
        return frame.removesuffix(b"\n") if event.type in TERMINAL_TYPES else frame


class TwoObjectsInData(Fault, name="two-objects-in-data", breaks=framing.one_json_object):
    """Puts usage next to the token in the same event, as a second JSON object on its own data line."""

    def encode_frame(self, event: Event) -> bytes:
        frame = super().encode_frame(event)
        return frame[:-1] + b'data: {"type":"usage","tokens":1}\n\n' if event.type == "token" else frame


class ReprInData(Fault, name="repr-in-data", breaks=framing.one_json_object):
    """Formats a token with Python's repr, which only looks like JSON."""

    def encode_frame(self, event: Event) -> bytes:
        if event.type == "token":
            event = with_data(event, repr(json.loads(event.data)))
        return super().encode_frame(event)


class NulInId(Fault, name="nul-in-id", breaks=framing.id_no_nul):
    """Sends a second id line from a zero-padded buffer, NUL included; clients ignore that line."""

    def encode_frame(self, event: Event) -> bytes:
        head, _, rest = super().encode_frame(event).partition(b"\n")
        return head + b"\n" + head + b"\0\n" + rest


class WordyRetry(Fault, name="wordy-retry", breaks=framing.retry_digits):
    """Sends the reconnection time with a unit."""

    def encode_frame(self, event: Event) -> bytes:
        return b"retry: 3s\n" + super().encode_frame(event)


class WrongEventName(Fault, name="wrong-event-name", breaks=framing.event_name):
    """Gives every event the same name, which is neither message nor its type."""

    def encode_frame(self, event: Event) -> bytes:
        return b"event: update\n" + super().encode_frame(event)


class RawLineFeed(Fault, name="raw-line-feed", breaks=framing.content_inert):
    """Unescapes line feeds, so that content can end a frame and forge the next."""

    def encode_frame(self, event: Event) -> bytes:
        return super().encode_frame(with_data(event, event.data.replace(r"\n", "\n")))


class RawCarriageReturn(Fault, name="raw-carriage-return", breaks=framing.content_inert):
    """Escapes line feeds, but not carriage returns, which end a line too."""

    def encode_frame(self, event: Event) -> bytes:
        return super().encode_frame(with_data(event, event.data.replace(r"\r", "\r")))


class BomPerFrame(Fault, name="bom-per-frame", breaks=framing.bom):
    """Starts each flush with a comment in a codec that writes a byte order mark."""

    def encode_frame(self, event: Event) -> bytes:
        return ": flush\n".encode("utf-8-sig") + super().encode_frame(event)
