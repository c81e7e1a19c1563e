"""The types of what a profile puts into a request: it may be from an unknown source, and nothing checks it later."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from harness.formatting import shortened
from harness.profiles.event_rules import MOST_NAMES
from harness.protocol.request import FIELD_NAME

_OWN_FIELDS = frozenset({"content-length", "host", "transfer-encoding"})
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\U0010ffff]*")
_PATH = re.compile(r"/[!-~]*")


def _is_path(path: str) -> str:
    if not _PATH.fullmatch(path):
        raise ValueError(
            f"{_shown(path)} is not a path: a path begins with / and has no blanks, control characters or "
            "letters beyond ASCII (write them as %20 and so on)"
        )
    return path


def _is_field_name(name: str) -> str:
    if not FIELD_NAME.fullmatch(name):
        raise ValueError(f"{_shown(name)} is not the name of a header field")
    if name.lower() in _OWN_FIELDS:
        raise ValueError(f"the harness itself sets the header field {name}")
    return name


def _are_header_fields(fields: dict[str, str]) -> dict[str, str]:
    for name, value in fields.items():
        _is_field_name(name)
        if not _FIELD_VALUE.fullmatch(value):
            raise ValueError(f"the value of {name} contains a line break or another control character")
    return fields


def _is_json(value: Any) -> Any:
    """The nesting is limited where the file is read."""
    if isinstance(value, dict | list):
        for member in value.values() if isinstance(value, dict) else value:
            _is_json(member)
    elif value is not None and not isinstance(value, str | int | float):
        raise ValueError(f"{value} is not a JSON value: write it as a text")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a JSON value")
    return value


def _shown(text: str) -> str:
    return repr(shortened(text))


RequestPath = Annotated[str, AfterValidator(_is_path)]
FieldName = Annotated[str, AfterValidator(_is_field_name)]
HeaderFields = Annotated[dict[str, str], AfterValidator(_are_header_fields), Field(max_length=MOST_NAMES)]
JsonBody = Annotated[Any, AfterValidator(_is_json)]
