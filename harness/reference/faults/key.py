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
    """Uses the body as the key if no key is sent."""

    def identity(self, submission: Submission, key: str | None) -> RunKey | None:
        own = super().identity(submission, key)
        return own or (submission.organization, "body", self.fingerprint(submission.body).hex())


class UuidKeysOnly(Fault, name="uuid-keys-only", breaks=key.opaque):
    """Requires keys to be UUIDs, which is only a recommendation."""

    def idempotency_key(self, http: web.BaseRequest) -> str | None:
        key = super().idempotency_key(http)
        try:
            return None if key is None else str(uuid.UUID(key))
        except ValueError:
            raise Rejection(400, "bad_idempotency_key", "Idempotency-Key must be a UUID.") from None


class AnyKeyAccepted(Fault, name="any-key-accepted", breaks=key.bad):
    """Accepts any header value as a key, even an empty one."""

    def idempotency_key(self, http: web.BaseRequest) -> str | None:
        return http.headers.get("Idempotency-Key")


class KeyEchoed(Fault, name="key-echoed", breaks=key.inert):
    """Echoes the client's key in a response header."""

    def stream_headers(self, http: web.BaseRequest) -> dict[str, str]:
        key = http.headers.get("Idempotency-Key")
        own = super().stream_headers(http)
        return own if key is None else {**own, "Idempotency-Key": key}
