"""Guesses the profile of an unknown API from a request that works and one recorded answer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from harness.profiles.event_position import position_of
from harness.protocol.sse import Frame
from harness.protocol.strict_json import loads

_PROMPT_NAMES = ("prompt", "input", "message", "query", "question", "content", "text")
_TYPE_NAMES = ("type", "event", "kind", "object")
_RUN_ID_NAMES = ("run_id", "runId", "id", "task_id", "taskId", "request_id", "session_id")
_ERROR_TYPE = re.compile(r"error|fail", re.IGNORECASE)
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Seen:
    """One event: its type, and its data if they are a JSON object. literal: its data if they are not JSON."""

    kind: str
    data: Mapping[str, Any] | None
    literal: str | None


def guess_profile(
    path: str,
    body: Mapping[str, Any],
    frames: Sequence[Frame],
    form_as: Literal["multipart", "urlencoded"] | None = None,
) -> dict[str, Any]:
    """The tables of a profile, as in TOML. It is a draft: whatever the answer does not show is missing.

    form_as: how the body is written, if it is the fields of a form.

    Raises ValueError if the answer has no event with text that grows into an answer.
    """
    events = [frame for frame in frames if frame.dispatches]
    run = {"path": path, "json" if form_as is None else "form": _with_placeholder(body)}
    if form_as == "multipart":
        run["form_as"] = form_as
    tables = {
        "name": "mine",
        "run": run,
        "events": _events(events),
    }
    ids = [frame.id for frame in events]
    if ids and None not in ids and len(set(ids)) == len(ids):
        tables["ids"] = {"at": "id", "order": _order([str(one) for one in ids])}
    return tables


def _order(ids: Sequence[str]) -> str:
    for order in ("ms-seq", "counter"):
        positions = [position_of(one, order) for one in ids]
        known = [position for position in positions if position is not None]
        if len(known) == len(ids) and all(earlier < later for earlier, later in pairwise(known)):
            return order
    return "opaque"


def _with_placeholder(body: Mapping[str, Any]) -> Any:
    """The body with `${prompt}` in place of the prompt: the last text of a usual name, else the longest one."""
    texts = [(path, text) for path, text in _leaves(body) if isinstance(text, str) and text]
    named = [one for one in texts if one[0][-1] in _PROMPT_NAMES]
    chosen = named[-1] if named else max(texts, key=lambda one: len(one[1]), default=None)
    return body if chosen is None else _replaced(body, chosen[0], "${prompt}")


def _replaced(value: Any, path: _Path, new: Any) -> Any:
    if not path:
        return new
    if isinstance(value, list):
        place = int(path[0])
        return [_replaced(one, path[1:], new) if at == place else one for at, one in enumerate(value)]
    return {name: _replaced(one, path[1:], new) if name == path[0] else one for name, one in value.items()}


def _leaves(value: Any, path: _Path = ()) -> Iterator[tuple[_Path, Any]]:
    if isinstance(value, Mapping):
        for name, member in value.items():
            yield from _leaves(member, (*path, name))
    elif isinstance(value, list):
        for place, member in enumerate(value):
            yield from _leaves(member, (*path, str(place)))
    else:
        yield path, value


def _expression(path: _Path) -> str:
    """A path as JMESPath, below `data`."""
    text = "data"
    for step in path:
        text += f"[{step}]" if step.isdigit() else f".{step}" if _IDENTIFIER.fullmatch(step) else f'."{step}"'
    return text


def _events(frames: Sequence[Frame]) -> dict[str, Any]:
    type_at, events = _typed(frames)
    token_type, text_path = _token(events)
    types = list(dict.fromkeys(event.kind for event in events if event.data is not None))
    token: dict[str, Any] = {"is": token_type} if token_type else {"where": _expression(text_path)}
    table: dict[str, Any] = {"type": type_at, "token": {**token, "text": _expression(text_path)}}
    if (run_id := _constant_id(events)) is not None:
        table["run_id"] = _expression(run_id)
    last = next((event for event in reversed(events) if event.data is not None), None)
    done = last.kind if last is not None and last.kind not in {"", token_type} else None
    if done is not None:
        table["done"] = {"is": done}
    errors = [kind for kind in types if _ERROR_TYPE.search(kind) and kind != done]
    if errors:
        table["error"] = {"is": errors}
    others = [kind for kind in types if kind and kind not in {token_type, done, *errors}]
    if others:
        table["other"] = others
    literal = events[-1].literal if events else None
    if literal is not None or done is None:
        table["end"] = literal or "close"
    return table


def _typed(frames: Sequence[Frame]) -> tuple[str, list[_Seen]]:
    """Where the type of the events is, and the events."""
    parsed: list[tuple[Frame, Any]] = []
    for frame in frames:
        try:
            parsed.append((frame, loads(frame.data or "")))
        except ValueError:
            parsed.append((frame, None))
    objects = [data for _, data in parsed if isinstance(data, dict)]
    named = [
        name for name in _TYPE_NAMES if objects and all(isinstance(one.get(name), str) for one in objects)
    ]
    has_names = any(frame.event for frame, _ in parsed)
    type_at = "event" if has_names or not named else f"data.{named[0]}"
    events = []
    for frame, data in parsed:
        kind = frame.event if type_at == "event" else str(data[named[0]]) if isinstance(data, dict) else ""
        is_object = isinstance(data, dict)
        events.append(_Seen(kind or "", data if is_object else None, None if is_object else frame.data))
    return type_at, events


def _token(events: Sequence[_Seen]) -> tuple[str, _Path]:
    """The type of the tokens, and where their text is: of all texts the one with the most different values."""
    values: dict[tuple[str, _Path], Counter[str]] = {}
    for event in events:
        for path, value in _leaves(event.data or {}):
            if isinstance(value, str) and value and path[-1] not in {*_RUN_ID_NAMES, *_TYPE_NAMES}:
                values.setdefault((event.kind, path), Counter())[value] += 1
    found = max(values, key=lambda place: (len(values[place]), sum(values[place].values())), default=None)
    if found is None or sum(values[found].values()) < 2:
        raise ValueError(
            "no type of event occurs more than once with a text: record the answer to a longer prompt"
        )
    return found


def _constant_id(events: Sequence[_Seen]) -> _Path | None:
    """A text with the name of an id that is the same in all events that have it, and in more than one."""
    for name in _RUN_ID_NAMES:
        found = [event.data[name] for event in events if event.data is not None and name in event.data]
        if len(found) > 1 and isinstance(found[0], str) and len(set(map(str, found))) == 1:
            return (name,)
    return None
