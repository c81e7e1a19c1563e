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
    path = _path_of(node)
    if path is not None:
        return _path(path)
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


def _path_of(node: Mapping[str, Any]) -> tuple[str | int, ...] | None:
    """The names and places of an expression that is a path of nothing else; None if it has other parts."""
    if node["type"] in {"field", "index"}:
        return (node["value"],)
    if node["type"] not in {"subexpression", "index_expression"}:
        return None
    parts = [_path_of(child) for child in node["children"]]
    known = [part for part in parts if part is not None]
    return tuple(step for part in known for step in part) if len(known) == len(parts) else None


def _path(steps: tuple[str | int, ...]) -> Find:
    """What follows a path. The exact type `dict` is compared first: a check for Mapping takes several times as long."""

    def find(value: Any) -> Any:
        for step in steps:
            if type(step) is str:
                if type(value) is not dict and not isinstance(value, Mapping):
                    return None
                value = value.get(step)
            elif isinstance(value, list) and -len(value) <= step < len(value):  # type: ignore[operator]
                value = value[step]  # type: ignore[index]
            else:
                return None
            if value is None:
                return None
        return value

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
