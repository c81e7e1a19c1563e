"""Parses objectives such as "ttft_p95_ms < 800" and conditions that abort a load, such as "error_rate > 20% for 10s".

They come from a settings file, the command line or a form. An error message is a sentence, with the position marked
in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from harness.gate.abort_condition import DEFAULT_WINDOW_S, LEAST_WINDOW_S, MOST_WINDOW_S, AbortCondition
from harness.gate.objective import AT_LEAST, GOODPUT, KEYS, SESSION_SUCCESS, SHARES, Objective

EXPRESSIONS = "expressions"
"""Key in the settings' objectives with a list of expressions."""

_NAME = re.compile(r"\s*(?:(?P<journey>[\w-]+(?:\.[\w-]+)?)\s*\.\s*)?(?P<key>[A-Za-z_]\w*)\s*")
_SIGN = re.compile(r"(?P<sign>[<>=≤≥!]+)\s*")
_LIMIT = re.compile(r"(?P<number>[^\s%a-zA-Z]*(?:e[-+]?[0-9]+)?)\s*(?P<unit>%|[a-zA-Z]\w*)?\s*")
_NUMBER = re.compile(r"([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[-+]?[0-9]+)?")
_BELOW, _ABOVE = ("<", "<=", "≤"), (">", ">=", "≥")
_MS = {"": 1.0, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
_SHARE = {"": 1.0, "%": 0.01}
_EXAMPLES = {
    "error_rate": "error_rate < 1%",
    GOODPUT: "goodput >= 99%",
    SESSION_SUCCESS: "session_success >= 99%",
    "violations": "violations == 0",
}


_OBJECTIVE, _CONDITION = "objective", "condition"
_FOR = re.compile(r"(?P<expression>.*?\S)\s+for\b\s*(?P<window>.*)", re.DOTALL)
_WINDOW = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>ms|s|m)")


class ExpressionError(ValueError):
    """An invalid expression. The message is a sentence, then the expression with the position marked below."""

    def __init__(self, text: str, start: int, end: int, problem: str, what: str = _OBJECTIVE) -> None:
        shown = "".join(character if character.isprintable() else "?" for character in text)
        marked = " " * start + "^" * max(1, end - start)
        super().__init__(f"{what} {shown.strip()!r} {problem}\n    {shown}\n    {marked}")


def parse_expression(text: str) -> Objective:
    """Parse "ttft_p95_ms < 800", "fresh.error_rate <= 1%", "goodput >= 99%" or "violations == 0".

    A journey and a dot before the key limit it to the streams of that journey, or of a step: workflow.step2. A latency
    is in ms or has a unit (0.8s). A share is from 0 to 1 or in percent. `<` means `<=` and `>` means `>=`, which makes
    no difference for a measured quantity; violations are counted, so `< 1` is 0. `==` is allowed only with the best
    possible value: 0, or 100% for a share with a lower limit.

    Raises ExpressionError with a suggestion.
    """
    objective, _ = _parse(text, _OBJECTIVE)
    return objective


def parse_abort_condition(text: str) -> AbortCondition:
    """Parse "error_rate > 20% for 10s", "ttft_p95_ms > 5s", "goodput < 50% for 1m" or "violations > 100 for 30s".

    As in parse_expression, but the comparison is the one that aborts the load. The time after `for` is
    DEFAULT_WINDOW_S if it is left out. Raises ExpressionError with a suggestion.
    """
    parts = _FOR.fullmatch(text)
    window_s = DEFAULT_WINDOW_S if parts is None else _window_s(text, parts)
    objective, sign = _parse(text if parts is None else parts["expression"], _CONDITION)
    return AbortCondition(objective, sign.rstrip() in (">=", "≥", "<=", "≤"), window_s)


def _window_s(text: str, parts: re.Match[str]) -> float:
    window = _WINDOW.fullmatch(parts["window"].rstrip())
    window_s = float(window["number"]) * _MS[window["unit"]] / 1000 if window is not None else 0.0
    if not LEAST_WINDOW_S <= window_s <= MOST_WINDOW_S:
        problem = f"needs a time from 1s to {MOST_WINDOW_S / 60:g}m after for; write for example for 10s"
        raise ExpressionError(text, parts.start("window"), len(text.rstrip()), problem, _CONDITION)
    return window_s


