"""Checks what a browser submits with Locust's start form, before Locust's view reads it.

That view sets the target, and any option of the command line, to what it is sent: files to write among them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import SettingsError

_MOST_WEIGHT = 100_000
_LONGEST_VALUE = 1000

_RULED = frozenset({"user_count", "spawn_rate", "run_time", "host", "profile", "user_classes", "shape_class"})
"""Fields of Locust itself. The others of its options are for the command line."""

_PATH = re.compile(
    r"""(?:^|[\s,;=@'"(\[])(?:~|\.{0,2}/)  # /etc, ~/file, ./file, ../file, @/file, name=/file
    |file:|\\|(?:^|/)\.\.(?:/|$)""",
    re.VERBOSE | re.IGNORECASE,
)
_WORD = re.compile(r"[^\s,;=@'\"()\[\]]+")


@dataclass(frozen=True, slots=True)
class FormOption:
    """An option of the command line that is a field of the form.

    initial: its values as text on the command line. choices: the values it may have, if they are limited.
    names_file: whether its type is one of file names. is_parsed: whether the harness parses it, and opens no file.
    """

    initial: frozenset[str] = frozenset()
    choices: tuple[str, ...] | None = None
    names_file: bool = False
    is_parsed: bool = False


@dataclass(frozen=True, slots=True)
class FormRules:
    """What a form may contain.

    target: the only one that this process tests. options: by name. user_classes, shape_classes: those to choose
    from; None without a picker. How large a load may be, harness.load.bounds.limits decides.
    """

    target: str
    options: Mapping[str, FormOption]
    user_classes: frozenset[str] | None = None
    shape_classes: frozenset[str] = frozenset()

    def check(self, form: Mapping[str, list[str]]) -> None:
        """Raises SettingsError with one sentence unless every field may have its values."""
        for name, values in form.items():
            if name not in _RULED and name not in self.options:
                raise SettingsError(
                    f"the form has no field {name[:60]!r}; set other options on the command line"
                )
            for value in values:
                self._check_value(name, value)
        for field, kind in (("user_count", int), ("spawn_rate", float)):
            for value in form.get(field, ()):
                _number(kind, _label(field), value)

    def _check_value(self, name: str, value: str) -> None:
        label = _label(name)
        if len(value) > _LONGEST_VALUE or not value.isprintable():
            raise SettingsError(f"{label}: it is too long or contains a control character")
        if name == "host":
            if value.strip().rstrip("/") not in {"", self.target.rstrip("/")}:
                raise SettingsError(
                    f"Host: this page tests {self.target} only; for another target start it with that one"
                )
        elif name == "user_classes":
            if self.user_classes is not None and value not in self.user_classes:
                raise SettingsError(f"{label}: unknown user class {value[:60]!r}")
        elif name == "shape_class":
            if value not in self.shape_classes:
                raise SettingsError(f"{label}: unknown shape class {value[:60]!r}")
        else:
            self._check_option(name, value, self.options.get(name, FormOption()))

    def _check_option(self, name: str, value: str, option: FormOption) -> None:
        if not value or value in option.initial or option.is_parsed:
            return
        if option.choices is not None and value not in option.choices:
            choices = ", ".join(choice or "nothing" for choice in option.choices)
            raise SettingsError(f"{_label(name)}: {value[:60]!r} is not one of: {choices}")
        if option.choices is None and (option.names_file or is_path(value)):
            raise SettingsError(
                f"{_label(name)}: the form takes no file names; set this option on the command line"
            )

    def check_user_class(self, document: Any, known: Mapping[str, Any]) -> None:
        """Check what the class picker's dialog submits. known: the class's present values. Raises SettingsError."""
        if not isinstance(document, dict) or set(document) - {"user_class_name", *known}:
            raise SettingsError("a user class has no such field; set other attributes in the locustfile")
        if document.get("host", known.get("host")) != known.get("host"):
            raise SettingsError("Host: the target of a user class is set in the locustfile")
        for name in ("weight", "fixed_count"):
            value = _number(int, _label(name), document.get(name, 0))
            if not 0 <= value <= _MOST_WEIGHT:
                raise SettingsError(f"{_label(name)}: {value:,.10g} is not between 0 and {_MOST_WEIGHT:,}")
        tasks = document.get("tasks", [])
        if not isinstance(tasks, list) or not all(isinstance(task, str) for task in tasks):
            raise SettingsError("Tasks: it is not a list of names")


def is_path(value: str) -> bool:
    """Whether a value is, or contains, the name of a file: by its form, or because there is such a file."""
    without_urls = re.sub(r"\bhttps?://\S*", "", value, flags=re.IGNORECASE)
    if _PATH.search(without_urls):
        return True
    words: Iterable[str] = {value, *_WORD.findall(without_urls)}
    return any(os.path.lexists(word) and not Path(word).is_dir() for word in words if word.strip())


def _number(kind: type[int | float], label: str, value: Any) -> float:
    try:
        return kind(value)
    except (TypeError, ValueError):
        what = "a whole number" if kind is int else "a number"
        raise SettingsError(f"{label}: {str(value)[:60]!r} is not {what}") from None


def _label(name: str) -> str:
    return name.replace("_", " ").capitalize()
