"""Finds and updates baselines, and tells how two tests differ.

A baseline is one results file, or a folder with the newest few of a branch. Each file in the folder is an
independent repeat; the gate estimates noise from the spread between them.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from harness.atomic_file import atomic_path
from harness.errors import FileWriteError
from harness.results.reader import Results
from harness.results.schema import RESULTS_FILE, ResultsError

SUFFIX = ".sqlite"
REPEAT_PREFIX = "repeat-"
"""Prefix of the folders of repeats in the folder of a test; a number follows."""
KEEP = 10
"""Default number of files in a baseline folder; see docs/gate.md."""

LOAD_SETTINGS = ("users", "rate", "ramp", "steps", "spike", "trace", "arrivals", "max_in_flight", "journeys")
"""Load settings that must be equal for two tests to be comparable."""


def baseline_files(path: Path) -> list[Path]:
    """The results files of a baseline, oldest first.

    path: a results file, the folder of one test, or a baseline folder. Raises ResultsError if there is none.
    """
    if not path.exists():
        raise ResultsError(
            f"{path}: no such baseline; create a file (*{SUFFIX}) or a folder of that name from the results of a test "
            f"with harness gate RESULTS --baseline {path} --update-baseline"
        )
    if not path.is_dir():
        return [path]
    if (path / RESULTS_FILE).is_file():
        return [path / RESULTS_FILE]
    files = sorted(path.glob(f"*{SUFFIX}"))
    if not files:
        raise ResultsError(
            f"{path}: no baseline in this folder; add the first one with harness gate RESULTS --baseline {path} "
            "--update-baseline"
        )
    return files


def has_baseline(path: Path) -> bool:
    """Whether `baseline_files` would find a file at that path."""
    return path.is_file() or any(path.glob(f"*{SUFFIX}"))


def repeats_of(path: Path) -> list[Path]:
    """The results files of a test's repeats, in order."""
    folders = path.parent.glob(f"{REPEAT_PREFIX}*") if path.name == RESULTS_FILE else []
    numbered = [folder for folder in folders if folder.name.rpartition("-")[2].isdecimal()]
    files = [folder / RESULTS_FILE for folder in numbered]
    return sorted(
        (file for file in files if file.is_file()), key=lambda file: int(file.parent.name.rpartition("-")[2])
    )


def update_baseline(results: Sequence[Path], path: Path, keep: int = KEEP) -> list[str]:
    """Add results to a baseline; returns one line per change for the user.

    path: a file (*.sqlite, or an existing one), which is replaced by the last of the results; or a folder, which
    gets one file per result, named by the start of its test, and keeps the newest `keep`. Raises ResultsError if
    it cannot be written, and for the folder of a test: measured results are never overwritten.
    """
    if path.is_dir() and (path / RESULTS_FILE).exists():
        raise ResultsError(
            f"{path} is the folder of a test, whose results are never overwritten; give a baseline folder or a file"
        )
    try:
        if path.is_file() or (path.suffix == SUFFIX and not path.is_dir()):
            _copy(results[-1], path)
            return [f"{path} is now the baseline"]
        path.mkdir(parents=True, exist_ok=True)
        lines = [_add(file, path) for file in results]
        surplus = sorted(path.glob(f"*{SUFFIX}"))[:-keep]
        for file in surplus:
            file.unlink()
    except (OSError, sqlite3.Error, FileWriteError) as problem:
        raise ResultsError(f"{path}: cannot write the baseline: {problem}") from None
    if surplus:
        lines.append(f"kept the newest {keep}; removed {', '.join(file.name for file in surplus)}")
    return lines


def _add(results: Path, folder: Path) -> str:
    with Results(results) as file:
        started_at = str(file.manifest.get("started_at", ""))
    try:
        start = datetime.fromisoformat(started_at).astimezone(UTC)
    except (ValueError, OverflowError):
        start = datetime.fromtimestamp(results.stat().st_mtime, UTC)
    digest = hashlib.sha256(f"{started_at} {results.stat().st_size}".encode()).hexdigest()[:8]
    copy = folder / f"{start:%Y%m%dT%H%M%SZ}-{digest}{SUFFIX}"
    if copy.exists():
        return f"{copy} is already in the baseline"
    _copy(results, copy)
    return f"{copy} added to the baseline"


