"""Builds a profile's requests from its templates and the values of their placeholders."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from urllib3.filepost import encode_multipart_formdata

from harness.profiles.profile import Request, Resume
from harness.profiles.templates import fill, placeholders
from harness.protocol.request import HttpRequest

LAST_ID = "last_id"
_PATH_PLACEHOLDER = re.compile(r"(\$\{[^}]*\})")
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\U0010ffff]*")
_UNNAMED = object()


def build(
    part: Request | Resume,
    path: str,
    values: Mapping[str, Any],
    headers: tuple[tuple[str, str], ...] = (),
    json_members: Mapping[str, Any] | None = None,
) -> HttpRequest:
    """The request of one part of a profile. Every `${uuid}` is a new one.

    headers: fields of every request, which the part's own replace. json_members: merged into a JSON object that is the
    body. What holds `${last_id}` is left out if there is no such value. Raises KeyError with the name of another
    placeholder that has no value, and ValueError for a header field that cannot be sent.
    """
    values = {LAST_ID: _UNNAMED, **values}
    form = None if part.form is None else _filled(part.form, values)
    content_type, body = None, b""
    if form is not None and part.form_as == "multipart":
        body, content_type = encode_multipart_formdata({name: _text(value) for name, value in form.items()})
    elif form is not None:
        content_type = "application/x-www-form-urlencoded"
        body = urlencode({name: _text(value) for name, value in form.items()}).encode()
    elif part.json_body is not None:
        document = _filled(part.json_body, values)
        if json_members and isinstance(document, dict):
            document = {**document, **json_members}
        content_type, body = "application/json", json.dumps(document, ensure_ascii=False).encode()
    request = HttpRequest(part.method, _path(path, values), (), body, values=dict(_named(values)))
    if content_type is not None:
        request = request.with_header("Content-Type", content_type)
    for name, value in (*headers, *_filled(part.headers, values).items()):
        request = request.with_header(name, _header_value(name, value))
    return request


def _named(values: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in values.items() if value is not _UNNAMED}


def _filled(template: Any, values: Mapping[str, Any]) -> Any:
    """The template filled, without the members whose text holds a value that there is not."""
    if isinstance(template, Mapping):
        return {
            name: _filled(member, values)
            for name, member in template.items()
            if not (isinstance(member, str) and _is_unnamed(member, values))
        }
    if isinstance(template, list | tuple):
        return [_filled(member, values) for member in template]
    return fill(template, values)


def _is_unnamed(template: str, values: Mapping[str, Any]) -> bool:
    return any(values.get(name) is _UNNAMED for name in placeholders(template))


def _path(template: str, values: Mapping[str, Any]) -> str:
    """The path with its values as URLs write them, without the query parameters that have none."""
    path, mark, query = template.partition("?")
    kept = [pair for pair in query.split("&") if not _is_unnamed(pair, values)]
    whole = f"{path}{mark if any(kept) else ''}{'&'.join(kept)}"
    return "".join(
        quote(_text(fill(piece, values)), safe="") if piece.startswith("${") else piece
        for piece in _PATH_PLACEHOLDER.split(whole)
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _header_value(name: str, value: Any) -> str:
    text = _text(value)
    if not _FIELD_VALUE.fullmatch(text):
        raise ValueError(f"the header field {name} would have a value with a line break or control character")
    return text
