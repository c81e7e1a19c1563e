"""Makes the HTML report of a results file in a subprocess: in this process it would stop every stream."""

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
    """The report could not be made; the message says why."""


def make_report(results: Path) -> bytes:
    """The HTML page of the results file as it is now. Raises ReportFailedError."""
    with _one_at_a_time, tempfile.TemporaryDirectory(prefix="harness-report-") as folder:
        page = Path(folder) / "report.html"
        # The measurement has priority over the report.
        low_priority = [nice, "-n", "10"] if (nice := shutil.which("nice")) else []
        command = [*low_priority, sys.executable, "-m", "harness", "report", str(results), "--out", str(page)]
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
            output = (done.stderr.strip() or done.stdout.strip()).splitlines()
            reason = output[-1] if output else f"harness report exited with code {done.returncode}"
            raise ReportFailedError(f"the report could not be made: {reason}")
        return page.read_bytes()