def _parse(text: str, what: str) -> tuple[Objective, str]:
    """The metric, limit and journey of an expression, and its sign. Raises ExpressionError."""
    name = _NAME.match(text)
    if name is None or (name["key"] not in KEYS and not _SIGN.match(text, name.end())):
        raise ExpressionError(text, *_position_without_name(text, name), _not_an_expression(text, what), what)
    key = name["key"]
    if key not in KEYS:
        closest = next(
            (known for known in KEYS if f"{key.lower()}_p95_ms" in known),  # lag, ttft, hub_delay
            get_close_matches(key.lower(), KEYS, n=1, cutoff=0)[0],
        )
        problem = f"has the unknown name {key!r}; did you mean {closest!r}?"
        raise ExpressionError(text, name.start("key"), name.end("key"), problem, what)
    sign = _SIGN.match(text, name.end())
    if sign is None:
        raise ExpressionError(text, name.end(), len(text), _not_an_expression(text, what), what)
    limit = _LIMIT.fullmatch(text, sign.end())
    if limit is None:
        raise ExpressionError(text, sign.end(), len(text), _not_an_expression(text, what), what)
    journey = f"{name['journey']}." if name["journey"] else ""
    reader = _Condition if what == _CONDITION else _Limit
    value = reader(text, key, sign, limit).value()
    return Objective.parse(f"{journey}{key}", value), sign["sign"]


def _position_without_name(text: str, name: re.Match[str] | None) -> tuple[int, int]:
    start = len(text) - len(text.lstrip())
    return (start, len(text.rstrip())) if name is None else (name.end(), len(text.rstrip()))


def _not_an_expression(text: str, what: str) -> str:
    if what == _CONDITION:
        return "is not a comparison with one limit; write for example error_rate > 20% for 10s"
    if re.fullmatch(r"\s*[0-9.]+\s*(%|\w*)\s*[<>=≤≥]+\s*[\w.]+\s*", text):
        return "starts with the limit; write the name first, for example ttft_p95_ms < 800"
    name = re.match(r"\s*(?:[\w-]+\s*\.)?\s*([A-Za-z_][\w ]*)", text)
    if name is None:
        return "does not start with a name; write for example ttft_p95_ms < 800"
    key = get_close_matches("_".join(name[1].lower().split()), KEYS, n=1, cutoff=0)[0]
    return f"is not a comparison with one limit; write for example {_EXAMPLES.get(key, f'{key} < 800')}"


class _Limit:
    """Sign, number and unit after a key, and the checks on them."""

    what = _OBJECTIVE

    def __init__(self, text: str, key: str, sign: re.Match[str], limit: re.Match[str]) -> None:
        self._text = text
        self._key = key
        self._sign = sign
        self._limit = limit
        self._number, self._unit = limit["number"], limit["unit"] or ""

    def value(self) -> float:
        """The limit in the unit of the objective. Raises ExpressionError."""
        key, sign = self._key, self._sign["sign"]
        self._check_sign()
        units = _SHARE if key in SHARES else {"": 1.0} if key == "violations" else _MS
        if not _NUMBER.fullmatch(self._number):
            problem = f"{self._number!r} is not a number >= 0" if self._number else f"nothing follows {sign}"
            raise self._error("number", f"has no limit: {problem}; write for example 800 or 0.5")
        if self._unit not in units:
            allowed = ", ".join(filter(None, units))
            hint = f"use {allowed}" if allowed else "it is a count"
            raise self._error("unit", f"has the wrong unit: {key} is not in {self._unit!r}; {hint}")
        value = float(self._number)
        if key == "violations" and not value.is_integer():
            raise self._error("number", "has a fraction: violations are counted; write a whole number")
        self._check_reachable(value)
        if key == "violations" and sign == "<":
            return value - 1
        return self._in_range(float(f"{value * units[self._unit]:.12g}"))  # 0.1% is exactly 0.001

    def _check_reachable(self, value: float) -> None:
        if self._sign["sign"] == "<" and value == 0:
            raise self._error("number", f"can never be met: nothing is below 0; write {self._key} <= 0")

    def _check_sign(self) -> None:
        sign = self._sign["sign"]
        allowed, kind = (_ABOVE, "a lower limit") if self._key in AT_LEAST else (_BELOW, "an upper limit")
        best = "100%" if self._key in AT_LEAST else "0"
        if sign in allowed or (sign == "==" and self._is_best()):
            return
        suggestion = f"{self._key} {allowed[1]} {self._number}{self._unit}"
        hint = f" (== is allowed only in {self._key} == {best})" if sign == "==" else ""
        raise self._wrong_sign(f"{self._key} has {kind}; write {suggestion}{hint}")

    def _wrong_sign(self, problem: str) -> ExpressionError:
        start, end = self._sign.span("sign")
        return ExpressionError(self._text, start, end, f"has the wrong sign: {problem}", self.what)

    def _is_best(self) -> bool:
        """Whether the limit is the best value of all, so that == means the same as the comparison."""
        if not _NUMBER.fullmatch(self._number):
            return False
        value = float(self._number)
        if self._key in AT_LEAST:
            return (value, self._unit) in ((1.0, ""), (100.0, "%"))
        return value == 0

    def _in_range(self, value: float) -> float:
        if self._key in SHARES and value > 1:
            hint = "" if self._unit else f"; write {self._number}%"
            over = f"{self._number}{self._unit}"
            raise self._error(
                "number", f"is out of range: {self._key} is a share and {over} is over 100%{hint}"
            )
        if value == float("inf"):
            raise self._error("number", "has no limit: the number is too large")
        return value

    def _error(self, part: str, problem: str) -> ExpressionError:
        start, end = self._limit.span(part)
        if start < 0 or start == end:
            start, end = self._limit.start(), self._limit.end()
        return ExpressionError(self._text, start, end, problem, self.what)


