"""Faults that violate the key requirements."""

from __future__ import annotations

import uuid

from aiohttp import web

from harness.contract.rules import key
from harness.reference.api import (
    Rejection,
    Submission,
)
from harness.reference.faults.base import Fault
from harness.reference.runs import RunKey


class EqualBodiesShareRun(Fault, name="equal-bodies-share-run", breaks=key.none_independent):
    """Takes the body for a key where none is sent."""

    def identity(self, submission: Submission, key: str | None) -> RunKey | None:
        own = super().identity(submission, key)
        return own or (submission.organization, "body", self.fingerprint(submission.body).hex())


class UuidKeysOnly(Fault, name="uuid-keys-only", breaks=key.opaque):
    """Makes a rule of the recommendation that a key be a UUID."""

    def idempotency_key(self, http: web.BaseRequest) -> str | None:
        key = super().idempotency_key(http)
        try:
            return None if key is None else str(uuid.UUID(key))
        except ValueError:
            raise Rejection(400, "bad_idempotency_key", "Idempotency-Key must be a UUID.") from None


class AnyKeyAccepted(Fault, name="any-key-accepted", breaks=key.bad):
    """Takes any header value for a key, the empty one too."""

    def idempotency_key(self, http: web.BaseRequest) -> str | None:
        return http.headers.get("Idempotency-Key")


class KeyEchoed(Fault, name="key-echoed", breaks=key.inert):
    """Gives the client's key back in a header of the answer."""

    def stream_headers(self, http: web.BaseRequest) -> dict[str, str]:
        key = http.headers.get("Idempotency-Key")
        own = super().stream_headers(http)
        return own if key is None else {**own, "Idempotency-Key": key}
