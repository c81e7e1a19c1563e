"""The evidence of a check as a JSON value and back, so that a rule can be applied again to stored Exchanges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from harness.contract.exchange import Exchange
from harness.contract.rules.cuts import CutRun


def pack(evidence: Any, refer: Callable[[Exchange], str]) -> Any:
    """`evidence` as a JSON value, with each Exchange replaced by its id from `refer`.

    Raises TypeError for a value of a type that no rule takes.
    """
    if isinstance(evidence, Exchange):
        return {"exchange": refer(evidence)}
    if isinstance(evidence, CutRun):
        return {"cut": pack((evidence.before, evidence.resumed, evidence.canonical), refer)}
    if isinstance(evidence, tuple):
        return {"tuple": [pack(item, refer) for item in evidence]}
    if isinstance(evidence, list):
        return {"list": [pack(item, refer) for item in evidence]}
    if isinstance(evidence, Mapping):
        return {"map": [[name, pack(value, refer)] for name, value in evidence.items()]}
    if evidence is None or isinstance(evidence, str | int | float):
        return {"value": evidence}
    raise TypeError(f"not a type of evidence: {type(evidence).__name__}")


def unpack(packed: Mapping[str, Any], find: Callable[[str], Exchange]) -> Any:
    """The inverse of `pack`; `find` returns the Exchange with an id. Raises ValueError for an unknown kind."""
    ((kind, value),) = packed.items()
    match kind:
        case "exchange":
            return find(value)
        case "cut":
            return CutRun(*unpack(value, find))
        case "tuple":
            return tuple(unpack(item, find) for item in value)
        case "list":
            return [unpack(item, find) for item in value]
        case "map":
            return {name: unpack(member, find) for name, member in value}
        case "value":
            return value
    raise ValueError(f"unknown kind of evidence: {kind!r}")
