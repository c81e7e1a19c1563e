"""Recognizes the profile of an API by a request that works, or by a recorded answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.profiles import library
from harness.profiles.profile import Profile
from harness.profiles.stream_reader import read_stream
from harness.protocol.sse import Frame

_PLACEHOLDER = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class RecognizedRequest:
    """A request in the words of a profile.

    variables: values of what the profile needs. prompt: what the run is to answer. further: members of the
    body that the profile's own request does not have.
    """

    profile: Profile
    variables: Mapping[str, Any]
    prompt: str | None
    further: Mapping[str, Any]


def recognize_request(
    path: str, body: Mapping[str, Any], *, is_form: bool = False
) -> RecognizedRequest | None:
    """The request as one of a profile that can be used by name; None if it is of none.

    Its path ends as the profile's does, and its body has the members that the API requires. is_form: whether these are
    the fields of a form.
    """
    for name in library.names():
        profile = library.load(name)
        template = profile.run.form if is_form else profile.run.json_body
        required = profile.rejects.required or (tuple(template) if isinstance(template, dict) else ())
        if not isinstance(template, dict) or not required or not all(member in body for member in required):
            continue
        found = _path_values(profile.run.path, path.partition("?")[0])
        if found is None:
            continue
        values = {**found, **dict(_values(template, body))}
        prompt = values.get("prompt")
        return RecognizedRequest(
            profile,
            {needed: values[needed] for needed in profile.needs if needed in values},
            prompt if isinstance(prompt, str) and prompt else None,
            {member: value for member, value in body.items() if member not in template},
        )
    return None


def _path_values(template: str, path: str) -> dict[str, str] | None:
    """The values of the placeholders in the end of a path; None if it does not end so. A root fits the root only."""
    pattern = "".join(
        f"(?P<{piece[2:-1]}>[^/]+)" if piece.startswith("${") else re.escape(piece)
        for piece in re.split(r"(\$\{\w+\})", template.partition("?")[0])
    )
    prefix = "" if template == "/" else "(?:/.*)?"
    match = re.fullmatch(prefix + pattern, path)
    return None if match is None else match.groupdict()


def _values(template: Any, value: Any) -> Iterator[tuple[str, Any]]:
    """The values at the places of placeholders that are a whole text. Of a list the last member counts."""
    if isinstance(template, str):
        if match := _PLACEHOLDER.fullmatch(template):
            yield match[1], value
    elif isinstance(template, dict) and isinstance(value, Mapping):
        for name, member in template.items():
            if name in value:
                yield from _values(member, value[name])
    elif isinstance(template, list) and isinstance(value, list) and template and value:
        yield from _values(template[-1], value[-1])


def recognize_answer(frames: Iterable[Frame], *, is_complete: bool = True) -> list[str]:
    """The names of the profiles that a recorded stream fits: with text, an outcome, and nothing that does not fit."""
    frames = list(frames)
    fitting = []
    for name in library.names():
        stream = read_stream(library.load(name), frames, is_complete=is_complete)
        if stream.text and stream.outcomes and not stream.problems:
            fitting.append(name)
    return fitting
