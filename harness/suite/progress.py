"""The progress of the suite, in a small file for the process that started it."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

from harness.atomic_file import atomic_write_text
from harness.contract.finding import Verdict

_WRITE_EVERY_S = 0.2
"""Most verdicts take less than replacing a file, and nobody looks more often."""

_FAILED = frozenset((Verdict.FAIL, Verdict.ERROR, Verdict.STALE))


class Progress:
    """Counts verdicts as tests finish.

    The file contains {"done", "total", "verdicts": {verdict: count}, "failed": [requirement]} and is replaced
    atomically, at once for a failed requirement and the last test, else every 0.2 s. Raises FileWriteError.
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
        is_new = verdict in _FAILED and requirement not in self._failed
        if is_new:
            self._failed.append(requirement)
        is_last = self._verdicts.total() >= self._total
        if is_new or is_last or time.monotonic() >= self._write_at:
            self._write()

    def _write(self) -> None:
        self._write_at = time.monotonic() + _WRITE_EVERY_S
        document = {
            "done": self._verdicts.total(),
            "total": self._total,
            "verdicts": {
                str(verdict): self._verdicts[verdict] for verdict in Verdict if self._verdicts[verdict]
            },
            "failed": self._failed,
        }
        atomic_write_text(self._file, json.dumps(document))
