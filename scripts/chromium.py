"""How this project starts Debian's Chromium: without a sandbox, which root has none of, and without its own errands."""

from __future__ import annotations

import shutil

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def executable() -> str | None:
    """Its path, or Chrome's; None where neither is installed."""
    return shutil.which("chromium") or shutil.which("google-chrome")
