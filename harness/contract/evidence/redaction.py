"""Masks secrets in evidence, in every spelling in which a server may echo them."""

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
    """Masks secrets in texts and bytes: as they are, and as URLs, JSON and HTML spell them."""

    def __init__(self, secrets: Iterable[str]) -> None:
        spelt = {spelling for secret in secrets if secret for spelling in _spellings(secret)}
        self._spelt = sorted(spelt, key=len, reverse=True)
        cut = b"(?:%s)?" % _CHUNK_FRAMING
        alternatives = (
            cut.join(re.escape(bytes((byte,))) for byte in spelling.encode()) for spelling in self._spelt
        )
        self._torn = re.compile(b"|".join(alternatives)) if self._spelt else None

    def text(self, text: str) -> str:
        """`text` with every secret masked."""
        for secret in self._spelt:
            text = text.replace(secret, "*" * len(secret.encode()))
        return text

    def pieces(self, pieces: Sequence[bytes]) -> list[bytes]:
        """Consecutive `pieces` of one message, each as long as before.

        A secret is masked also where it was cut in two by a read's end or by the framing of a chunk.
        """
        if self._torn is None:
            return list(pieces)
        whole = self._torn.sub(_mask, b"".join(pieces))
        ends = list(accumulate(map(len, pieces), initial=0))
        return [whole[start:end] for start, end in pairwise(ends)]

    def bytes(self, data: bytes) -> bytes:
        """`data` with every secret masked, as long as before."""
        return self.pieces([data])[0]

    def value(self, value: Any) -> Any:
        """A JSON value with every secret in its texts masked."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(key): self.value(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(one) for one in value]
        return value


def _spellings(secret: str) -> set[str]:
    quoted = {quote(secret, safe=""), quote(secret), quote_plus(secret)}
    in_json = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    return {
        secret,
        *quoted,
        *(_PERCENT.sub(lambda escape: escape[0].lower(), one) for one in quoted),
        *in_json,
        *(one.replace("/", "\\/") for one in in_json),
        html.escape(secret),
    }


def _mask(found: re.Match[bytes]) -> bytes:
    parts = re.split(b"(%s)" % _CHUNK_FRAMING, found[0])
    return b"".join(part if place % 2 else b"*" * len(part) for place, part in enumerate(parts))
