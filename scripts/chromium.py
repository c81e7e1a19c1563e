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

#: The first that is installed. The headless shell draws the same pages at two thirds of the processor time.
PROGRAMS = ("chromium-headless-shell", "chromium", "google-chrome")


def executable() -> str | None:
    """The path of Chromium or Chrome; None if none is installed."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)
