"""Builds the same request again and again: under load only its new ids differ from one to the next."""

from __future__ import annotations

import re
from collections.abc import Callable
from uuid import uuid4

from harness.profiles.templates import new_uuid
from harness.protocol.request import HttpRequest


class RepeatedRequest:
    """A request of which each copy has a new id in each place where the first one has one.

    build: makes it, with an idempotency key and a function that returns new ids. It is called once, with ids that occur
    nowhere else, so they show where the ids are.
    """

    __slots__ = ("_body", "_changing", "_first", "_headers", "_ids", "_key", "_target")

    def __init__(self, build: Callable[[str, Callable[[], str]], HttpRequest]) -> None:
        self._key = str(uuid4())
        self._ids: list[str] = []
        self._first = build(self._key, self._next_mark)
        pattern = "(" + "|".join((self._key, *self._ids)) + ")"
        split = re.compile(pattern).split
        self._target = split(self._first.target)
        self._headers = tuple((split(name), split(value)) for name, value in self._first.headers)
        self._changing = [
            place for place, (name, value) in enumerate(self._headers) if len(name) > 1 or len(value) > 1
        ]
        self._body = re.compile(pattern.encode()).split(self._first.body)

    def _next_mark(self) -> str:
        self._ids.append(str(uuid4()))
        return self._ids[-1]

    def copy(self, key: str) -> HttpRequest:
        """Another one, with this idempotency key if it has any."""
        new = {mark: new_uuid() for mark in self._ids}
        new_bytes = {mark.encode(): own_id.encode() for mark, own_id in new.items()}
        new[self._key] = key
        first = self._first

        def text(parts: list[str]) -> str:
            return parts[0] if len(parts) == 1 else "".join([new.get(part, part) for part in parts])

        headers = list(first.headers)
        for place in self._changing:
            name, value = self._headers[place]
            headers[place] = text(name), text(value)
        body = b"".join([new_bytes.get(part, part) for part in self._body])
        return HttpRequest(first.method, text(self._target), tuple(headers), body, first.values)
