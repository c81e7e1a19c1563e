"""What an API may promise. A rule names what it needs; where it is absent, the rule is not applicable."""

from __future__ import annotations

from enum import StrEnum


class Capability(StrEnum):
    """What an API may promise, as a part of a sentence: "this API promises no …"."""

    IDEMPOTENCY_KEY = "idempotency key"
    KEY_CONFLICT = "rejection of a reused key"
    RESUME = "resumption of a cut stream"
    RESUME_AFTER_ID = "resumption after an event that the client names"
    EVENT_IDS = "event ids"
    ORDERED_IDS = "order of event ids"
    RUN_ID = "run id"
    CANCEL = "cancellation"
    OUTCOME_REQUEST = "request for a run's outcome"
    ERROR_EVENT = "error event"
    USAGE = "token counts"
