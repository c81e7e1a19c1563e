"""Faults that violate the key requirements."""

from __future__ import annotations

import hashlib
import re
import unicodedata
import uuid
import zlib
from collections.abc import Callable
from urllib.parse import unquote
from weakref import WeakValueDictionary

from aiohttp import web

from harness.contract.rules import key
from harness.reference.actions import Tokens
from harness.reference.api import (
    Rejection,
    Submission,
)
from harness.reference.faults.base import Fault
from harness.reference.runs import Run, RunKey
from harness.reference.settings import ServerSettings


class EqualBodiesShareRun(Fault, name="equal-bodies-share-run", breaks=key.none_independent):
    """Uses the body as the key if no key is sent."""

    def identity(self, submission: Submission, key: str | None) -> RunKey | None:
        own = super().identity(submission, key)
        return own or (submission.organization, "body", self.fingerprint(submission.body).hex())


class _ChangedKey(Fault):
    """Looks up something that it makes of the key, so that different keys become one."""

    def changed(self, key: str) -> str:
        """What is looked up."""
        return key

    def accepted_key(self, http: web.BaseRequest) -> str | None:
        """The key that was sent. Raises Rejection if it is not valid."""
        return super().idempotency_key(http)

    def idempotency_key(self, http: web.BaseRequest) -> str | None:
        key = self.accepted_key(http)
        return None if key is None else self.changed(key)


class _UnicodeKeys(_ChangedKey):
    def accepted_key(self, http: web.BaseRequest) -> str | None:
        key = http.headers.get("Idempotency-Key")
        return (
            key if key is not None and key.isprintable() and not key.isascii() else super().accepted_key(http)
        )


class KeyFoldedCase(_ChangedKey, name="key-folded-case", breaks=key.distinct):
    """Compares keys without regard to case."""

    def changed(self, key: str) -> str:
        return key.lower()


class KeyFoldedInConflicts(Fault, name="key-folded-in-conflicts", breaks=key.distinct):
    """Finds runs by the exact key, but keeps the fingerprints of bodies by the key without its case."""

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings)
        self._by_folded: WeakValueDictionary[tuple[str, str], Run] = WeakValueDictionary()

    def start(self, submission: Submission, key: str | None, action: Callable[[], Tokens]) -> Run:
        run = super().start(submission, key, action)
        if key is not None:
            self._by_folded[submission.organization, key.lower()] = run
        return run

    def find(self, submission: Submission, key: str | None) -> Run | None:
        run = super().find(submission, key)
        if run is not None or key is None:
            return run
        other = self._by_folded.get((submission.organization, key.lower()))
        return other if other is not None and self.conflicts(other, submission) else None


class KeyCutTo8(_ChangedKey, name="key-cut-to-8", breaks=key.distinct):
    """Keeps the first 8 characters of a key."""

    def changed(self, key: str) -> str:
        return key[:8]


class KeyCutTo32(_ChangedKey, name="key-cut-to-32", breaks=key.distinct):
    """Keeps the first 32 characters of a key, in a column made for UUIDs without hyphens."""

    def changed(self, key: str) -> str:
        return key[:32]


class KeyCutTo64(_ChangedKey, name="key-cut-to-64", breaks=key.distinct):
    """Keeps the first 64 characters of a key."""

    def changed(self, key: str) -> str:
        return key[:64]


class KeyCutAtSeparator(_ChangedKey, name="key-cut-at-separator", breaks=key.distinct):
    """Takes the key for a list, and keeps its first member."""

    def changed(self, key: str) -> str:
        return key.split(",", maxsplit=1)[0]


class KeyUnicodeNormalised(_UnicodeKeys, name="key-unicode-normalised", breaks=key.distinct):
    """Accepts keys beyond ASCII, and normalizes them to NFC."""

    def changed(self, key: str) -> str:
        return unicodedata.normalize("NFC", key)


class KeyCollated(_UnicodeKeys, name="key-collated", breaks=key.distinct):
    """Compares keys with a collation that ignores accents, and takes a sharp s for two."""

    def changed(self, key: str) -> str:
        parts = unicodedata.normalize("NFD", key.replace("\u00df", "ss"))
        return "".join(part for part in parts if not unicodedata.combining(part))


class KeyTrimmed(_ChangedKey, name="key-trimmed", breaks=key.distinct):
    """Drops white space at both ends of a quoted key."""

    def changed(self, key: str) -> str:
        return f'"{key[1:-1].strip()}"' if key[0] == key[-1] == '"' else key


class KeySpaceCollapsed(_ChangedKey, name="key-space-collapsed", breaks=key.distinct):
    """Takes several spaces for one."""

    def changed(self, key: str) -> str:
        return re.sub(" +", " ", key)


class KeyPercentDecoded(_ChangedKey, name="key-percent-decoded", breaks=key.distinct):
    """Decodes a key like a part of a URL."""

    def changed(self, key: str) -> str:
        return unquote(key)


class KeyAsNumber(_ChangedKey, name="key-as-number", breaks=key.distinct):
    """Stores a key of digits as a number, without its leading zeros."""

    def changed(self, key: str) -> str:
        return str(int(key)) if key.isdigit() else key


class KeyAsUuid(_ChangedKey, name="key-as-uuid", breaks=key.distinct):
    """Stores a key that can be read as a UUID as one: letter case, hyphens and braces are lost."""

    def changed(self, key: str) -> str:
        try:
            return str(uuid.UUID(key))
        except ValueError:
            return key


class KeyDotTrimmed(_ChangedKey, name="key-dot-trimmed", breaks=key.distinct):
    """Drops the dots at the end of a key, as some file systems do."""

    def changed(self, key: str) -> str:
        return key.rstrip(".")


class KeySlugified(_ChangedKey, name="key-slugified", breaks=key.distinct):
    """Makes a file name of the key: all but letters and digits becomes a hyphen."""

    def changed(self, key: str) -> str:
        return re.sub("[^A-Za-z0-9]", "-", key)


class KeyChecksummed(_ChangedKey, name="key-checksummed", breaks=key.distinct):
    """Keeps the CRC-32 of a key."""

    def changed(self, key: str) -> str:
        return str(zlib.crc32(key.encode()))


class KeyHashCut(_ChangedKey, name="key-hash-cut", breaks=key.distinct):
    """Keeps the first 8 digits of the key's SHA-256."""

    def changed(self, key: str) -> str:
        return hashlib.sha256(key.encode()).hexdigest()[:8]


class KeyUnquoted(_ChangedKey, name="key-unquoted", breaks=key.quotes):
    """Drops the quotes of a structured-field string, and accepts the text without them too."""

    def changed(self, key: str) -> str:
        return key[1:-1] if len(key) > 2 and key[0] == key[-1] == '"' else key


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
