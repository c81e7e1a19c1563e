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


def make_report(results: Path, *, is_test_active: bool) -> bytes:
    """The HTML page of the results file as it is now. Raises ReportFailedError.

    is_test_active: whether a test runs, whose measurement has priority. After it, the user waits for the report: on a
    busy machine, a low priority would make that minutes.
    """
    with _one_at_a_time, tempfile.TemporaryDirectory(prefix="harness-report-") as folder:
        page = Path(folder) / "report.html"
        nice = shutil.which("nice") if is_test_active else None
        low_priority = [] if nice is None else [nice, "-n", "10"]
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
