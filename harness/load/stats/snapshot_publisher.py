"""Publishes the newest live snapshot: to the web page, and to the file of ``--harness-live``."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from harness.atomic_file import atomic_write_text
from harness.errors import FileWriteError
from harness.load.stats.live import LiveStats, SnapshotDocument

logger = logging.getLogger(__name__)


class SnapshotPublisher:
    """Holds the newest snapshot, and writes it to `file` if one is given.

    document: the newest snapshot; it is replaced, never modified. text: the same as JSON.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.document: SnapshotDocument = {}
        self.text = b"{}"
        self._file = file
        self._write_failed = False
        LiveStats(None, self.publish).flush()

    def publish_error(self, problem: str) -> None:
        """Publish why a test could not start. Nothing of an earlier test remains."""
        empty = LiveStats(None, self.publish)
        empty.problem = problem
        empty.flush()

    def publish(self, document: SnapshotDocument) -> None:
        """Replace the snapshot and the file. If the file cannot be written, log it once and go on."""
        text = json.dumps(document, allow_nan=False, separators=(",", ":"))
        self.document, self.text = document, text.encode()
        if self._file is None:
            return
        try:
            atomic_write_text(self._file, text)
        except FileWriteError as problem:
            if not self._write_failed:
                self._write_failed = True
                logger.error("live snapshot: %s", problem)  # noqa: TRY400 - message for the user
