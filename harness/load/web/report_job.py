"""The HTML report of a results file, made by another process: drawing it would stop every stream of this one."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from gevent.lock import Semaphore

_TIMEOUT_S = 120.0
_one_at_a_time = Semaphore(1)


class ReportFailedError(RuntimeError):
    """The report was not made; the text says why."""


def report_of(results: Path) -> bytes:
    """The page, from what stands in the results file now. Raises ReportFailedError."""
    with _one_at_a_time, tempfile.TemporaryDirectory(prefix="harness-report-") as folder:
        page = Path(folder) / "report.html"
        # What is measured goes before what is drawn.
        polite = [nice, "-n", "10"] if (nice := shutil.which("nice")) else []
        command = [*polite, sys.executable, "-m", "harness", "report", str(results), "--out", str(page)]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ReportFailedError(f"the report was not ready after {_TIMEOUT_S:.0f} s") from None
        if done.returncode != 0 or not page.exists():
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()
            why = said[-1] if said else f"its process ended with {done.returncode}"
            raise ReportFailedError(f"the report could not be made: {why}")
        return page.read_bytes()
