"""Objectives as people write them: "ttft_p95_ms < 800", in a settings file or on the command line.

What is wrong with one is said in a sentence, and pointed at in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from harness.gate.objective import GOODPUT, KEYS, SHARES, Objective

EXPRESSIONS = "expressions"
"""The key of the settings' objectives under which a list of expressions stands."""

_NAME = re.compile(r"\s*(?:(?P<journey>[\w-]+)\s*\.\s*)?(?P<key>[A-Za-z_]\w*)\s*")
_SIGN = re.compile(r"(?P<sign>[<>=≤≥!]+)\s*")
_LIMIT = re.compile(r"(?P<number>[^\s%a-zA-Z]*(?:e[-+]?[0-9]+)?)\s*(?P<unit>%|[a-zA-Z]\w*)?\s*")
_NUMBER = re.compile(r"([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[-+]?[0-9]+)?")
_AT_MOST, _AT_LEAST = ("<", "<=", "≤"), (">", ">=", "≥")
_MS = {"": 1.0, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
_SHARE = {"": 1.0, "%": 0.01}
_EXAMPLES = {"error_rate": "error_rate < 1%", GOODPUT: "goodput >= 99%", "violations": "violations == 0"}


class ExpressionError(ValueError):
    """An expression that says no objective: a sentence, and the expression with the place marked under it."""

    def __init__(self, text: str, start: int, end: int, said: str) -> None:
        shown = "".join(one if one.isprintable() else "?" for one in text)
        marked = " " * start + "^" * max(1, end - start)
        super().__init__(f"objective {shown.strip()!r} {said}\n    {shown}\n    {marked}")


def parse_expression(text: str) -> Objective:
    """The objective that "ttft_p95_ms < 800", "fresh.error_rate <= 1%", "goodput >= 99%" or "violations == 0" says.

    With a journey and a point before it, it is of that journey's streams alone. A latency is in ms, or has a
    unit: 0.8s. A share is from 0 to 1, or in percent. `<` is taken for `<=` and `>` for `>=`: of a measured
    quantity nobody can tell them apart. Violations are counted, so there `< 1` is 0. `==` is for the best that
    can be: 0, or 100% of goodput.

    Raises ExpressionError, a sentence that says what to write, with the place pointed at.
    """
    name = _NAME.match(text)
    if name is None or (name["key"] not in KEYS and not _SIGN.match(text, name.end())):
        raise ExpressionError(text, *_where_no_name(text, name), _not_an_expression(text))
    key = name["key"]
    if key not in KEYS:
        near = get_close_matches(key.lower(), KEYS, n=1, cutoff=0)[0]
        raise ExpressionError(
            text, name.start("key"), name.end("key"), f"names the unknown {key!r}; did you mean {near!r}?"
        )
    sign = _SIGN.match(text, name.end())
    if sign is None:
        raise ExpressionError(text, name.end(), len(text), _not_an_expression(text))
    limit = _LIMIT.fullmatch(text, sign.end())
    if limit is None:
        raise ExpressionError(text, sign.end(), len(text), _not_an_expression(text))
    journey = f"{name['journey']}." if name["journey"] else ""
    value = _Limit(text, key, sign, limit).value()
    return Objective.parse(f"{journey}{key}", value)


def _where_no_name(text: str, name: re.Match[str] | None) -> tuple[int, int]:
    begun = len(text) - len(text.lstrip())
    return (begun, len(text.rstrip())) if name is None else (name.end(), len(text.rstrip()))


def _not_an_expression(text: str) -> str:
    if re.fullmatch(r"\s*[0-9.]+\s*(%|\w*)\s*[<>=≤≥]+\s*[\w.]+\s*", text):
        return "begins with its limit; write the name first, for example ttft_p95_ms < 800"
    name = re.match(r"\s*(?:[\w-]+\s*\.)?\s*([A-Za-z_][\w ]*)", text)
    if name is None:
        return "begins with no name; write for example ttft_p95_ms < 800"
    key = get_close_matches("_".join(name[1].lower().split()), KEYS, n=1, cutoff=0)[0]
    return f"is no comparison with one limit; write for example {_EXAMPLES.get(key, f'{key} < 800')}"


class _Limit:
    """What stands behind a key: sign, number and unit, and what may be wrong with them."""

    def __init__(self, text: str, key: str, sign: re.Match[str], limit: re.Match[str]) -> None:
        self._text = text
        self._key = key
        self._sign = sign
        self._limit = limit
        self._number, self._unit = limit["number"], limit["unit"] or ""

    def value(self) -> float:
        """The limit in the objective's own unit. Raises ExpressionError."""
        key, sign = self._key, self._sign["sign"]
        self._check_sign()
        units = _SHARE if key in SHARES else {"": 1.0} if key == "violations" else _MS
        if not _NUMBER.fullmatch(self._number):
            said = f"{self._number!r} is no number from 0 up" if self._number else f"nothing follows {sign}"
            raise self._wrong("number", f"has no limit: {said}; write digits, with a point for decimals")
        if self._unit not in units:
            known = ", ".join(filter(None, units))
            said = f"write {known}" if known else "it is a count"
            raise self._wrong("unit", f"has the wrong unit: {key} is not in {self._unit!r}; {said}")
        value = float(self._number)
        if key == "violations" and not value.is_integer():
            raise self._wrong("number", "is off: violations are counted; write a whole number")
        if sign == "<" and value == 0:
            raise self._wrong("number", f"can never hold: nothing is below 0; write {key} <= 0")
        if key == "violations" and sign == "<":
            return value - 1
        return self._in_range(float(f"{value * units[self._unit]:.12g}"))  # 0.1% is 0.001 exactly

    def _check_sign(self) -> None:
        sign = self._sign["sign"]
        allowed, kind = (_AT_LEAST, "a lower limit") if self._key == GOODPUT else (_AT_MOST, "an upper limit")
        best = "100%" if self._key == GOODPUT else "0"
        ends = {f"{self._number}{self._unit}", self._number} & {"0", "0%", "0.0"}
        is_best = self._number in ("1", "100") if self._key == GOODPUT else bool(ends)
        if sign in allowed or (sign == "==" and is_best):
            return
        written = f"{self._key} {allowed[1]} {self._number}{self._unit}"
        other = f" (== is for {self._key} == {best})" if sign == "==" else ""
        raise ExpressionError(
            self._text,
            self._sign.start("sign"),
            self._sign.end("sign"),
            f"has the wrong sign: {self._key} has {kind}; write {written}{other}",
        )

    def _in_range(self, value: float) -> float:
        if self._key in SHARES and value > 1:
            hint = "" if self._unit else f"; write {self._number}%"
            over = f"{self._number}{self._unit}"
            raise self._wrong(
                "number", f"is out of range: {self._key} is a share, so {over} is over 100%{hint}"
            )
        if value == float("inf"):
            raise self._wrong("number", "has no limit: that is more than any number")
        return value

    def _wrong(self, part: str, said: str) -> ExpressionError:
        start, end = self._limit.span(part)
        if start < 0 or start == end:
            start, end = self._limit.start(), self._limit.end()
        return ExpressionError(self._text, start, end, said)


def limits_of(table: Mapping[str, Any]) -> dict[str, float]:
    """Names and limits from a settings file's table of objectives.

    Its keys are names ("ttft_p95_ms", "fresh.error_rate"), a number or a text with a unit ("1%", "0.8s") behind
    each; a table within it is one journey's; and under EXPRESSIONS there may be a list of expressions. Raises
    ValueError for what is none of it, and for an objective that is set twice.
    """
    limits: dict[str, float] = {}
    for objective in _written(table):
        if objective.name in limits:
            raise ValueError(f"objective {objective.name} is set twice; leave one of them out")
        limits[objective.name] = objective.limit
    return limits


def _written(table: Mapping[str, Any]) -> Iterator[Objective]:
    for name, value in table.items():
        if name == EXPRESSIONS:
            texts = [value] if isinstance(value, str) else value
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise ValueError(f'{EXPRESSIONS} is a list of texts, for example ["ttft_p95_ms < 800"]')
            yield from map(parse_expression, texts)
        elif isinstance(value, Mapping):
            yield from _written({f"{name}.{key}": limit for key, limit in value.items()})
        elif isinstance(value, str) and not _NUMBER.fullmatch(value.strip()):
            sign = ">=" if name.rpartition(".")[2] == GOODPUT else "<="
            yield parse_expression(f"{name} {sign} {value}")
        else:
            yield Objective.parse(name, float(value) if isinstance(value, str) else value)
