"""JSON as RFC 8259 defines it, for the rules: what its grammar allows, and what common parsers read alike.

Python's parser accepts texts that other clients reject, and refuses others only because they exceed its limits:
numbers of more than 4,300 digits, nesting of about a thousand levels.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from itertools import islice
from typing import Any

#: Limits of parsers in wide use (serde_json, Jackson): what exceeds them is valid JSON that some clients cannot read.
PORTABLE_DEPTH = 128
PORTABLE_DIGITS = 1000
#: Containers below this level are left out of a value, so that code that walks it may use recursion.
KEPT_DEPTH = 200
_INT_DIGITS = 4000

_BLANK = re.compile(r"[ \t\n\r]*")
_SURROGATE = re.compile("[\ud800-\udfff]")


def loads(text: str) -> Any:
    """The value of a JSON text, however long its numbers are and however deep it is nested.

    Integers that Python cannot represent are Decimals. Levels below KEPT_DEPTH are checked, but left out. Raises
    ValueError for invalid JSON, which includes NaN and Infinity.
    """
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        return _loads_deep(text)
    too_deep = text.count("[") + text.count("{") > KEPT_DEPTH and _depth(value) > KEPT_DEPTH
    return _loads_deep(text) if too_deep else value


def loads_strict(text: str) -> Any:
    """The value of a JSON text that every common parser reads alike.

    Raises ValueError for invalid JSON, and what clients read differently or refuse: duplicate keys
    (RFC 8259, section 4), numbers of more than PORTABLE_DIGITS digits (6), lone surrogates (8.2), and nesting of more
    than PORTABLE_DEPTH levels (9).
    """
    try:
        value = _STRICT_DECODER.decode(text)
    except RecursionError:
        raise ValueError(f"nested more than {PORTABLE_DEPTH} levels deep") from None
    if text.count("[") + text.count("{") > PORTABLE_DEPTH and _depth(value) > PORTABLE_DEPTH:
        raise ValueError(f"nested more than {PORTABLE_DEPTH} levels deep")
    if ("\\ud" in text or "\\uD" in text) and has_lone_surrogate(json.dumps(value, ensure_ascii=False)):
        raise ValueError("a lone surrogate, which is half of a character")
    return value


def has_lone_surrogate(text: str) -> bool:
    """Whether a decoded text contains half of a surrogate pair."""
    return _SURROGATE.search(text) is not None


def without_lone_surrogates(text: str) -> str:
    """The text with U+FFFD for each of them."""
    return _SURROGATE.sub("\ufffd", text)


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level := [member for member in level if isinstance(member, dict | list)]:
        depth += 1
        level = [
            member
            for container in level
            for member in (container.values() if isinstance(container, dict) else container)
        ]
    return depth


def _integer(digits: str) -> int | Decimal:
    return int(digits) if len(digits) <= _INT_DIGITS else Decimal(digits)


def _portable_integer(digits: str) -> int:
    _refuse_long(digits)
    return int(digits)


def _portable_float(digits: str) -> float:
    _refuse_long(digits)
    return float(digits)


def _refuse_long(digits: str) -> None:
    if len(digits) > PORTABLE_DIGITS:
        raise ValueError(f"a number of more than {PORTABLE_DIGITS:,} digits")


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


_DECODER = json.JSONDecoder(parse_int=_integer, parse_constant=_refuse_constant)
_STRICT_DECODER = json.JSONDecoder(
    parse_int=_portable_integer,
    parse_float=_portable_float,
    parse_constant=_refuse_constant,
    object_pairs_hook=_refuse_duplicates,
)


def _loads_deep(text: str) -> Any:
    """Like `loads`, without recursion."""
    place = _after_blank(text, 0)
    root: list[Any] = []
    stack: list[tuple[Any, str | None]] = [(root, None)]  # the open containers, and the key of the next value
    while True:
        if len(stack) > KEPT_DEPTH:
            place = _past_opening(text, place, stack)
        opened: Any = {"[": [], "{": {}}.get(text[place : place + 1])
        if opened is None:
            value, place = _DECODER.raw_decode(text, place)
            _attach(stack, value)
        else:
            _attach(stack, opened if len(stack) <= KEPT_DEPTH else None)
            stack.append((opened, None))
            place = _after_blank(text, place + 1)
            if not _closes(text, place, opened):
                stack[-1], place = _key(text, place, opened)
                continue
        while len(stack) > 1:  # what may follow a value
            if len(stack) > KEPT_DEPTH + 1:
                place = _past_closing(text, place, stack)
            container = stack[-1][0]
            place = _after_blank(text, place)
            if _closes(text, place, container):
                stack.pop()
                place += 1
            elif text[place : place + 1] == ",":
                stack[-1], place = _key(text, _after_blank(text, place + 1), container)
                break
            else:
                raise json.JSONDecodeError("Expecting ',' delimiter", text, place)
        else:
            place = _after_blank(text, place)
            if place < len(text):
                raise json.JSONDecodeError("Extra data", text, place)
            return root[0]


# Thousands of levels are passed at once: one at a time would take half a second for each event of such a server.
_OPENING = re.compile(r'(?:(?:\[(?![ \t\n\r]*\])|\{[ \t\n\r]*"[^"\\\x00-\x1f]*"[ \t\n\r]*:)[ \t\n\r]*)++')
_CLOSING = re.compile(r"[ \t\n\r]*[\]}]")
_CLOSINGS = re.compile(rf"(?:{_CLOSING.pattern})++")
_KEY = re.compile(r'"[^"]*"')
_CLOSED_BY = {**dict.fromkeys(map(ord, " \t\n\r:")), ord("["): "]", ord("{"): "}"}
_WITHOUT_BLANK = dict.fromkeys(map(ord, " \t\n\r"))
_LEFT_OUT: dict[str, tuple[Any, str | None]] = {"]": ((), None), "}": ({}, "")}  # never written to


def _past_opening(text: str, place: int, stack: list[tuple[Any, str | None]]) -> int:
    """The place after all opening brackets that follow each other here; their containers are left out."""
    match = _OPENING.match(text, place)
    if match is None:
        return place
    _attach(stack, None)
    stack += [_LEFT_OUT[closing] for closing in _KEY.sub("", match[0]).translate(_CLOSED_BY)]
    return match.end()


def _past_closing(text: str, place: int, stack: list[tuple[Any, str | None]]) -> int:
    """The place after the closing brackets that follow each other here and close what was left out."""
    match = _CLOSINGS.match(text, place)
    if match is None:
        return place
    found = match[0].translate(_WITHOUT_BLANK)
    first = max(KEPT_DEPTH + 1, len(stack) - len(found))
    fitting = "".join("}" if isinstance(container, dict) else "]" for container, _ in reversed(stack[first:]))
    pairs = enumerate(zip(fitting, found, strict=False))
    count = next((place for place, (wanted, given) in pairs if wanted != given), len(fitting))
    if not count:
        return place
    del stack[-count:]
    return next(islice(_CLOSING.finditer(text, place), count - 1, None)).end()


def _after_blank(text: str, place: int) -> int:
    match = _BLANK.match(text, place)
    return match.end() if match else place


def _closes(text: str, place: int, container: Any) -> bool:
    return text[place : place + 1] == ("}" if isinstance(container, dict) else "]")


def _key(text: str, place: int, container: Any) -> tuple[tuple[Any, str | None], int]:
    """The container with the key of its next value, and where that value starts."""
    if not isinstance(container, dict):
        return (container, None), place
    if not text.startswith('"', place):
        raise json.JSONDecodeError("Expecting property name enclosed in double quotes", text, place)
    name, place = _DECODER.raw_decode(text, place)
    place = _after_blank(text, place)
    if not text.startswith(":", place):
        raise json.JSONDecodeError("Expecting ':' delimiter", text, place)
    return (container, name), _after_blank(text, place + 1)


def _attach(stack: list[tuple[Any, str | None]], value: Any) -> None:
    container, name = stack[-1]
    if len(stack) > KEPT_DEPTH + 1:  # it was left out
        return
    if isinstance(container, dict):
        container[name] = value
    else:
        container.append(value)
