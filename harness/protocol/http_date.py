"""Dates in header fields, in the forms that HTTP allows and those that mail programs accept."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def http_date(value: str) -> datetime | None:
    """The moment, UTC; None if `value` is not a date, or one that no calendar program can represent.

    RFC 9110, 5.6.7.
    """
    try:
        date = parsedate_to_datetime(value)
        # "-0000" has no zone; it means UTC (RFC 5322). A zone can move the first or last day out of the calendar.
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
