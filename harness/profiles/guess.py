"""Guesses the profile of an unknown API from a request that works and one recorded answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from harness.booleans import is_whole_number
from harness.profiles.event_position import position_of
from harness.protocol.sse import Frame
from harness.protocol.strict_json import loads

_PROMPT_WORDS = frozenset(
    ("prompt", "input", "message", "messages", "query", "question", "content", "text", "q")
)
_NO_PROMPT_WORDS = frozenset(
    (
        "type",
        "id",
        "kind",
        "role",
        "name",
        "format",
        "mode",
        "schema",
        "language",
        "model",
        "system",
        "metadata",
    )
)
_TYPE_NAMES = ("type", "event", "kind", "object")
_RUN_ID_NAMES = ("run_id", "runId", "id", "task_id", "taskId", "request_id", "session_id")
_RUN_PARTS = ("run", "response", "task")
_ERROR_TYPE = re.compile(r"error|fail", re.IGNORECASE)
_REASONING = re.compile(r"reason|think|thought", re.IGNORECASE)
_END_WORDS = frozenset(
    (
        "done",
        "finished",
        "finish",
        "final",
        "complete",
        "completed",
        "end",
        "ended",
        "last",
        "stop",
        "status",
        "state",
    )
)
_STATE_WORDS = frozenset(("status", "state"))  # whose last value may also say that the run failed
_OUTPUT_TOKENS = (
    "output_tokens",
    "completion_tokens",
    "outputTokens",
    "completionTokens",
    "candidatesTokenCount",
)
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_SHOWN = 40

_Path = tuple[str | int, ...]


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

    Raises ValueError if the answer has no events that each bring a piece of the text.
    """
    events = [frame for frame in frames if frame.dispatches]
    run = {"path": path, "json" if form_as is None else "form": without_null(_with_placeholder(body))}
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
    """The body with `${prompt}` in place of the prompt: the last text of a usual name, else the longest one.

    A longest one below a usual name comes first, and no metadata are the prompt.
    """
    texts = [(path, text) for path, text in _leaves(body) if isinstance(text, str) and text]
    named = [one for one in texts if _words(one[0][-1]) & _PROMPT_WORDS and not _is_other(one[0])]
    within = [
        one for one in texts if any(_words(part) & _PROMPT_WORDS for part in one[0]) and not _is_other(one[0])
    ]
    others = [one for one in texts if not _is_other(one[0])] or texts
    chosen = named[-1] if named else max(within or others, key=lambda one: len(one[1]), default=None)
    return body if chosen is None else _replaced(body, chosen[0], "${prompt}")


def _is_other(path: _Path) -> bool:
    """Whether a text is something else than the prompt, by its own name, or because it belongs to metadata."""
    return bool(_words(path[-1]) & _NO_PROMPT_WORDS) or "metadata" in path


def _words(step: str | int) -> frozenset[str]:
    """The words of a name such as user_message or userMessage, in lower case; none of a place in a list."""
    return frozenset(word.lower() for word in _WORD.findall(step)) if isinstance(step, str) else frozenset()


def null_members(value: Any) -> list[str]:
    """Where a body has null, as paths: TOML has no such value."""
    return [".".join(map(str, path)) for path, leaf in _leaves(value) if leaf is None]


def without_null(value: Any) -> Any:
    """The value without what is null in it."""
    if isinstance(value, Mapping):
        return {name: without_null(member) for name, member in value.items() if member is not None}
    if isinstance(value, list):
        return [without_null(member) for member in value if member is not None]
    return value


def _replaced(value: Any, path: _Path, new: Any) -> Any:
    if not path:
        return new
    if isinstance(value, list):
        return [_replaced(one, path[1:], new) if at == path[0] else one for at, one in enumerate(value)]
    return {name: _replaced(one, path[1:], new) if name == path[0] else one for name, one in value.items()}


def _leaves(value: Any, path: _Path = ()) -> Iterator[tuple[_Path, Any]]:
    if isinstance(value, Mapping):
        for name, member in value.items():
            yield from _leaves(member, (*path, name))
    elif isinstance(value, list):
        for place, member in enumerate(value):
            yield from _leaves(member, (*path, place))
    else:
        yield path, value


def _expression(path: _Path) -> str:
    """A path as JMESPath, below `data`."""
    text = "data"
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if _IDENTIFIER.fullmatch(step) else f".{json.dumps(step)}"
    return text


def _events(frames: Sequence[Frame]) -> dict[str, Any]:
    type_at, events = _typed(frames)
    token_type, text_path = _token(events)
    token: dict[str, Any] = {"is": token_type} if token_type else {"where": _expression(text_path)}
    table: dict[str, Any] = {"type": type_at, "token": {**token, "text": _expression(text_path)}}
    if (run_id := _run_id(events)) is not None:
        table["run_id"] = _expression(run_id)
    types = list(dict.fromkeys(event.kind for event in events if event.data is not None))
    last = next((event.kind for event in reversed(events) if event.data is not None), "")
    done = last if last not in {"", token_type} else None
    table |= _other_texts(events, types, done, (token_type, text_path))
    if done is None and (where := _end_mark(events)) is not None:
        table["done"] = {"where": where}
    errors = [kind for kind in types if _ERROR_TYPE.search(kind) and kind != done]
    if errors:
        table["error"] = {"is": errors}
    usage = [path for event in events for path, value in _leaves(event.data or {}) if _is_usage(path, value)]
    if usage:
        table["usage"] = {"where": _expression(usage[0]), "output_tokens": _expression(usage[0])}
    known = {
        token_type,
        *(kind for rule in table.values() if isinstance(rule, dict) for kind in _kinds(rule)),
    }
    others = [kind for kind in types if kind and kind not in known]
    if others:
        table["other"] = others
    literal = events[-1].literal if events else None
    if literal is not None or "done" not in table:
        table["end"] = literal or "close"
    return table


