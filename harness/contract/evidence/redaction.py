"""Masks secrets in evidence, in every encoding in which a server may echo them."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any
from urllib.parse import quote, quote_plus

_CHUNK_FRAMING = rb"\r\n[0-9A-Fa-f]+(?:[ \t;][^\r\n]*)?\r\n"


_PERCENT = re.compile(r"%[0-9A-F]{2}")


class Redactor:
    """Masks secrets in strings and bytes: as they are, and encoded for URLs, JSON and HTML."""

    def __init__(self, secrets: Iterable[str]) -> None:
        encoded = {encoding for secret in secrets if secret for encoding in _encodings(secret)}
        self._encoded = sorted(encoded, key=len, reverse=True)
        framing = b"(?:%s)?" % _CHUNK_FRAMING
        alternatives = (
            framing.join(re.escape(bytes((byte,))) for byte in encoding.encode())
            for encoding in self._encoded
        )
        self._pattern = re.compile(b"|".join(alternatives)) if self._encoded else None

    def text(self, text: str) -> str:
        """`text` with every secret masked."""
        for secret in self._encoded:
            text = text.replace(secret, "*" * len(secret.encode()))
        return text

    def pieces(self, pieces: Sequence[bytes]) -> list[bytes]:
        """Consecutive `pieces` of one message with every secret masked, each as long as before.

        A secret that is split by the end of a read or by chunk framing is masked too.
        """
        if self._pattern is None:
            return list(pieces)
        whole = self._pattern.sub(_mask, b"".join(pieces))
        ends = list(accumulate(map(len, pieces), initial=0))
        return [whole[start:end] for start, end in pairwise(ends)]

    def bytes(self, data: bytes) -> bytes:
        """`data` with every secret masked, as long as before."""
        return self.pieces([data])[0]

    def value(self, value: Any) -> Any:
        """A JSON value with every secret in its strings masked."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(key): self.value(member) for key, member in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return value


def _encodings(secret: str) -> set[str]:
    in_url = {quote(secret, safe=""), quote(secret), quote_plus(secret)}
    in_json = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    return {
        secret,
        *in_url,
        *(_PERCENT.sub(lambda escape: escape[0].lower(), encoding) for encoding in in_url),
        *in_json,
        *(encoding.replace("/", "\\/") for encoding in in_json),
        html.escape(secret),
    }


def _mask(match: re.Match[bytes]) -> bytes:
    parts = re.split(b"(%s)" % _CHUNK_FRAMING, match[0])
    return b"".join(part if number % 2 else b"*" * len(part) for number, part in enumerate(parts))
