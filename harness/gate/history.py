"""The history of a baseline folder: what each test that joined it measured, also after its results file was removed.

A folder keeps the newest few results files, which is what a comparison needs. A drift of many small steps shows over
months only; an entry of the history has about a kilobyte, and a folder keeps the newest KEPT.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from harness.atomic_file import atomic_write_text
from harness.booleans import is_number
from harness.errors import SettingsError
from harness.gate.baseline_store import LOAD_SETTINGS, SUFFIX, machine_of
from harness.gate.objective import KEYS, Objective, recorded_objectives
from harness.gate.usual_comparisons import USUALLY_COMPARED
from harness.input_file import read_text
from harness.results.reader import Results
from harness.results.schema import ResultsError

HISTORY_FILE = "history.json"
KEPT = 200
"""Entries of a history. At ten builds of the main branch per working day, four weeks; the newest are what matters."""

MORE_KEYS = ("stall_p95_ms", "resume_p50_ms", "goodput")
"""Recorded in addition to what the gate compares."""

_VERSION = 1
_MOST_BYTES = 8 * 1024 * 1024
_COMMIT = re.compile(r"[\x21-\x7e]{1,100}")
_NAME = re.compile(r"(?:[A-Za-z0-9_-]{1,60}\.)?[a-z0-9_]+")  # of an objective, with its journey
_TEXT_CHARS = 200
MOST_METRICS = 64
"""Of one entry; those that a gate usually compares come first. A trend takes time for each of them."""
_MOST_VALUE = 1e15  # of a metric: milliseconds or a share


@dataclass(frozen=True, slots=True)
class RecordedValue:
    """A metric of one test with its confidence interval, in ms or as a share; the ends are None if it has none."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One test. commit: that was tested; empty if unknown. load: identifies the load settings, which must be equal for
    two tests to be comparable. values: by name of the objective.
    """

    started_at: str
    commit: str
    machine: str
    load: str
    values: Mapping[str, RecordedValue] = field(default_factory=dict)


def entry_of(results: Results, commit: str = "") -> HistoryEntry:
    """What a history keeps of a test. Raises ResultsError."""
    objectives = {key: Objective(key, 0.0) for key in (*USUALLY_COMPARED, *MORE_KEYS)}
    objectives |= {one.name: one for one in recorded_objectives(results) if one.key != "violations"}
    named = ((name, one) for name, one in objectives.items() if _NAME.fullmatch(name))
    objectives = dict(islice(named, MOST_METRICS))
    values = {}
    for name, objective in objectives.items():
        value = objective.value(results)
        if value is not None:
            low, high = objective.interval(results) or (None, None)
            values[name] = RecordedValue(value, low, high)
    manifest = results.manifest
    settings = manifest.get("settings")
    load = settings.get("load") if isinstance(settings, dict) else None
    shown = {name: load.get(name) for name in LOAD_SETTINGS} if isinstance(load, dict) else {}
    text = json.dumps([shown, bool(results.checks())], sort_keys=True, default=str)
    return HistoryEntry(
        started_at=str(manifest.get("started_at", ""))[:_TEXT_CHARS],
        commit=commit,
        machine=machine_of(manifest)[:_TEXT_CHARS],
        load=hashlib.sha256(text.encode()).hexdigest()[:12],
        values=values,
    )


def read_history(folder: Path) -> list[HistoryEntry]:
    """The entries of a baseline folder, oldest first, with those of its results files that have none yet.

    Raises ResultsError if the folder has neither, or if its history cannot be read.
    """
    if not folder.is_dir():
        raise ResultsError(f"{folder}: no such baseline folder; give the folder of --baseline")
    entries = _stored(folder / HISTORY_FILE)
    known = {entry.started_at for entry in entries}
    for file in sorted(folder.glob(f"*{SUFFIX}")):
        with Results(file) as results:
            if str(results.manifest.get("started_at", "")) not in known:
                entries.append(entry_of(results))
    if not entries:
        raise ResultsError(
            f"{folder}: no history in this folder; harness gate RESULTS --baseline {folder} --update-baseline begins it"
        )
    return sorted(entries, key=_moment)[-KEPT:]


def add_to_history(folder: Path, results: Sequence[Path], commit: str = "") -> None:
    """Add tests to the history of a folder, unless they are in it. Raises ResultsError and FileWriteError."""
    entries = {entry.started_at: entry for entry in _stored(folder / HISTORY_FILE)}
    for file in sorted(folder.glob(f"*{SUFFIX}")):  # of a folder that had no history
        with Results(file) as opened:
            if str(opened.manifest.get("started_at", "")) not in entries:
                entry = entry_of(opened)
                entries[entry.started_at] = entry
    for path in results:
        with Results(path) as opened:
            started_at = str(opened.manifest.get("started_at", ""))
            if started_at not in entries or not entries[started_at].commit:
                entries[started_at] = entry_of(opened, commit)
    newest = sorted(entries.values(), key=_moment)[-KEPT:]
    document = {"version": _VERSION, "tests": [asdict(entry) for entry in newest]}
    atomic_write_text(folder / HISTORY_FILE, f"{json.dumps(document, indent=1, allow_nan=False)}\n")


def _moment(entry: HistoryEntry) -> tuple[float, str]:
    try:
        moment = datetime.fromisoformat(entry.started_at)
    except ValueError:
        return -math.inf, entry.started_at
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), entry.started_at


def _stored(path: Path) -> list[HistoryEntry]:
    if not path.exists():
        return []
    try:
        return _entries(json.loads(read_text(path, "the history", _MOST_BYTES)))
    except SettingsError as problem:
        raise ResultsError(str(problem)) from None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as problem:
        raise ResultsError(
            f"{path}: not a history that this version can read ({problem!s:.100}); remove it to begin a new one"
        ) from None


def _entries(document: Mapping[str, Any]) -> list[HistoryEntry]:
    """The entries from the JSON values of a history. Raises ValueError, KeyError or TypeError for anything else."""
    if not is_number(document["version"]) or document["version"] != _VERSION:
        raise ValueError(f"its format is version {document['version']}")
    return [_entry(one) for one in document["tests"]]


def _entry(plain: Mapping[str, Any]) -> HistoryEntry:
    """An entry from its JSON values. Raises ValueError, KeyError or TypeError for anything else."""
    texts = {name: plain[name] for name in ("started_at", "commit", "machine", "load")}
    if not all(isinstance(text, str) and len(text) <= _TEXT_CHARS for text in texts.values()):
        raise ValueError("a text is missing or too long")
    "".join(texts.values()).encode()  # half a character is in no page
    if texts["commit"] and not is_commit(texts["commit"]):
        raise ValueError("a commit is not a name")
    values = {}
    if not isinstance(plain["values"], dict):
        raise TypeError("its values have no names")
    for name, of_name in islice(plain["values"].items(), MOST_METRICS):
        if name.rpartition(".")[2] not in KEYS or not _NAME.fullmatch(name):
            raise ValueError(f"unknown metric {name!r:.60}")
        values[name] = RecordedValue(**{key: _number(of_name.get(key)) for key in ("value", "low", "high")})
        if values[name].value is None:
            raise ValueError(f"{name} has no value")
    return HistoryEntry(values=values, **texts)


def _number(value: Any) -> Any:
    if value is None or (is_number(value) and abs(value) <= _MOST_VALUE):
        return value
    raise ValueError("a value is not a number")


def is_commit(text: str) -> bool:
    """Whether a text can name a commit: printable ASCII without blanks, at most 100 characters."""
    return _COMMIT.fullmatch(text) is not None
