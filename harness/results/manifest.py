"""The manifest of a results file: what was tested, how, and on which machine. It contains no secrets."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.run_clock import RUN_CLOCK

_NAMED_VERSIONS = ("agent-run-harness", "locust", "gevent", "pytest")


NO_LOAD = "none"
"""The load_state of a test that has no load, in contrast to one whose load left no results."""


def manifest_at_start(settings: Mapping[str, Any], argv: Sequence[str]) -> dict[str, Any]:
    """The manifest when a test starts. settings: plain values, secrets masked. argv: the command line."""
    target = settings.get("target", {})
    return {
        "started_at": RUN_CLOCK.now().isoformat(),
        "command": [Path(argv[0]).name, *argv[1:]],
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in _NAMED_VERSIONS},
        },
        "machine": {
            "os": platform.platform(),
            "cpu": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "host": platform.node(),
        },
        "target": {name: target.get(name) for name in ("base_url", "path", "organization_id")},
        "settings": dict(settings),
    }


def target_address(manifest: Mapping[str, Any]) -> str:
    """The tested URL with its path; empty if the manifest has none."""
    target = manifest.get("target")
    if not isinstance(target, dict):
        return ""
    return f"{target.get('base_url') or ''}{target.get('path') or ''}"
