"""JSON values compared as values: two texts are the same value however each is written.

Objects are equal whatever the order of their keys; of a repeated key the last value counts, as in every common parser.
Numbers are equal by value (``1``, ``1.0``, ``1e0``, ``10e-1``) without loss for numbers of any size, strings by code
points. White space and escapes make no difference.
"""

from __future__ import annotations

import json
import re
from typing import Any

_NUMBER = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?", re.ASCII)
#: The only key of the object that stands for a number in a canonical text; no server's object has it.
_NUMBER_KEY = "number-5f0c7a52-6d0b-4a86-9d9e-2a4a8b1f4f0e"


def _number(text: str) -> dict[str, str]:
    """A number in canonical form: its digits without outer zeros, and the exponent of the last one."""
    match = _NUMBER.fullmatch(text)
    if match is None:  # NaN or Infinity
        return {_NUMBER_KEY: text}
    sign, whole, fraction, exponent = match.groups("")
    digits = (whole + fraction).lstrip("0")
    significant = digits.rstrip("0")
    if not significant:
        return {_NUMBER_KEY: "0"}
    try:
        place = int(exponent or "0") - len(fraction) + len(digits) - len(significant)
    except ValueError:  # an exponent of thousands of digits
        return {_NUMBER_KEY: text}
    return {_NUMBER_KEY: f"{sign}{significant}e{place}"}


_DECODER = json.JSONDecoder(parse_int=_number, parse_float=_number, parse_constant=_number)


def tagged_value(text: str) -> Any:
    """The JSON value of `text`, with each number replaced by a token that is equal for equal numbers.

    Raises ValueError for invalid JSON, RecursionError for nesting that Python cannot represent.
    """
    return _DECODER.decode(text)


def canonical_text(value: Any) -> str:
    """One text for all equal values that `tagged_value` returned. Raises RecursionError like it."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