def _copy(source: Path, copy: Path) -> None:
    """Copy a results file atomically, including what is still in its -wal file."""
    if copy.exists() and copy.samefile(source):
        raise ResultsError(f"{copy}: these results are already the baseline")
    copy.parent.mkdir(parents=True, exist_ok=True)
    with (
        atomic_path(copy) as draft,
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as database,
        closing(sqlite3.connect(draft)) as target,
    ):
        database.backup(target)


def is_same_test(results: Results, other: Results) -> bool:
    """Whether both are results of one test (copies): no two tests start in the same microsecond."""
    started_at = results.manifest.get("started_at")
    return started_at is not None and started_at == other.manifest.get("started_at")


def without_copies(files: Sequence[Results]) -> list[Results]:
    """The first file of each test: a copy is not a second observation."""
    kept: list[Results] = []
    for file in files:
        if not any(is_same_test(file, other) for other in kept):
            kept.append(file)
    return kept


def load_difference(results: Results, baseline: Results) -> str:
    """How the load differs from the baseline's, which makes them incomparable; empty if it does not."""
    now, then = _load(results), _load(baseline)
    if now is not None and then is not None:
        for name in LOAD_SETTINGS:
            value, before = now.get(name), then.get(name)
            if name == "users" and None in (value, before):  # the default, or not a closed loop
                continue
            if value != before:
                return f"the load differs: {name} {_text(before)} in the baseline, {_text(value)} now"
    suite, suite_before = (bool(file.checks()) for file in (results, baseline))
    if suite != suite_before:
        words = ("with", "without") if suite_before else ("without", "with")
        return f"the baseline ran {words[0]} the conformance suite, this test {words[1]}"
    return ""


def differences(results: Results, baseline: Results) -> Iterator[str]:
    """Other differences between two tests, which can be intended and can explain a change."""
    now, then = results.manifest, baseline.manifest
    targets = [_target(manifest) for manifest in (now, then)]
    if all(targets) and targets[0] != targets[1]:
        yield f"the baseline has a different target: {targets[1]}, not {targets[0]}"
    machines = [machine_of(manifest) for manifest in (now, then)]
    if all(machines) and machines[0] != machines[1]:
        yield f"the baseline was measured on a different machine: {machines[1]}, not {machines[0]}"
    actions, actions_before = (_actions(manifest) for manifest in (now, then))
    changed = sorted(
        name for name in actions.keys() & actions_before if actions[name] != actions_before[name]
    )
    if changed:
        yield f"the baseline requested other actions: target.actions differs in {', '.join(changed)}"
    stamps = [manifest.get("receive_stamp") for manifest in (now, then)]
    if all(stamps) and stamps[0] != stamps[1]:
        yield f"the baseline has arrival times of a different source: {stamps[1]}, not {stamps[0]}"


def _load(results: Results) -> Mapping[str, Any] | None:
    settings = results.manifest.get("settings")
    load = settings.get("load") if isinstance(settings, dict) else None
    return load if isinstance(load, dict) else None


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={weight}" for name, weight in value.items() if weight)
    return "none" if value is None else str(value)


def _target(manifest: Mapping[str, Any]) -> str:
    """The target's URL; on this machine without the port, because the embedded server gets a new one each time."""
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


def _actions(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    settings = manifest.get("settings")
    target = settings.get("target") if isinstance(settings, dict) else None
    actions = target.get("actions") if isinstance(target, dict) else None
    return actions if isinstance(actions, dict) else {}


def machine_of(manifest: Mapping[str, Any]) -> str:
    """The machine that a test was measured on, for people; empty if that is not recorded."""
    machine = manifest.get("machine")
    if not isinstance(machine, dict):
        return ""
    return f"{machine.get('cpu', '?')} with {machine.get('cores', '?')} cores"
