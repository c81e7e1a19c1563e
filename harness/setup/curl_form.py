"""The fields of a form that a curl command sends: those of -F, and those of -d that are not JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal
from urllib.parse import parse_qsl

from harness.errors import SettingsError

FormAs = Literal["multipart", "urlencoded"]
PARTS = frozenset(("-F", "--form", "--form-string"))
"""The options of a multipart form."""
ENCODED = "--data-urlencode"
"""The option of a field that curl encodes."""
_URLENCODED = re.compile(r"[^@={}\[\]\"\s][^={}\[\]\"\s]*=")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"(?:;.*)?', re.DOTALL)
_PART_TYPE = re.compile(r";\s*(?:type|filename|headers|encoder)=.*", re.DOTALL)


def is_urlencoded(text: str) -> bool:
    """Whether the text of -d is fields of a form. JSON never starts with a name and an equals sign."""
    return _URLENCODED.match(text) is not None


def field_of(option: str, text: str) -> tuple[str, str]:
    """A field of -F, --form-string or --data-urlencode: its name and value. Raises SettingsError for a file."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise SettingsError(
            f"{option} {text!r} of the curl command is not a field; write {option} name=value"
        )
    if option in {"--form-string", ENCODED}:
        return name, value
    if value.startswith(("@", "<")):
        raise SettingsError(
            f"the field {name} of the curl command is in the file {value[1:]}, which init does not read: it reads no "
            "file that a command names; write the value into the command"
        )
    if quoted := _QUOTED.fullmatch(value):
        return name, re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL)
    return name, _PART_TYPE.sub("", value)


def fields_of(text: str) -> list[tuple[str, str]]:
    """The fields of -d that are not JSON, decoded."""
    return parse_qsl(text, keep_blank_values=True)


def form(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The fields by name. Raises SettingsError for a name that comes twice."""
    found: dict[str, str] = {}
    for name, value in fields:
        if name in found:
            raise SettingsError(f"the form of the curl command has the field {name} twice; remove one")
        found[name] = value
    return found
