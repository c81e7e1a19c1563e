"""Strict JSON (RFC 8259) for the rules: Python's parser accepts texts that other clients reject."""

from __future__ import annotations

import json
from typing import Any


def loads_strict(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises ValueError for invalid JSON, NaN and Infinity, and duplicate keys, which clients read differently
    (RFC 8259, section 4); RecursionError for too deep nesting.
    """
    if isinstance(text, str) and not text.startswith("\ufeff"):
        return _DECODER.decode(text)  # json.loads would create a decoder each time
    return json.loads(text, **_STRICT)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        duplicate = next(name for name in names if names.count(name) > 1)
        excerpt = duplicate if len(duplicate) <= 80 else f"{duplicate[:80]}…"
        raise ValueError(f"duplicate key {excerpt!r}")
    return value


_STRICT: dict[str, Any] = {"parse_constant": _refuse_constant, "object_pairs_hook": _refuse_duplicates}
_DECODER = json.JSONDecoder(**_STRICT)
