"""Where baselines lie, what gets into them, and whether one can be compared with at all.

A baseline is one results file, or a folder of the newest few of a branch: each file in it is an independent
repeat, and how far these differ among themselves is what the gate measures noise by.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from harness.results.reader import Results
from harness.results.schema import ResultsError

RESULTS_FILE = "results.sqlite"
SUFFIX = ".sqlite"
REPEAT = "repeat-"
"""Beside a test's own results, its repeats have folders that begin so, with a number behind."""
KEEP = 10
"""So many files a folder of baselines holds; docs/gate.md has what they are good for."""

_LOOPS = ("users", "rate", "ramp", "steps", "spike", "trace", "arrivals", "max_in_flight", "journeys")
"""What of the load makes two tests of one server measure different things."""


def baseline_files(path: Path) -> list[Path]:
    """The results files that a user means by a baseline, the oldest first.

    path: a results file, the folder of one test, or a folder of baselines. Raises ResultsError where there is
    none.
    """
    if not path.is_dir():
        return [path]
    if (path / RESULTS_FILE).is_file():
        return [path / RESULTS_FILE]
    found = sorted(path.glob(f"*{SUFFIX}"))
    if not found:
        raise ResultsError(
            f"{path}: there is no baseline in this folder; harness gate RESULTS --baseline {path} "
            "--update-baseline puts the first there"
        )
    return found


def has_baseline(path: Path) -> bool:
    """Whether there is something at that path already that `baseline_files` finds."""
    return path.is_file() or any(path.glob(f"*{SUFFIX}"))


def repeats_of(path: Path) -> list[Path]:
    """The results of the repeats that a check made beside its own, in their order."""
    folders = path.parent.glob(f"{REPEAT}*") if path.name == RESULTS_FILE else []
    numbered = [folder for folder in folders if folder.name.rpartition("-")[2].isdecimal()]
    files = [folder / RESULTS_FILE for folder in numbered]
    return sorted(
        (file for file in files if file.is_file()), key=lambda file: int(file.parent.name.rpartition("-")[2])
    )


def update_baseline(results: Sequence[Path], path: Path, keep: int = KEEP) -> list[str]:
    """Put results into a baseline and say what was written, a line each.

    path: a file (named *.sqlite, or there already), which is replaced by the last of the results; or a folder,
    which gets a file of each, named by the time of its test, and keeps the `keep` newest. Raises ResultsError
    when it cannot be written, and for the folder of a test, whose results are no baseline to be replaced.
    """
    if path.is_dir() and (path / RESULTS_FILE).exists():
        raise ResultsError(
            f"{path} is the folder of a test, and nothing that was measured is overwritten; give a folder of "
            "baselines, or a file"
        )
    try:
        if path.is_file() or (path.suffix == SUFFIX and not path.is_dir()):
            _copy(results[-1], path)
            return [f"{path} is now the baseline"]
        path.mkdir(parents=True, exist_ok=True)
        said = [_add(one, path) for one in results]
        surplus = sorted(path.glob(f"*{SUFFIX}"))[:-keep]
        for one in surplus:
            one.unlink()
    except (OSError, sqlite3.Error) as problem:
        raise ResultsError(f"{path}: cannot write the baseline: {problem}") from None
    if surplus:
        said.append(f"the newest {keep} are kept: removed {', '.join(one.name for one in surplus)}")
    return said


def _add(results: Path, folder: Path) -> str:
    with Results(results) as file:
        began = str(file.manifest.get("started_at", ""))
    try:
        moment = datetime.fromisoformat(began).astimezone(UTC)
    except ValueError:
        moment = datetime.fromtimestamp(results.stat().st_mtime, UTC)
    digest = hashlib.sha256(f"{began} {results.stat().st_size}".encode()).hexdigest()[:8]
    place = folder / f"{moment:%Y%m%dT%H%M%SZ}-{digest}{SUFFIX}"
    if place.exists():
        return f"{place} is in the baseline already"
    _copy(results, place)
    return f"{place} joined the baseline"


def _copy(source: Path, place: Path) -> None:
    """Copy a results file, whole or not at all, also one whose last words still stand in a log beside it."""
    if place.exists() and place.samefile(source):
        raise ResultsError(f"{place}: these results are the baseline already")
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = place.with_name(f"{place.name}.{os.getpid()}.tmp")
    try:
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as read,
            closing(sqlite3.connect(fresh)) as written,
        ):
            read.backup(written)
        fresh.replace(place)
    finally:
        with suppress(FileNotFoundError):
            fresh.unlink()


def is_same_test(results: Results, other: Results) -> bool:
    """Whether both are of one test, one perhaps a copy of the other: no two begin in the same microsecond."""
    began = results.manifest.get("started_at")
    return began is not None and began == other.manifest.get("started_at")


def distinct(files: Sequence[Results]) -> list[Results]:
    """Each test once: a copy of a file is no second observation."""
    found: list[Results] = []
    for file in files:
        if not any(is_same_test(file, one) for one in found):
            found.append(file)
    return found


def another_load(results: Results, baseline: Results) -> str:
    """How the baseline was loaded otherwise, so that a difference is not the server's; empty if it was not."""
    now, then = _load(results), _load(baseline)
    if now is not None and then is not None:
        for name in _LOOPS:
            one, other = now.get(name), then.get(name)
            if name == "users" and None in (one, other):  # then it was the usual number, or no closed loop
                continue
            if one != other:
                return f"the baseline had another load: {name} {_said(other)} then, {_said(one)} now"
    beside = [bool(file.checks()) for file in (results, baseline)]
    if beside[0] != beside[1]:
        said = ("with", "without") if beside[1] else ("without", "with")
        return f"the baseline was made {said[0]} the conformance suite beside it, this {said[1]}"
    return ""


def notes(results: Results, baseline: Results) -> Iterator[str]:
    """What else differs between two tests, which may be meant, and may be why they differ."""
    now, then = results.manifest, baseline.manifest
    targets = [_target(manifest) for manifest in (now, then)]
    if all(targets) and targets[0] != targets[1]:
        yield f"the baseline is of another target: {targets[1]}, not {targets[0]}"
    machines = [_machine(manifest) for manifest in (now, then)]
    if all(machines) and machines[0] != machines[1]:
        yield f"the baseline was measured on another machine: {machines[1]}, not {machines[0]}"


def _load(results: Results) -> Mapping[str, Any] | None:
    settings = results.manifest.get("settings")
    load = settings.get("load") if isinstance(settings, dict) else None
    return load if isinstance(load, dict) else None


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={weight}" for name, weight in value.items() if weight)
    return "none" if value is None else str(value)


def _target(manifest: Mapping[str, Any]) -> str:
    """The target's address; of this machine without its port, which the embedded server has anew each time."""
    target = manifest.get("target")
    if not isinstance(target, dict) or not target.get("base_url"):
        return ""
    try:
        url = urlsplit(str(target["base_url"]))
        host = url.hostname or ""
    except ValueError:
        return str(target["base_url"])
    here = host in ("127.0.0.1", "localhost", "::1")
    return f"{url.scheme}://{host if here else url.netloc}{target.get('path') or ''}"


def _machine(manifest: Mapping[str, Any]) -> str:
    machine = manifest.get("machine")
    if not isinstance(machine, dict):
        return ""
    return f"{machine.get('cpu', '?')} with {machine.get('cores', '?')} cores"
