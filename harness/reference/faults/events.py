"""Faults that violate the events requirements."""

from __future__ import annotations

import math
import re
import traceback

from harness.contract.rules import events, framing
from harness.reference.api import (
    Payload,
)
from harness.reference.faults.base import Fault


class NumericContent(Fault, name="numeric-content", breaks=events.schema):
    """Passes tokens through a loosely typed store that turns numeric strings into numbers."""

    def event_data(self, payload: Payload) -> str:
        if re.fullmatch(r"\s*[0-9]{2,15}", payload.get("content", "")):
            payload = {**payload, "content": int(payload["content"])}
        return super().event_data(payload)


class DoneWithoutRunId(Fault, name="done-without-run-id", breaks=events.schema):
    """Omits the runId of the terminal event."""

    def event_data(self, payload: Payload) -> str:
        if payload["type"] == "done":
            payload = {"type": "done"}
        return super().event_data(payload)


class UntypedToken(Fault, name="untyped-token", breaks=events.type_):
    """Omits the type of tokens."""

    def event_data(self, payload: Payload) -> str:
        if payload["type"] == "token":
            payload = {"content": payload["content"]}
        return super().event_data(payload)


class StackTrace(Fault, name="stack-trace", breaks=events.error_detail):
    """Sends a stack trace to the client if an action fails."""

    def event_data(self, payload: Payload) -> str:
        if payload["type"] == "error" and "runId" in payload:
            try:
                raise OSError(payload["message"])  # noqa: TRY301 - a trace needs a raise
            except OSError:
                payload = {**payload, "message": traceback.format_exc()}
        return super().event_data(payload)


class BareError(Fault, name="bare-error", breaks=events.error_detail):
    """Ends a failed run with an error event that does not say what failed."""

    def event_data(self, payload: Payload) -> str:
        if payload["type"] == "error" and "runId" in payload:
            payload = {"type": "error", "runId": payload["runId"]}
        return super().event_data(payload)


class DuplicateKeys(Fault, name="duplicate-keys", breaks=events.strict_json):
    """Appends fields to serialized JSON without checking which keys it has."""

    def event_data(self, payload: Payload) -> str:
        return super().event_data(payload).removesuffix("}") + f',"type":"{payload["type"]}"}}'


class NanInEvent(Fault, name="nan-in-event", breaks=framing.one_json_object):
    """Gives each token a NaN probability, which its serializer writes as NaN."""

    def event_data(self, payload: Payload) -> str:
        return super().event_data(
            {**payload, "probability": math.nan} if payload["type"] == "token" else payload
        )
