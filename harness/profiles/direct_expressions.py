"""Functions for the JMESPath expressions that most rules of a profile have: paths, alternatives, texts to compare.

The library walks an expression's tree again for each event, which takes several times as long. What has any other part
is left to the library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Find = Callable[[Any], Any]


def direct(node: Mapping[str, Any]) -> Find | None:
    """What finds the value of a parsed expression, exactly as the library does; None if it has other parts."""
    kind = node["type"]
    if kind == "field":
        return _field(node["value"])
    if kind == "index":
        return _index(node["value"])
    if kind in {"identity", "current"}:
        return lambda value: value
    if kind == "literal":
        return lambda _: node["value"]
    if kind == "comparator":
        left, other = direct(node["children"][0]), node["children"][1]
        is_text = other["type"] == "literal" and isinstance(other["value"], str)
        compared = _COMPARED.get(node["value"]) if is_text else None
        return None if left is None or compared is None else compared(left, other["value"])
    combined = _COMBINED.get(kind)
    parts = [direct(child) for child in node["children"]] if combined is not None else []
    known = [part for part in parts if part is not None]
    return combined(*known) if combined is not None and len(known) == len(parts) else None


def is_false(value: Any) -> bool:
    """Whether a value is false by the rules of JMESPath: false, null or empty."""
    return value is None or value is False or value in ("", [], {})


def _field(name: str) -> Find:
    return lambda value: value.get(name) if isinstance(value, Mapping) else None


def _index(place: int) -> Find:
    def find(value: Any) -> Any:
        if not isinstance(value, list) or not -len(value) <= place < len(value):
            return None
        return value[place]

    return find


def _chain(*steps: Find) -> Find:
    def find(value: Any) -> Any:
        for step in steps:
            value = step(value)
        return value

    return find


def _either(first: Find, second: Find) -> Find:
    def find(value: Any) -> Any:
        found = first(value)
        return second(value) if is_false(found) else found

    return find


def _both(first: Find, second: Find) -> Find:
    def find(value: Any) -> Any:
        found = first(value)
        return found if is_false(found) else second(value)

    return find


def _equals(part: Find, text: str) -> Find:
    return lambda value: part(value) == text


def _differs(part: Find, text: str) -> Find:
    return lambda value: part(value) != text


_COMPARED: Mapping[str, Callable[[Find, str], Find]] = {"eq": _equals, "ne": _differs}
_COMBINED: Mapping[str, Callable[..., Find]] = {
    "subexpression": _chain,
    "index_expression": _chain,
    "pipe": _chain,
    "or_expression": _either,
    "and_expression": _both,
}
