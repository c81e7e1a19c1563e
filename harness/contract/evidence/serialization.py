"""A judge's evidence as a JSON value and back, so that a judgement can be made again from stored Exchanges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from harness.contract.exchange import Exchange
from harness.contract.rules.resume import CutRun


def pack(evidence: Any, refer: Callable[[Exchange], str]) -> Any:
    """`evidence` as a JSON value, with each Exchange as the id that `refer` gives it.

    Raises TypeError for a value of a kind that no judge takes.
    """
    if isinstance(evidence, Exchange):
        return {"exchange": refer(evidence)}
    if isinstance(evidence, CutRun):
        return {"cut": pack((evidence.before, evidence.resumed, evidence.canonical), refer)}
    if isinstance(evidence, tuple):
        return {"tuple": [pack(one, refer) for one in evidence]}
    if isinstance(evidence, list):
        return {"list": [pack(one, refer) for one in evidence]}
    if isinstance(evidence, Mapping):
        return {"map": [[name, pack(one, refer)] for name, one in evidence.items()]}
    if evidence is None or isinstance(evidence, str | int | float):
        return {"value": evidence}
    raise TypeError(f"{type(evidence).__name__} is no evidence")


def unpack(packed: Mapping[str, Any], find: Callable[[str], Exchange]) -> Any:
    """The evidence that `pack` made `packed` of; `find` gives the Exchange of an id. Raises ValueError."""
    ((kind, value),) = packed.items()
    match kind:
        case "exchange":
            return find(value)
        case "cut":
            return CutRun(*unpack(value, find))
        case "tuple":
            return tuple(unpack(one, find) for one in value)
        case "list":
            return [unpack(one, find) for one in value]
        case "map":
            return {name: unpack(one, find) for name, one in value}
        case "value":
            return value
    raise ValueError(f"{kind!r} is no kind of evidence")
