"""What the command's exit codes mean: the only place that says so."""

HELD = 0
MISSED = 1
"""A violation, a missed objective, or a measurement too poor to tell."""

USAGE = 2
"""Usage, target unreachable, or nothing tested."""

INTERRUPTED = 130
