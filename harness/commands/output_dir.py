"""The output folder of a test: results file, summary, report, logs."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from harness.atomic_file import atomic_symlink
from harness.config.settings import Settings
from harness.contract.evidence.redaction import Redactor
from harness.errors import FileWriteError, SettingsError
from harness.results.manifest import NO_LOAD, manifest_at_start
from harness.results.opening import SIDECARS, claim
from harness.results.reader import Results
from harness.results.schema import RESULTS_FILE, ResultsError
from harness.results.summary import write_summary
from harness.results.writer import ResultsWriter
from harness.run_clock import RUN_CLOCK

REPORT_FILE = "report.html"
LOAD_LOG, SUITE_LOG = "load.log", "suite.log"
DEFAULT_FOLDER = Path("harness-results")
LATEST = "latest"
"""A link in DEFAULT_FOLDER to the newest folder that is named by its time."""
_TIME_NAME = re.compile(r"\d{8}-\d{6}-\d{3}")


def default_folder() -> Path:
    """A new folder in DEFAULT_FOLDER, named by the current time."""
    return DEFAULT_FOLDER / datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")[:-3]


def subfolder(folder: Path, *names: str) -> Path:
    """A folder below the folder of a test. Raises SettingsError if a part of its path below that is a link."""
    for name in names:
        folder /= name
        if folder.is_symlink():
            raise SettingsError(f"cannot write to the folder {folder}: it is a link; remove it")
    return folder


def begin(out: Path, settings: Settings, *, has_suite: bool = False, has_load: bool = True) -> Path:
    """Create the folder and its results file. Returns the results file. A default folder becomes the latest.

    has_suite, has_load: whether the test includes the conformance suite and a load; the manifest says so before there
    are results of them, so that a load that left none is not taken for a test without one.
    Raises SettingsError if the folder contains results (nothing is overwritten) or cannot be written to.
    """
    path = out / RESULTS_FILE
    RUN_CLOCK.start()
    try:
        if not os.path.lexists(path):
            out.mkdir(parents=True, exist_ok=True)
        with _claimed(path), ResultsWriter(path) as writer:
            writer.set_manifest(
                **manifest_at_start(settings.document(), Redactor(settings.secrets()).own_value(sys.argv)),
                state="running",
            )
            if has_suite:
                writer.set_manifest(suite_state="running")
            if not has_load:
                writer.set_manifest(load_state=NO_LOAD)
    except OSError as problem:
        raise SettingsError(f"cannot write to the folder {out}: {problem.strerror or problem}") from None
    if out.parent == DEFAULT_FOLDER and _TIME_NAME.fullmatch(out.name):
        _link_latest(out)
    return path


@contextmanager
def _claimed(path: Path) -> Iterator[None]:
    """The results file is that of this test alone; it is removed if the block fails, as on a full disk."""
    try:
        claim(path)
    except FileExistsError:
        raise SettingsError(
            f"{path} is from an earlier test; choose a different --out folder or remove it"
        ) from None
    try:
        yield
    except (OSError, ResultsError):
        discard(path)
        raise


def discard(path: Path) -> None:
    """Remove the results file of a test that did not begin, so that its folder can be used again."""
    for suffix in ("", *SIDECARS):
        path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)
    with suppress(OSError):  # the folder has other files
        path.parent.rmdir()


def _link_latest(folder: Path) -> None:
    """Point `latest` to the folder. Keeps a `latest` that is not a link."""
    link = folder.with_name(LATEST)
    if link.exists() and not link.is_symlink():
        return
    with suppress(FileWriteError):  # the link is a convenience, and not every file system has links
        atomic_symlink(link, folder.name)


def finish(path: Path, *, interrupted: bool) -> Path:
    """Write a test's end to the manifest, then summary and report. Returns the report.

    Raises ResultsError and FileWriteError; the message says how to read what was stored before.
    """
    from harness.reports.html import write_report

    if not path.is_file():
        raise ResultsError(f"{path}: the results file was removed during the test; nothing can be reported")
    try:
        with Results(path) as results:
            state = "interrupted" if interrupted else "aborted" if results.load_aborted else "finished"
        with ResultsWriter(path) as writer:
            writer.set_manifest(state=state, ended_at=RUN_CLOCK.now().isoformat())
        write_summary(path)
        report: Path = write_report(path, path.with_name(REPORT_FILE))
    except (ResultsError, FileWriteError) as problem:
        raise type(problem)(f"{problem}; {readable_before(path)}") from None
    return report


def readable_before(path: Path) -> str:
    """How to read what a test measured before its results could not be written, as a clause."""
    return f"harness report {path} --out FILE shows what was stored before"


def results_file(path: Path) -> Path:
    """The results file that a command line argument means: the file itself, or the one in the folder."""
    return path / RESULTS_FILE if path.is_dir() else path
