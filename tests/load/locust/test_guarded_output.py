"""Neither a token nor a control character reaches Locust's log, its page of exceptions, or a greenlet's traceback."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import gevent
import pytest

from harness.contract.evidence.redaction import Redactor
from harness.load.locust.guarded_output import GuardedErrors, GuardedRecords, guard_output

TOKEN = "canary-7f3a9c2e"
SAID = f"it sent \x1b[2J{TOKEN.upper()}\u202e"
SHOWN = f"it sent \\x1b[2J{'#' * len(TOKEN)}\\u202e"


def logged(redact: Redactor) -> tuple[logging.Logger, io.StringIO]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(GuardedRecords(redact))
    logger = logging.getLogger(f"{__name__}.{id(stream)}")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    return logger, stream


def test_records_and_their_tracebacks_are_masked() -> None:
    logger, stream = logged(Redactor([TOKEN]))
    try:
        int(SAID)
    except ValueError:
        logger.exception("a user's task failed: %s", SAID)
    text = stream.getvalue()
    assert text.startswith(f"a user's task failed: {SHOWN}\nTraceback (most recent call last):\n")
    assert text.splitlines()[-1].startswith("ValueError: invalid literal for int()")
    assert TOKEN.upper() not in text
    assert "\x1b" not in text


def test_a_record_keeps_its_lines() -> None:
    logger, stream = logged(Redactor([TOKEN]))
    logger.info("a table\n\tof %d rows", 2)
    assert stream.getvalue() == "a table\n\tof 2 rows\n"


def test_what_gevent_prints_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.StringIO()
    monkeypatch.setattr(sys, "stderr", printed)
    GuardedErrors(Redactor([TOKEN])).write(f"ValueError: {SAID}\n")
    assert printed.getvalue() == f"ValueError: {SHOWN}\n"


@pytest.fixture
def guarded() -> Iterator[list[tuple[str, str, str]]]:
    """What Locust's page of exceptions was told, by a process whose output is guarded."""
    told: list[tuple[str, str, str]] = []
    runner = SimpleNamespace(log_exception=lambda *row: told.append(row))
    handlers = [handler for name in ("", "locust") for handler in logging.getLogger(name).handlers]
    filters = {handler: list(handler.filters) for handler in handlers}
    guard_output(runner, Redactor([TOKEN]))
    runner.log_exception("worker-1", SAID, f"Traceback\n  {SAID}\n")
    yield told
    for handler in handlers:
        handler.filters = filters[handler]
    gevent.get_hub().exception_stream = sys.stderr


def test_the_page_of_exceptions_shows_masked_ones(guarded: list[tuple[str, str, str]]) -> None:
    assert guarded == [("worker-1", SHOWN, f"Traceback\n  {SHOWN}\n")]
    assert isinstance(gevent.get_hub().exception_stream, GuardedErrors)
    assert all(
        any(isinstance(one, GuardedRecords) for one in handler.filters)
        for handler in logging.getLogger().handlers
    )
