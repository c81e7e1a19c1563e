"""The address of a trace, from a template that a test's settings, and so its results file, may have."""

from __future__ import annotations

import re

TRACE_ID = "{trace_id}"
"""Stands for the trace id in a template."""

LONGEST = 2_000
"""Characters of a template."""

# Only what follows the host may vary, and nothing may name a user: readers of the report follow the link.
_TEMPLATE = re.compile(r"https?://[^/?#@\s{}\\\"'<>]+[/?#][\x21-\x7e]*")


def is_trace_url(template: object) -> bool:
    """Whether it is a template of an address that a report may link to. A results file may contain anything."""
    return (
        isinstance(template, str)
        and len(template) <= LONGEST
        and TRACE_ID in template
        and _TEMPLATE.fullmatch(template) is not None
    )


def trace_address(template: str, trace_id: str) -> str:
    """The address of a trace."""
    return template.replace(TRACE_ID, trace_id)
