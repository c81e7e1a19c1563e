"""Builds a profile's requests from its templates and the values of their placeholders."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from urllib3.filepost import encode_multipart_formdata

from harness.profiles.profile import Request
from harness.profiles.templates import PLACEHOLDER, fill, new_uuid, placeholders
from harness.protocol.request import HttpRequest

_SENT_CHARS = 8192  # servers refuse longer request lines and header fields
_SENDABLE = re.compile(r"[\x20-\x7e\xa0-\ud7ff\ue000-\U0010ffff]*")
_JSON = json.JSONEncoder(ensure_ascii=False)  # json.dumps makes a new one each time
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\U0010ffff]*")


def build(
    part: Request,
    path: str,
    values: Mapping[str, Any],
    headers: tuple[tuple[str, str], ...] = (),
    json_members: Mapping[str, Any] | None = None,
    new_id: Callable[[], str] = new_uuid,
) -> HttpRequest:
    """The request of one part of a profile. Every `${uuid}` is a new one, which `new_id` makes.

    headers: fields of every request, which the part's own replace. json_members: merged into a JSON object that is the
    body. Raises KeyError with the name of a placeholder that has no value, and ValueError for a header field that
    cannot be sent.
    """
    content_type, body = None, b""
    if part.form is not None:
        members = {name: _text(value) for name, value in fill(part.form, values, new_id).items()}
        if part.form_as == "multipart":
            body, content_type = encode_multipart_formdata(members)
        else:
            content_type, body = "application/x-www-form-urlencoded", urlencode(members).encode()
    elif part.json_body is not None:
        document = fill(part.json_body, values, new_id)
        if json_members and isinstance(document, dict):
            document = {**document, **json_members}
        content_type, body = "application/json", _JSON.encode(document).encode()
    target = _path(path, values, new_id)
    fields: dict[str, tuple[str, str]] = {}  # by name in lower case
    if content_type is not None:
        fields["content-type"] = "Content-Type", content_type
    for name, value in (*headers, *fill(part.headers, values, new_id).items()):
        fields.pop(name.lower(), None)  # the later one also takes its place
        fields[name.lower()] = name, _header_value(name, value)
    return HttpRequest(part.method, target, tuple(fields.values()), body, values=dict(values))


def can_be_sent(value: Any) -> bool:
    """Whether any request can have a value that a server sent: short, without control and half characters."""
    try:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        return False
    return len(text) <= _SENT_CHARS and _SENDABLE.fullmatch(text) is not None


def without_placeholder(part: Request, name: str) -> Request:
    """The request without the header fields, parameters and members of its body whose text has ${name}."""

    def lacks(template: Any) -> bool:
        return name not in placeholders(template)

    path, _, query = part.path.partition("?")
    kept = "&".join(parameter for parameter in query.split("&") if lacks(parameter))
    body = part.json_body
    if isinstance(body, dict):
        body = {member: value for member, value in body.items() if lacks(value)}
    form = part.form and {field: value for field, value in part.form.items() if lacks(value)}
    headers = {field: value for field, value in part.headers.items() if lacks(value)}
    return part.model_copy(
        update={
            "path": f"{path}?{kept}" if kept else path,
            "json_body": body,
            "form": form,
            "headers": headers,
        }
    )


def _path(template: str, values: Mapping[str, Any], new_id: Callable[[], str]) -> str:
    """The path and query, with their values as URLs write them."""
    if "${" not in template:
        return template
    return PLACEHOLDER.sub(lambda match: quote(_text(fill(match[0], values, new_id)), safe=""), template)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _header_value(name: str, value: Any) -> str:
    text = _text(value)
    if not text.isprintable() and not _FIELD_VALUE.fullmatch(text):
        raise ValueError(f"the header field {name} would have a value with a line break or control character")
    return text
