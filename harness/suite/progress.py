"""How far the suite is, in a small file that whoever started it can look at."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from harness.atomic_file import atomic_write_text
from harness.contract.finding import Verdict

_BAD = frozenset((Verdict.FAIL, Verdict.ERROR, Verdict.STALE))


class Progress:
    """Counts verdicts as they come.

    The file holds {"done", "total", "verdicts": {verdict: count}, "failed": [requirement]} and is replaced as a
    whole. Raises FileWriteError.
    """

    def __init__(self, file: Path, total: int) -> None:
        self._file = file
        self._total = total
        self._verdicts: Counter[Verdict] = Counter()
        self._failed: list[str] = []
        self._write()

    def count(self, requirement: str, verdict: Verdict) -> None:
        """One test more has come to its verdict."""
        self._verdicts[verdict] += 1
        if verdict in _BAD and requirement not in self._failed:
            self._failed.append(requirement)
        self._write()

    def _write(self) -> None:
        document = {
            "done": self._verdicts.total(),
            "total": self._total,
            "verdicts": {str(one): self._verdicts[one] for one in Verdict if self._verdicts[one]},
            "failed": self._failed,
        }
        atomic_write_text(self._file, json.dumps(document))
