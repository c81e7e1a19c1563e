"""What an API may promise. A rule names what it needs; where it is absent, the rule is not applicable."""

from __future__ import annotations

from enum import StrEnum


class Capability(StrEnum):
    """What an API may promise, as a part of a sentence: "this API promises no …"."""

    OUTCOME = "event that tells how a run ended"
    END = "event that ends the stream"
    ERROR_EVENT = "error event"
    CANCELLED_EVENT = "event of a cancelled run"
    WHOLE_TEXT = "whole text in addition to its pieces"
    EVENT_NAMES = "event names in browsers"
    USAGE = "token counts"
    FIRST_EVENT = "type of the first event"
    PAIRS = "events that open and close something"
    EVENT_IDS = "event ids"
    ORDERED_IDS = "order of event ids"
    CLOCK_IDS = "time in event ids"
    RUN_ID = "run id"
    REPEATED_RUN_ID = "run id in several events"
    SERVER_RUN_ID = "run id that the server makes"
    CLIENT_RUN_ID = "run id that the client chooses"
    AUTHENTICATION = "authentication"
    MALFORMED_REJECTED = "rejection of malformed bodies"
    REQUIRED_FIELDS = "required fields"
    BODY = "body in a request"
    JSON_BODY = "JSON body"
    IDEMPOTENCY_KEY = "idempotency key"
    KEY_CONFLICT = "rejection of a reused key"
    RESUME = "resumption of a cut stream"
    SAME_EVENTS = "resumption with the events of the run"
    REREAD = "replay of a run from its start"
    RESUME_AFTER_ID = "resumption after an event that the client names"
    CANCEL = "cancellation"
    OUTCOME_REQUEST = "request for a run's outcome"
    ORGANIZATION = "organization in a request"
    SOURCE = "source field"
    TIME_ZONE = "time zone field"
    PREVIOUS_OUTPUTS = "outputs of earlier steps in a request"


DECLARED = frozenset(
    {Capability.ORGANIZATION, Capability.SOURCE, Capability.TIME_ZONE, Capability.PREVIOUS_OUTPUTS}
)
"""Capabilities that no part of a profile shows: it names them in `promises`."""
