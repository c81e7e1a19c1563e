"""Exit codes of the ``harness`` command, the pytest suite and the Locust process."""

PASSED = 0

FAILED = 1
"""A requirement was violated, an objective was missed, or the measurement was inconclusive."""

NOT_TESTED = 2
"""Wrong usage, target unreachable, or nothing tested."""

ABORTED = 3
"""The load was ended by a condition of --abort-on. The results so far are kept."""

INTERRUPTED = 130
"""Ended by SIGINT or SIGTERM. The results so far are kept."""
