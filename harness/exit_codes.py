"""Exit codes of the ``harness`` command, of the pytest suite and of the Locust process."""

PASSED = 0

FAILED = 1
"""A violation, a missed objective, or a measurement too poor to decide."""

NOT_TESTED = 2
"""Wrong usage, target unreachable, or nothing tested."""

INTERRUPTED = 130
"""Ended by SIGINT or SIGTERM; what was measured until then is kept."""
