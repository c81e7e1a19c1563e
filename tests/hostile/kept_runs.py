"""Runs that are kept in a file, so that an interruption loses none of them, and what is left to run."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from .measure import COMMANDS, MOST_S, Run

_ROOT = Path(__file__).resolve().parents[2]
_SOURCES = ("harness", "conformance", "locustfiles", "tests/hostile")
_KEPT_OUTPUT = 3000  # characters, of runs that did not hold


def sources_digest(root: Path = _ROOT) -> str:
    """A digest of what is measured and of what measures it."""
    digest = hashlib.sha256()
    for path in sorted(path for top in _SOURCES for path in (root / top).rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


class KeptRuns:
    """The last run of each behaviour and command. One JSON object a line; the last line of a pair counts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._runs: dict[tuple[str, str], Run] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                self._take(line)

    def _take(self, line: str) -> None:
        try:
            run = Run(**json.loads(line))
        except (ValueError, TypeError):
            return  # a line that was not written to its end, or one of another version
        self._runs[run.behaviour, run.command] = run

    def add(self, run: Run) -> None:
        """Keep it, on disk too. Not safe from several threads at once."""
        run = replace(run, output="" if run.held else run.output[-_KEPT_OUTPUT:])
        self._runs[run.behaviour, run.command] = run
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(run)) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def of(self, names: Iterable[str]) -> list[Run]:
        """The runs of these behaviours, in this order."""
        return [
            self._runs[name, command]
            for name in names
            for command in COMMANDS
            if (name, command) in self._runs
        ]

    def left(self, names: Iterable[str]) -> list[tuple[str, str]]:
        """Behaviours and commands that were not run, then those whose run did not hold, then the slow ones.

        A run of more than MOST_S held only because its machine was busy.
        """
        wanted = [(name, command) for name in spread(list(names)) for command in COMMANDS]
        did_not_hold = [pair for pair in wanted if pair in self._runs and not self._runs[pair].held]
        slow = [
            pair
            for pair in wanted
            if pair in self._runs and self._runs[pair].held and self._runs[pair].seconds > MOST_S
        ]
        return [pair for pair in wanted if pair not in self._runs] + did_not_hold + slow


def spread(names: Sequence[str]) -> list[str]:
    """The same names in an order in which each beginning has its share of every kind."""
    kinds = [name.partition(":")[0] for name in names]
    sizes, seen = Counter(kinds), Counter[str]()
    places: dict[str, float] = {}
    for name, kind in zip(names, kinds, strict=True):
        places[name] = (seen[kind] + 0.5) / sizes[kind]
        seen[kind] += 1
    return sorted(names, key=places.__getitem__)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock file. Raises BlockingIOError if another process does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
