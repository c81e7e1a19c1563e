"""Stack traces in a server's error messages: the frames that common languages print.

A position in the caller's data or in a file (``at offset (1:5)``, ``config.yaml:3:5``), a host with its port and a time
of day are not frames.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_LINE = r"^[ \t]*"
_INDENTED = r"^[ \t]+"
_SCRIPT = r"[^\s()\"']{1,400}\.(?:[cm]?[jt]sx?|vue|svelte)"

_FRAMES = {
    "Python": (
        r"Traceback \(most recent call last\)",
        r'File "[^"\n]{1,400}", line \d+, in [\w<>.]+',
    ),
    "Java": (
        r"\bat [\w.$<>/@-]{1,400}\.[\w$<>-]+\((?:[\w$-]+\.(?:java|kt|kts|scala|groovy|clj)(?::\d+)?"
        r"|Native Method|Unknown Source|<generated>)\)",
    ),
    "JavaScript": (
        rf"\bat (?:[\w.$<>\[\] #]{{1,200}} )?\((?:file://|webpack[\w-]*:|/|[A-Za-z]:[\\/]){_SCRIPT}:\d+:\d+\)",
        r"\bat (?:[\w.$<>\[\] #]{1,200} )?\(?node:[\w/.-]{1,200}:\d+:\d+\)?",
        rf"{_LINE}at [\w.$<>\[\] #]{{1,200}} \({_SCRIPT}:\d+:\d+\)",
        rf"{_INDENTED}at {_SCRIPT}:\d+:\d+[ \t]*$",
    ),
    "Go": (
        r"\bgoroutine \d+ (?:gp=\S+ m=\S+ (?:mp=\S+ )?)?\[[a-z][\w ,()]{1,80}\]:",
        r"\.go:\d+ \+0x[0-9a-f]+",
        r"^\t[^\s:]{1,400}\.go:\d+[ \t]*$",
    ),
    "Ruby": (r"[^\s:'`]{1,400}\.(?:rb|erb|rake|ru):\d+:in [`'][^'`\n]{1,200}'",),
    "PHP": (
        r"#\d+ [^\s()]{1,400}\.(?:php|phtml|inc)\(\d+\): ",
        r"#\d+ \[internal function\]: ",
        r"#\d+ \{main\}",
    ),
    ".NET": (
        r"\bat [\w.`<>\[\]+,|$]{1,400}\([^()\n]{0,400}\) in [^\n]{1,400}?:line \d+",
        r"--- End of (?:inner exception )?stack trace",
        rf"{_INDENTED}at [\w`<>$+]+(?:\.[\w`<>\[\],+$|]+)+\([^()\n]{{0,400}}\)[ \t]*$",
    ),
    "Rust": (
        r"\bstack backtrace:\s",
        rf"{_INDENTED}at [^\s()]{{1,400}}\.rs:\d+(?::\d+)?[ \t]*$",
    ),
    "Elixir": (r"\([a-z]\w* [\d.]+[\w.-]*\) \S{1,400}\.exs?:\d+: ",),
    "C": (r"#\d+ +0x[0-9a-f]+ in ",),
    "Perl": (r"\bcalled at \S{1,400} line \d+",),
    "Lua": (r"\bstack traceback:\s",),
}
_FRAME = re.compile("|".join(pattern for patterns in _FRAMES.values() for pattern in patterns), re.MULTILINE)

#: Fields of an exception that was serialized as an object, in lower case without underscores.
_STACK_FIELDS = frozenset({"stacktrace", "stack", "traceback", "backtrace", "frames", "trace"})
_LINE_FIELDS = frozenset({"line", "linenumber", "lineno"})


def stack_trace(value: Any) -> str | None:
    """The first frame of a stack trace in a JSON value, in text or as objects; None if there is none."""
    for member in _members(value):
        if isinstance(member, str) and (found := _first_frame(member)):
            return found
        if isinstance(member, dict) and (frame := _serialized_frame(member)):
            return frame
    return None


def _first_frame(text: str) -> str | None:
    found = _FRAME.search(text)
    if found is None and "\\" in text:
        found = _FRAME.search(_unescaped(text))
    return found[0].strip() if found else None


def _unescaped(text: str) -> str:
    """Text that was escaped twice, as it was before."""
    for escaped, character in (("\\r", ""), ("\\n", "\n"), ("\\t", "\t"), ('\\"', '"'), ("\\\\", "\\")):
        text = text.replace(escaped, character)
    return text


def _members(value: Any) -> Iterator[Any]:
    """A JSON value and all values in it. Not recursive: the server decides how deep they are nested."""
    waiting = [value]
    while waiting:
        member = waiting.pop()
        yield member
        if isinstance(member, dict):
            waiting += reversed(member.values())
        elif isinstance(member, list):
            waiting += reversed(member)


def _serialized_frame(value: Mapping[str, Any]) -> str | None:
    """The first object with a line number in a field like ``stackTrace``."""
    for name, frames in value.items():
        if _plain(name) in _STACK_FIELDS and isinstance(frames, list):
            return next((str(frame) for frame in frames if _is_frame(frame)), None)
    return None


def _is_frame(value: Any) -> bool:
    return isinstance(value, Mapping) and any(_plain(name) in _LINE_FIELDS for name in value)


def _plain(name: str) -> str:
    return name.replace("_", "").lower()