class _Condition(_Limit):
    """The same of a condition, whose comparison is the opposite of an objective's."""

    what = _CONDITION

    def _check_sign(self) -> None:
        allowed = _BELOW if self._key in AT_LEAST else _ABOVE
        if self._sign["sign"] not in allowed:
            direction = "below" if self._key in AT_LEAST else "above"
            suggestion = f"{self._key} {allowed[0]} {self._number}{self._unit}"
            raise self._wrong_sign(
                f"a load is aborted if {self._key} is {direction} the limit; write {suggestion}"
            )

    def _check_reachable(self, value: float) -> None:
        sign = self._sign["sign"]
        if self._key in AT_LEAST and sign == "<" and value == 0:
            raise self._error("number", "can never be met: nothing is below 0")
        if self._key not in AT_LEAST and sign in (">=", "≥") and value == 0:
            raise self._error("number", f"is always met; write {self._key} > 0")
        if self._key == "error_rate" and sign == ">" and (value, self._unit) in ((1.0, ""), (100.0, "%")):
            raise self._error("number", "can never be met: nothing is above 100%; write error_rate >= 100%")


def limits_of(table: Mapping[str, Any]) -> dict[str, float]:
    """Limits by name from the objectives table of a settings file.

    Keys are names ("ttft_p95_ms", "fresh.error_rate"), values are numbers or texts with a unit ("1%", "0.8s"); a nested
    table belongs to a journey; EXPRESSIONS is a list of expressions. Raises ValueError for anything else, and for an
    objective that is set twice.
    """
    limits: dict[str, float] = {}
    for objective in _objectives(table):
        if objective.name in limits:
            raise ValueError(f"objective {objective.name} is set twice; remove one of them")
        limits[objective.name] = objective.limit
    return limits


def _objectives(table: Mapping[str, Any]) -> Iterator[Objective]:
    for name, value in table.items():
        if name == EXPRESSIONS:
            texts = [value] if isinstance(value, str) else value
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise ValueError(f'{EXPRESSIONS} must be a list of texts, for example ["ttft_p95_ms < 800"]')
            yield from map(parse_expression, texts)
        elif isinstance(value, Mapping):
            yield from _objectives({f"{name}.{key}": limit for key, limit in value.items()})
        elif isinstance(value, str) and not _NUMBER.fullmatch(value.strip()):
            sign = ">=" if name.rpartition(".")[2] in AT_LEAST else "<="
            yield parse_expression(f"{name} {sign} {value}")
        else:
            yield Objective.parse(name, float(value) if isinstance(value, str) else value)
