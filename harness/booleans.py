"""Refuses true and false where a file's format expects a number: Python takes them for 1 and 0."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel, JsonValue, ValidationInfo, field_validator


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_whole_number(value: Any) -> TypeGuard[int]:
    """Whether a value is an integer; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


class NumbersAreNotBooleans(BaseModel):
    """A model whose numbers, also those in its lists and tables, cannot be true or false."""

    @field_validator("*", mode="before")
    @classmethod
    def _are_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        refuse_booleans(value, cls.model_fields[str(info.field_name)].annotation)
        return value


def refuse_booleans(value: Any, annotation: Any, where: str = "") -> None:
    """Raises ValueError if `value` has a boolean where its type has only numbers. where: the key, for the message."""
    kinds = list(_alternatives(annotation))
    if isinstance(value, bool):
        if not {int, float}.isdisjoint(kinds) and {bool, Any, JsonValue}.isdisjoint(kinds):
            raise ValueError(f"{str(value).lower()}{where} is not a number; write one")
    elif isinstance(value, Mapping):
        items = [get_args(kind)[1] for kind in kinds if get_origin(kind) in (dict, Mapping)]
        for key, item in value.items() if items else ():
            refuse_booleans(item, Union[tuple(items)], f" for {key!s:.60}")  # noqa: UP007 - of a sequence
    elif isinstance(value, list | tuple):
        items = [one for kind in kinds if get_origin(kind) in (list, tuple) for one in get_args(kind)]
        items = [item for item in items if item is not Ellipsis]
        for item in value if items else ():
            refuse_booleans(item, Union[tuple(items)], where)  # noqa: UP007 - of a sequence


def _alternatives(annotation: Any) -> Iterator[Any]:
    """The types that a value may have, without None and what annotates them."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for one in get_args(annotation):
            yield from _alternatives(one)
    elif annotation is not NoneType:
        yield annotation
