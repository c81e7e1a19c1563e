"""Finds Chromium and the arguments to start it: no sandbox (root cannot use it), no background traffic."""

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
    """The path of Chromium or Chrome; None if neither is installed."""
    return shutil.which("chromium") or shutil.which("google-chrome")
