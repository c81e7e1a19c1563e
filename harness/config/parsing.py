"""Parses durations, shares and load shapes in settings."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
)

from harness.booleans import NumbersAreNotBooleans, is_number, is_whole_number
from harness.formatting import shortened

_SECRET_PARAMETER = re.compile(
    "(?:key|token|secret|password|signature|sig|auth|credential|code)s?$", re.IGNORECASE
)
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h)?")


LONGEST_S = 7 * 86_400.0
"""The longest duration. Results grow with every second of a test, and times beyond this are mistakes."""


_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


_SHOWN = 40  # characters of a wrong value that a message repeats


_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def parse_duration_s(value: Any) -> Any:
    """Seconds from a number or from ``"90"``, ``"90s"``, ``"5m"`` or ``"1h"``.

    Raises ValueError for other texts, and above LONGEST_S. Values of other types are returned unchanged.
    """
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            raise ValueError(f"{value!r} is not a duration; write seconds, or a number with ms, s, m or h")
        return _not_too_long_s(float(match[1]) * _UNIT_S[match[2]], value.strip())
    if is_number(value) and value > LONGEST_S:
        number = Decimal(value) if is_whole_number(value) else value  # which may be too large for a float
        return _not_too_long_s(value, f"{number:.10g} s")
    return value


def _not_too_long_s(seconds: float, text: str) -> float:
    if not seconds <= LONGEST_S:
        days = round(LONGEST_S / 86_400)
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
        raise ValueError(f"{shown} is longer than {days} days, the longest time that can be set")
    return seconds


def parse_variable(text: str) -> tuple[str, Any]:
    """``NAME=TEXT`` or ``NAME:=JSON`` as name and value. Raises ValueError."""
    name, mark, value = text.partition("=")
    is_json = name.endswith(":")
    name = name.removesuffix(":").strip()
    if not mark or not _VARIABLE.fullmatch(name):
        raise ValueError(f"{text[:_SHOWN]!r} is not a variable; write NAME=VALUE, or NAME:=JSON")
    if not is_json:
        return name, value
    try:
        return name, json.loads(value)
    except ValueError as problem:
        raise ValueError(f"the value of {name} is not JSON: {problem}") from None


def parse_ramp(text: str) -> tuple[float, float, float]:
    """``FROM:TO:OVER`` as two rates per second and a time in seconds. Raises ValueError."""
    *rates, over = _parts(text, "ramp", "FROM:TO:OVER", "1:100:60s")
    from_rate, to_rate = _rates(text, *rates)
    return from_rate, to_rate, _length_s(text, over)


def parse_steps(text: str) -> list[tuple[float, float]]:
    """``RATE:FOR,RATE:FOR…`` as pairs of a rate per second and seconds. Raises ValueError."""
    plan = [_parts(step, "list of steps", "RATE:FOR,RATE:FOR…", "10:30s,20:30s") for step in text.split(",")]
    rates = _rates(text, *(rate for rate, _ in plan))
    return list(zip(rates, (_length_s(text, for_s) for _, for_s in plan), strict=True))


def parse_spike(text: str) -> tuple[float, float, float, float]:
    """``BASE:PEAK:AT:FOR`` as two rates per second, the start and the length in seconds. Raises ValueError."""
    *rates, at, for_s = _parts(text, "spike", "BASE:PEAK:AT:FOR", "10:100:20s:5s")
    base, peak = _rates(text, *rates)
    return base, peak, float(parse_duration_s(at)), _length_s(text, for_s)


def _parts(text: str, what: str, form: str, example: str) -> list[str]:
    parts = text.strip().split(":")
    if len(parts) != len(form.partition(",")[0].split(":")):
        raise ValueError(f"{text!r} is not a {what}; write {form}, for example {example}")
    return parts


def _rates(text: str, *parts: str) -> list[float]:
    for part in parts:
        if not _NUMBER.fullmatch(part.strip()):
            raise ValueError(f"{part!r} in {text!r} is not a rate; write arrivals per second")
    rates = [float(part) for part in parts]
    if not all(map(math.isfinite, rates)):
        raise ValueError("a rate has too many digits; write arrivals per second")
    if not any(rates):
        raise ValueError(f"there are no arrivals with {text!r}; one of its rates must be above 0")
    return rates


def _length_s(text: str, part: str) -> float:
    length_s = float(parse_duration_s(part))
    if length_s <= 0:
        raise ValueError(f"{part!r} in {text!r} has no length; write a duration above 0")
    return length_s


Seconds = Annotated[float, BeforeValidator(parse_duration_s), Field(gt=0, allow_inf_nan=False)]


SecondsFromZero = Annotated[float, BeforeValidator(parse_duration_s), Field(ge=0, allow_inf_nan=False)]


class StrictModel(NumbersAreNotBooleans):
    model_config = ConfigDict(extra="forbid", frozen=True)


def parse_share(value: Any) -> Any:
    """A share from a number or from ``"5%"``. Raises ValueError for other texts."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*(%?)", value.strip())
    if match is None:
        raise ValueError(f"{value!r} is not a share; write for example 5%")
    return float(match[1]) / (100 if match[2] else 1)


def did_you_mean(key: str, known: Mapping[str, Any]) -> str:
    near = get_close_matches(key, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"


def masked_address(address: str) -> str:
    """A wrong address in quotes, without what may be secret in it: user name, password, values of the query."""
    return repr(shortened(shown_address(address), 200))


def secret_parameters(address: str) -> dict[str, str]:
    """The values in the query of an address or path that are secret by their name, such as that of ``?api_key=``."""
    query = address.partition("?")[2].partition("#")[0]
    pairs = (parameter.partition("=") for parameter in query.split("&"))
    return {name: value for name, _, value in pairs if value and _SECRET_PARAMETER.search(name)}


def shown_address(address: str) -> str:
    """An address without what may be secret in it."""
    return re.sub(r"=[^&#]*", "=…", re.sub(r"//[^/]*@", "//…@", address))


def base_url(value: str) -> str:
    """Raises ValueError unless the value is scheme, host and port."""
    if "@" in value:
        raise ValueError("a URL with a user name is not supported; set the token separately")
    if not re.fullmatch(r"https?://[^/?#\s]+/*", value):
        raise ValueError(
            f"{masked_address(value)} is not of the form http[s]://host[:port]; set the path separately"
        )
    return value
