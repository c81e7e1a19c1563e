"""JSON as RFC 8259 has it, for judging: Python's reader alone would accept what other clients refuse."""

from __future__ import annotations

import json
from typing import Any


def loads_strict(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises ValueError for what is not JSON, for NaN and Infinity, and for an object with a key twice, which
    clients read differently (RFC 8259, section 4); RecursionError for what is nested too deeply.
    """
    if isinstance(text, str) and not text.startswith("\ufeff"):
        return _DECODER.decode(text)  # json.loads would make a decoder each time
    return json.loads(text, **_STRICTLY)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _refuse_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        shown = twin if len(twin) <= 80 else f"{twin[:80]}…"
        raise ValueError(f"the key {shown!r} comes twice")
    return value


_STRICTLY: dict[str, Any] = {"parse_constant": _refuse_constant, "object_pairs_hook": _refuse_twins}
_DECODER = json.JSONDecoder(**_STRICTLY)
