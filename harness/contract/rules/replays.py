"""Whether a plain retry returns its run again, on which many rules rely."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from harness.contract.exchange import Exchange
from harness.contract.finding import Location, RuleResult, inconclusive
from harness.contract.rules.rule import require_terminal
from harness.contract.rules.sequences import first_difference


def require_resume(original: Exchange, retry: Exchange) -> RuleResult | None:
    """None if a plain retry resumes its run; otherwise an inconclusive result for rules that rely on it."""
    if problem := require_terminal(original):
        return problem
    if first_difference(original.sequence, retry.sequence) is None:
        return None
    return inconclusive("a plain retry does not resume its run (see resume.replay)", Location(retry))


def require_replays(*controls: tuple[Exchange, Exchange]) -> RuleResult | None:
    """None if each of `controls`, a run that nothing disturbed and its retry, was replayed; otherwise inconclusive.

    For rules that compare a run with its replay: where that is broken, a difference proves nothing.
    """
    for control in controls:
        if problem := require_resume(*control):
            return problem
    return None


def each_retry(
    runs: Iterable[tuple[Exchange, Exchange, list[Exchange]]],
    judge: Callable[[Exchange, Exchange], RuleResult],
) -> list[RuleResult]:
    """What `judge` says of each run and each of its retries; inconclusive where a plain retry does not resume the run.

    runs: a finished run, the plain retry, and the retries to judge.
    """
    return [
        require_resume(original, control) or judge(original, retry)
        for original, control, retries in runs
        for retry in retries
    ]
