"""Links from the report to the traces of its requests."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from harness.results.trace_url import is_trace_url, trace_address

_TRACE_ID = re.compile(r"[0-9a-f]{32}")


def trace_url_of(manifest: Mapping[str, Any]) -> str | None:
    """The setting report.trace_url of a test; None without one. A file from someone else could have any text."""
    value: Any = manifest.get("settings")
    for name in ("report", "trace_url"):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if is_trace_url(value) else None


def trace_link(trace_id: object, trace_url: str | None) -> str:
    """The trace id, as a link if there is an address; empty for what is not a trace id."""
    if not isinstance(trace_id, str) or _TRACE_ID.fullmatch(trace_id) is None:
        return ""
    if trace_url is None:
        return trace_id
    return Markup('<a href="{}" rel="noreferrer">{}</a>').format(trace_address(trace_url, trace_id), trace_id)
