"""The progress of the suite, in a small file for the process that started it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from harness.atomic_file import atomic_write_text
from harness.contract.finding import Verdict

_FAILED = frozenset((Verdict.FAIL, Verdict.ERROR, Verdict.STALE))


class Progress:
    """Counts verdicts as tests finish.

    The file contains {"done", "total", "verdicts": {verdict: count}, "failed": [requirement]} and is replaced
    atomically. Raises FileWriteError.
    """

    def __init__(self, file: Path, total: int) -> None:
        self._file = file
        self._total = total
        self._verdicts: Counter[Verdict] = Counter()
        self._failed: list[str] = []
        self._write()

    def count(self, requirement: str, verdict: Verdict) -> None:
        """Count the verdict of one more test."""
        self._verdicts[verdict] += 1
        if verdict in _FAILED and requirement not in self._failed:
            self._failed.append(requirement)
        self._write()

    def _write(self) -> None:
        document = {
            "done": self._verdicts.total(),
            "total": self._total,
            "verdicts": {
                str(verdict): self._verdicts[verdict] for verdict in Verdict if self._verdicts[verdict]
            },
            "failed": self._failed,
        }
        atomic_write_text(self._file, json.dumps(document))
