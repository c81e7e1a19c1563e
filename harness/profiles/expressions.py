"""JMESPath expressions in a profile: where in an event, an answer or its header something stands.

A profile may be from an unknown source, and what its expressions are applied to is from a server. An expression is
limited in its length, its depth and its `_growth`, so that it takes about as long as reading the event did.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.parser import ParsedResult
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from harness.formatting import shortened
from harness.profiles.direct_expressions import direct, is_false

MAX_CHARACTERS = 1000
MAX_DEPTH = 30
MAX_GROWTH = 100
#: What evaluation raises where a function or comparison gets a value that it is not for. The library checks only some:
#: ceil() of infinity, a text compared with a number, contains() in a text, merge() with a list, a step of 0.
_DOES_NOT_FIT = (JMESPathError, ArithmeticError, AttributeError, RecursionError, TypeError, ValueError)


class Expression:
    """A compiled JMESPath expression (https://jmespath.org). Raises ValueError if the text is not one."""

    __slots__ = ("_compiled", "_search", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        shown = repr(shortened(text))
        if len(text) > MAX_CHARACTERS:
            raise ValueError(f"the expression {shown} has more than {MAX_CHARACTERS:,} characters")
        try:
            self._compiled = _parsed(text)
        except PendingDeprecationWarning:
            raise ValueError(f"{shown}: `…` is for values in JSON: write a text as '…'") from None
        except (JMESPathError, ValueError) as problem:  # ValueError: a number of 5,000 digits
            reason = str(problem).splitlines()[0].rstrip(".:")
            raise ValueError(f"{shown} is not a JMESPath expression: {reason}") from None
        except RecursionError:
            raise ValueError(_TOO_DEEP.format(shown)) from None
        if _is_deeper(self._compiled.parsed, MAX_DEPTH):
            raise ValueError(_TOO_DEEP.format(shown))
        if _growth(self._compiled.parsed) > MAX_GROWTH:
            raise ValueError(
                f"the expression {shown} may make values more than {MAX_GROWTH} times as large as an event: "
                "put lists and objects that it makes into each other less often"
            )
        if _negates_first_part(self._compiled.parsed):
            raise ValueError(f"{shown}: in JMESPath, ! applies to the name next to it only: write !(…)")

        self._search = direct(self._compiled.parsed) or self._compiled.search

    def find(self, document: Mapping[str, Any]) -> Any:
        """The value in `document`; None if there is none, or if a function gets a value of the wrong type."""
        try:
            return self._search(document)
        except (
            _DOES_NOT_FIT
        ):  # for example join() over something other than a list: that event does not have it
            return None

    def text_in(self, document: Mapping[str, Any]) -> str | None:
        """The value as text; None if there is none. Numbers and truth values are written as in JSON."""
        value = self.find(document)
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, bool):
            return "true" if value else "false"
        return str(value) if isinstance(value, int | float) else None

    def holds(self, document: Mapping[str, Any]) -> bool:
        """Whether the value is true by the rules of JMESPath: not false, null or empty."""
        return not is_false(self.find(document))

    @property
    def last_names(self) -> frozenset[str]:
        """The last name of each path in it: nothing else of a document decides its value.

        A member that is neither below one of these names nor has it can change without effect. Raises ValueError if
        it reads members of any name.
        """
        return frozenset(_last_names(self._compiled.parsed))

    @property
    def compared_names(self) -> frozenset[str]:
        """The last names of the paths whose value it compares, or gives to a function. Raises ValueError likewise."""
        return frozenset(
            name
            for node in _nodes(self._compiled.parsed)
            if node["type"] in {"comparator", "function_expression", "filter_projection"}
            and node.get("value") != _ONLY_NAMES
            for name in _last_names(node)
        )

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A field of a model: a text in TOML and in the JSON Schema."""
        return core_schema.json_or_python_schema(
            json_schema=core_schema.no_info_after_validator_function(cls, core_schema.str_schema()),
            python_schema=core_schema.no_info_plain_validator_function(_compiled),
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda expression: expression.text, return_schema=core_schema.str_schema()
            ),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


def _parsed(text: str) -> ParsedResult:
    """The expression. Raises PendingDeprecationWarning for a literal that is not JSON.

    The library would take it for a text, a form that JMESPath has given up (JEP-12): `True` would equal no value that
    an event has. In Python 3.13 a deep literal that stays open is such a text; before, it is a RecursionError.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "deprecated string literal", PendingDeprecationWarning)
        return jmespath.compile(text)


def _compiled(value: Any) -> Expression:
    if isinstance(value, Expression):
        return value
    if not isinstance(value, str):
        raise ValueError("a JMESPath expression is a text")  # noqa: TRY004 - pydantic reports only ValueError
    return Expression(value)


_TOO_DEEP = f"the expression {{}} is nested more than {MAX_DEPTH} levels deep"


def _is_deeper(node: Mapping[str, Any], levels: int) -> bool:
    level = [node]
    for _ in range(levels):
        level = [child for parent in level for child in parent["children"] if isinstance(child, Mapping)]
        if not level:
            return False
    return True


def _growth(node: Mapping[str, Any]) -> int:
    """How many times as large as the document the value of an expression may be, about, and the time that it takes.

    Steps that follow each other multiply: of ``[@, @] | [@, @]`` each doubles the value.
    """
    kind, value = node["type"], node.get("value")
    parts = [max(1, _growth(child)) for child in node["children"] if isinstance(child, Mapping)]
    if kind == "literal":
        return str(value).count(",") + 1 if isinstance(value, list | dict) else 1
    if kind == "function_expression" and value == "join" and parts:
        separator = node["children"][0].get("value")
        return prod(parts) * (len(separator) or 1 if isinstance(separator, str) else MAX_GROWTH + 1)
    if kind == "function_expression" and value == "to_string":
        return _ESCAPE_CHARACTERS * sum(parts)
    if kind in {"or_expression", "and_expression"}:
        return max(parts)
    if kind in {"multi_select_list", "multi_select_dict", "comparator"}:
        return sum(parts)
    if kind == "function_expression" and value != "map":
        return sum(parts)
    return prod(parts)


_ESCAPE_CHARACTERS = 6  # of a character in JSON, at most
_ONLY_NAMES = "keys"  # the function that reads the names of members, not their values
_STEPS = frozenset({"subexpression", "index_expression", "projection", "pipe"})


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node["children"]:
        if isinstance(child, Mapping):
            yield from _nodes(child)


def _last_names(node: Mapping[str, Any]) -> Iterator[str]:
    kind, children = node["type"], [child for child in node["children"] if isinstance(child, Mapping)]
    if kind == "field":
        yield node["value"]
    elif kind in {"value_projection", "expref"}:
        raise ValueError("it reads members of any name")
    elif kind == "function_expression" and node["value"] == _ONLY_NAMES:
        return
    elif kind in _STEPS and any(True for child in children[1:] for _ in _last_names(child)):
        yield from _last_names(children[-1])
    else:
        for child in children:
            yield from _last_names(child)


def _negates_first_part(node: Mapping[str, Any]) -> bool:
    """Whether it takes a member of a negation, as in ``!data.x``, which is never true."""
    children = [child for child in node["children"] if isinstance(child, Mapping)]
    if node["type"] in {"subexpression", "index_expression"} and children[0]["type"] == "not_expression":
        return True
    return any(_negates_first_part(child) for child in children)
