"""Which ids a request names, wherever the profile puts them: of the event to resume after, and of the run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from harness.profiles.profile import Profile, Resume
from harness.profiles.templates import value_in
from harness.protocol.request import HttpRequest
from harness.protocol.strict_json import loads

_NAME = "last_id"
_LAST_ID = f"${{{_NAME}}}"


def named_id(profile: Profile, request: HttpRequest) -> str | None:
    """The id after which the stream is to start; None if the request names none, or the one before the first event."""
    resume = profile.resume
    if resume is None:
        return None
    named = _named_id(resume, request)
    return None if named == resume.beginning else named


def _named_id(resume: Resume, request: HttpRequest) -> str | None:
    for name, template in resume.headers.items():
        if _LAST_ID in template:
            sent = request.header(name.lower())
            return None if sent is None else value_in(sent, template, _NAME)
    if resume.path is not None and _LAST_ID in resume.path:
        found = value_in(request.target, resume.path, _NAME)
        return None if found is None else unquote(found)
    for name, template in (resume.form or {}).items():
        if _LAST_ID in template:
            return next(
                (value_in(value, template, _NAME) for at, value in _form(request) if at == name), None
            )
    if resume.json_body is not None and resume.path is not None:
        return _in_json(resume.json_body, request)
    return None


def requested_run_id(profile: Profile, request: HttpRequest) -> str | None:
    """The run's id that the client chose; None if it chose none."""
    name = profile.events.client_run_id
    try:
        body = request.json() if name is not None else None
    except ValueError:
        return None
    value = body.get(name) if isinstance(body, dict) else None
    return value if isinstance(value, str) else None


def _form(request: HttpRequest) -> Iterator[tuple[str, str]]:
    """The fields of a form, urlencoded or multipart."""
    body = request.body.decode("utf-8", "replace")
    boundary = re.search(r'boundary="?([^";]+)', request.header("content-type") or "")
    if boundary is None:
        yield from parse_qsl(body, keep_blank_values=True)
        return
    for part in body.split(f"--{boundary[1]}"):
        head, _, value = part.partition("\r\n\r\n")
        if name := re.search(r'name="([^"]*)"', head):
            yield name[1], value.removesuffix("\r\n")


def _in_json(template: Any, request: HttpRequest) -> str | None:
    try:
        body = loads(request.body.decode("utf-8"))
    except ValueError:
        return None
    for path, text in _texts(template):
        if _LAST_ID not in text:
            continue
        value = body
        for step in path:
            value = value.get(step) if isinstance(value, Mapping) else None
        return value if isinstance(value, str) else None if value is None else str(value)
    return None


def _texts(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for name, member in value.items():
            yield from _texts(member, (*path, name))
