"""The folder that a test leaves behind: results file, summary, report, logs."""

from __future__ import annotations

import json
import os
import re
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from harness.config.settings import Settings
from harness.errors import SettingsError
from harness.results import metrics
from harness.results.manifest import manifest_at_start
from harness.results.reader import Results
from harness.results.writer import ResultsWriter

RESULTS_FILE = "results.sqlite"
SUMMARY_FILE = "summary.json"
REPORT_FILE = "report.html"
LOAD_LOG, SUITE_LOG = "load.log", "suite.log"
DEFAULT_FOLDER = Path("harness-results")
LATEST = "latest"
"""In DEFAULT_FOLDER, a link to the newest of the folders that were named by the time."""
_BY_TIME = re.compile(r"\d{8}-\d{6}-\d{3}")


def default_folder() -> Path:
    """A new folder for a test that was given none, named by the time."""
    return DEFAULT_FOLDER / datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")[:-3]


def begin(out: Path, settings: Settings, *, has_suite: bool = False) -> Path:
    """Make the folder and its results file, and return the latter. A default folder becomes the latest.

    has_suite: whether verdicts of the suite belong to the test. Until they are there the manifest says so.
    Raises SettingsError when the folder holds results already (nothing that was measured is overwritten) or
    cannot be written to.
    """
    path = out / RESULTS_FILE
    if path.exists():
        raise SettingsError(f"{path} holds an earlier test; choose another --out folder or remove it")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with ResultsWriter(path) as writer:
            writer.set_manifest(**manifest_at_start(settings.document(), sys.argv), state="running")
            if has_suite:
                writer.set_manifest(suite_state="running")
    except OSError as problem:
        raise SettingsError(f"cannot write to the folder {out}: {problem.strerror or problem}") from None
    if out.parent == DEFAULT_FOLDER and _BY_TIME.fullmatch(out.name):
        with suppress(OSError):  # a convenience, and not every file system has links
            _link_latest(out)
    return path


def _link_latest(folder: Path) -> None:
    """Let `latest` beside the folder point to it, at no moment to nothing. What is no link of ours stays."""
    link = folder.with_name(LATEST)
    if link.exists() and not link.is_symlink():
        return
    fresh = folder.with_name(f".{LATEST}-{os.getpid()}")
    fresh.unlink(missing_ok=True)
    try:
        fresh.symlink_to(folder.name, target_is_directory=True)
        fresh.replace(link)
    finally:
        fresh.unlink(missing_ok=True)


def finish(path: Path, *, interrupted: bool) -> Path:
    """Close the books of a test: its end in the manifest, summary.json, report.html. Returns the report."""
    from harness.reports.html import write_report

    with ResultsWriter(path) as writer:
        writer.set_manifest(
            state="interrupted" if interrupted else "finished", ended_at=datetime.now(UTC).isoformat()
        )
    with Results(path) as results:
        summary = metrics.summary(results)
    path.with_name(SUMMARY_FILE).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    report: Path = write_report(path, path.with_name(REPORT_FILE))
    return report


def results_file(path: Path) -> Path:
    """The results file that a user means: the file itself, or the one in the folder."""
    return path / RESULTS_FILE if path.is_dir() else path
