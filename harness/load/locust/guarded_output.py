"""Keeps secrets and control characters out of what Locust prints and shows: log, exceptions on its page, tracebacks.

Streams reach Locust with masked texts. Here is the rest: exceptions of users' own tasks, and of greenlets.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import gevent

from harness.contract.evidence.redaction import Redactor

_LOGGERS = ("", "locust", "locust.stats_logger")  # those with handlers


class GuardedRecords(logging.Filter):
    """Masks secrets in the records of a handler, tracebacks included."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info:
            text = record.exc_text or logging.Formatter().formatException(record.exc_info)
            record.exc_text = self._redact.lines(text)
        record.msg, record.args = self._redact.lines(record.getMessage()), None
        return True


class GuardedErrors:
    """The stream to which gevent prints the exception of a greenlet that nobody waits for."""

    def __init__(self, redact: Redactor) -> None:
        self._redact = redact

    def write(self, text: str) -> None:
        """Print a part of a traceback."""
        sys.stderr.write(self._redact.lines(text))

    def flush(self) -> None:
        """Flush standard error."""
        sys.stderr.flush()


def guard_output(runner: Any, redact: Redactor) -> None:
    """Mask in everything that this process prints from now on. runner: Locust's."""
    for name in _LOGGERS:
        for handler in logging.getLogger(name).handlers:
            handler.addFilter(GuardedRecords(redact))
    gevent.get_hub().exception_stream = GuardedErrors(redact)
    if runner is None:
        return
    log_exception = runner.log_exception

    def log_masked(node: str, message: str, traceback: str) -> None:
        log_exception(node, redact.lines(message), redact.lines(traceback))

    runner.log_exception = log_masked
