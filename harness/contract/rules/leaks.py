"""What a response says: whether a value of someone else's request is in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from harness.contract.exchange import Exchange

_SHORTEST_VALUE = 8  # characters: a shorter number is found by chance
_SHORTEST_TEXT = 5


def texts(response: Exchange) -> Iterator[str]:
    """The header values and the content of a response.

    Left out are the status line, and the ids of its events: these may look like the ids of other runs.
    """
    if response.head is not None:
        yield from (value for _, value in response.head.headers)
    if response.events:
        contents = [event.frame.data or "" for event in response.events]
    else:
        contents = [response.body.decode("utf-8", "replace")]
    for content in contents:
        yield content
        try:
            yield json.dumps(json.loads(content), ensure_ascii=False)  # escaped text, unescaped
        except (ValueError, RecursionError):
            continue


def contains(texts: Sequence[str], value: str, response: Exchange) -> bool:
    """Whether one of `texts` contains `value` as a whole.

    A short value may be there by chance, and what the request itself contains reveals nothing.
    """
    short = len(value) < (_SHORTEST_TEXT if re.search("[A-Za-z]", value) else _SHORTEST_VALUE)
    request = response.request
    if short or value in request.body.decode("utf-8", "replace"):
        return False
    if any(value in sent for _, sent in request.headers):
        return False
    whole = re.compile(rf"(?<![\w-]){re.escape(value)}(?![\w-])")
    return any(map(whole.search, texts))
