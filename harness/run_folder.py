"""The folder that a test leaves behind: results file, summary, report, logs."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from harness.results import metrics
from harness.results.manifest import manifest_at_start
from harness.results.store import Results, ResultsWriter
from harness.settings import Settings, SettingsError

RESULTS_FILE = "results.sqlite"
SUMMARY_FILE = "summary.json"
REPORT_FILE = "report.html"
DEFAULT_FOLDER = Path("harness-results")


def default_folder() -> Path:
    """A new folder for a test that was given none, named by the time."""
    return DEFAULT_FOLDER / datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")[:-3]


def begin(out: Path, settings: Settings) -> Path:
    """Make the folder and its results file, and return the latter.

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
    except OSError as problem:
        raise SettingsError(f"cannot write to the folder {out}: {problem.strerror or problem}") from None
    return path


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
