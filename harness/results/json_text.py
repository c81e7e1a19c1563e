"""JSON values as the text that a results file stores.

It is ASCII: text from a server may contain lone surrogates, which JSON can escape and UTF-8 cannot encode.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_FEW_VALUES = 32


def json_text(value: Any) -> str:
    """The text of a JSON value. Raises ValueError for NaN and infinite numbers."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def json_pieces(value: Any) -> Iterator[str]:
    """The same text in pieces, so that all of it is never in memory: one has at most a few of a list's values."""
    if isinstance(value, Mapping):
        yield "{"
        for number, (name, member) in enumerate(value.items()):
            yield f"{',' if number else ''}{json_text(name)}:"
            yield from json_pieces(member)
        yield "}"
    elif isinstance(value, list) and len(value) > _FEW_VALUES:
        for start in range(0, len(value), _FEW_VALUES):
            yield f"{',' if start else '['}{json_text(value[start : start + _FEW_VALUES])[1:-1]}"
        yield "]"
    else:
        yield json_text(value)