def _kinds(rule: Mapping[str, Any]) -> Sequence[str]:
    kinds: str | list[str] = rule.get("is", [])
    return [kinds] if isinstance(kinds, str) else kinds


def _other_texts(
    events: Sequence[_Seen], types: Sequence[str], done: str | None, token: tuple[str, _Path]
) -> dict[str, Any]:
    """The rules for reasoning, for an event that repeats the whole text, and for the last event, of type `done`."""
    rules: dict[str, Any] = {}
    reasoning = [
        kind
        for kind in types
        if _REASONING.search(kind) and kind not in {token[0], done} and _has_pieces(events, kind)
    ]
    if reasoning:
        rules["reasoning"] = {"is": reasoning}
    whole = _whole_text(events, *token)
    if whole is not None and whole[0] not in {*reasoning, done}:
        rules["snapshot"] = {"is": whole[0], "text": _expression(whole[1])}
    if done is not None:
        text = {"text": _expression(whole[1])} if whole is not None and whole[0] == done else {}
        rules["done"] = {"is": done, **text}
    return rules


def _is_usage(path: _Path, value: Any) -> bool:
    return path[-1] in _OUTPUT_TOKENS and is_whole_number(value)


def _has_pieces(events: Sequence[_Seen], kind: str) -> bool:
    """Whether events of a type bring texts that differ."""
    texts: dict[_Path, set[str]] = {}
    for event in events:
        if event.kind == kind:
            for path, value in _leaves(event.data or {}):
                if isinstance(value, str) and value:
                    texts.setdefault(path, set()).add(value)
    return any(len(found) > 1 for found in texts.values())


def _whole_text(events: Sequence[_Seen], token_type: str, text_path: _Path) -> tuple[str, _Path] | None:
    """The type of an event that repeats the text of all tokens, and where."""
    text = "".join(
        value
        for event in events
        if event.kind == token_type
        for path, value in _leaves(event.data or {})
        if path == text_path and isinstance(value, str)
    )
    for event in events:
        if event.kind not in {"", token_type}:
            for path, value in _leaves(event.data or {}):
                if value == text:
                    return event.kind, path
    return None


def _end_mark(events: Sequence[_Seen]) -> str | None:
    """The expression that holds for the last event and for none before it, by a member with the name of an end."""
    objects = [dict(_leaves(event.data)) for event in events if event.data is not None]
    for path, value in objects[-1].items() if len(objects) > 1 else ():
        earlier = [one.get(path) for one in objects[:-1]]
        if not _words(path[-1]) & _END_WORDS or value in earlier:
            continue
        is_state = bool(_words(path[-1]) & _STATE_WORDS)
        if not any(earlier) and (value is True or (isinstance(value, str) and value and not is_state)):
            return _expression(path)
        if is_state and isinstance(value, str) and value.isidentifier():
            return f"{_expression(path)} == '{value}'"
    return None


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
    """The type of the tokens, and where their text is: of all texts the one with the most different values.

    The text of the reasoning is taken only if the answer has no other text.
    """
    values: dict[tuple[str, _Path], list[str]] = {}
    for event in events:
        for path, value in _leaves(event.data or {}):
            if isinstance(value, str) and value and path[-1] not in {*_RUN_ID_NAMES, *_TYPE_NAMES}:
                values.setdefault((event.kind, path), []).append(value)
    several = {place: texts for place, texts in values.items() if len(texts) > 1}
    visible = {
        place: texts
        for place, texts in several.items()
        if not _REASONING.search(".".join(map(str, (place[0], *place[1]))))
    }
    candidates = (
        {place: texts for place, texts in visible.items() if len(set(texts)) > 1} or visible or several
    )
    found = max(candidates, key=lambda place: (len(set(values[place])), len(values[place])), default=None)
    if found is None:
        plain = next((event.literal for event in events if event.literal is not None), None)
        if plain is not None and not values:
            raise ValueError(
                f"the data of its events is not JSON objects ({plain[:_SHOWN]!r}): a profile reads no others"
            )
        raise ValueError(
            "no type of event occurs more than once with a text: record the answer to a longer prompt"
        )
    texts = values[found]
    if len(set(texts)) > 2 and all(later.startswith(earlier) for earlier, later in pairwise(texts)):
        raise ValueError(
            f"each text at {_expression(found[1])} repeats the one before it: this API sends the whole text so "
            "far, and a profile needs events that bring a piece of it"
        )
    return found


def _run_id(events: Sequence[_Seen]) -> _Path | None:
    """A text with the name of an id that is the same in all events that have it, and in more than one."""
    leaves = [dict(_leaves(event.data)) for event in events if event.data is not None]
    places: list[_Path] = [*((name,) for name in _RUN_ID_NAMES), *((part, "id") for part in _RUN_PARTS)]
    for place in places:
        found = [one[place] for one in leaves if place in one]
        if len(found) > 1 and isinstance(found[0], str) and len(set(map(str, found))) == 1:
            return place
    return None
