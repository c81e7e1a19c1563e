"""Servers that queue or limit requests are not blamed; refusals that are no limit are still found."""

from __future__ import annotations

import pytest

from harness.config.settings import Settings
from harness.contract.finding import Verdict
from harness.contract.verdicts import Verdicts
from tests.conformance.limited_server import Limit, serving_limited
from tests.conformance.raw_server import settings_values
from tests.conformance.suite import verdicts_on

pytestmark = pytest.mark.slow

#: Six connections at once are more than these limits ever accept.
BURST = {"race.close-one", "race.slow-reader"}
#: May be inconclusive anywhere, as in the other corpus: the situation may occur too late on a busy machine.
TIMING = {
    "conflict.in-flight",
    "resume.joins",
    "resume.first-reader-kept",
    "race.same-body",
    "resume.terminal-race",
}
LATE = {"liveness.first-event", "liveness.heartbeat", "input.too-large"}


def verdicts(limit: Limit, *, first_event: float = 20) -> tuple[Verdicts, int, int]:
    """The verdicts, and how many requests the server got and how many it rejected."""
    with serving_limited(limit) as server:
        values = settings_values(server.base_url)
        values["budgets"]["first_event"] = first_event
        found = verdicts_on(Settings.model_validate(values))
        return found, server.requests, server.rejected


def by_verdict(found: Verdicts, verdict: Verdict) -> dict[str, str]:
    return {check.requirement.id: check.detail for check in found.checks if check.verdict is verdict}


@pytest.mark.parametrize(
    ("limit", "undecided"),
    [
        (Limit(queue=1), {"race.slow-reader"}),
        (Limit(queue=2), {"race.slow-reader"}),
        (Limit(queue_runs=1), {"race.slow-reader"}),
        (Limit(rate=20), BURST),
        (Limit(rate=20, retry_after="date"), BURST),
        (Limit(every=40), set()),
        (Limit(every=40, retry_after=None), set()),
    ],
    ids=str,
)
def test_a_limit_is_not_a_defect(limit: Limit, undecided: set[str]) -> None:
    queues = limit.queue is not None or limit.queue_runs is not None
    found, _, rejected = verdicts(limit, first_event=3 if queues else 20)
    assert by_verdict(found, Verdict.FAIL) == {}
    assert by_verdict(found, Verdict.ERROR) == {}
    assert by_verdict(found, Verdict.WARN).keys() <= LATE
    not_decided = by_verdict(found, Verdict.INCONCLUSIVE)
    assert not_decided.keys() <= undecided | TIMING
    for name in undecided & not_decided.keys():
        says = "lets others wait" if queues else "--harness-max-concurrency"
        assert says in not_decided[name]
    assert queues or rejected > 5, "the limit was not reached"


@pytest.mark.parametrize(
    ("refuses", "broken"),
    [("retries", "resume.replay"), ("joins", "resume.joins"), ("conflicts", "conflict.rejected")],
)
def test_a_429_for_certain_requests_only_is_found(refuses: str, broken: str) -> None:
    found, _, rejected = verdicts(Limit(refuses=refuses))  # type: ignore[arg-type]
    failed = by_verdict(found, Verdict.FAIL)
    assert broken in failed, by_verdict(found, Verdict.INCONCLUSIVE)
    assert "429" in failed[broken]
    assert rejected > 0


def test_a_429_for_everything_from_a_moment_on_passes_nothing_after_it() -> None:
    found, requests, _ = verdicts(Limit(refuses="everything after 60"))
    not_decided = by_verdict(found, Verdict.INCONCLUSIVE)
    assert len(not_decided) > 30
    assert "status 429" in not_decided["race.same-body"]
    assert "raise its limit" in not_decided["race.same-body"]
    assert requests < 1500, "it was asked again and again"
