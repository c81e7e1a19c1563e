"""Servers that queue or limit requests are not blamed; refusals that are no limit are still found."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from harness.config.settings import Settings
from harness.contract.exchange import Exchange
from harness.contract.finding import Verdict
from harness.contract.requirements import CATALOGUE
from harness.contract.verdicts import Verdicts
from harness.suite import sending, throttle
from harness.suite.throttle import retry_after_s
from tests.conformance.limited_server import Limit, serving_limited
from tests.conformance.raw_server import settings_values
from tests.conformance.suite import fewer_repeats, together, verdicts_on

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("light")]

#: Six runs at once are more than these targets accept or serve.
SIX_AT_ONCE = {"race.close-one", "race.slow-reader"}
#: May be inconclusive anywhere, as in the other corpus: the situation may occur too late on a busy machine.
TIMING = {
    "conflict.in-flight",
    "conflict.original-untouched",
    "resume.joins",
    "resume.first-reader-kept",
    "race.same-body",
    "race.different-bodies",
    "resume.terminal-race",
    "resume.survives-disconnect",
    "headers.incremental",
    "headers.paced",
    "liveness.heartbeat",
}
LATE = {"liveness.first-event", "liveness.heartbeat", "input.too-large", "headers.incremental"}
QUEUES = [Limit(queue=1), Limit(queue=2), Limit(queue_runs=1)]
OVERLOADS = [Limit(every=40), Limit(every=40, retry_after=None)]
#: The suite's waits are divided by this: a 429 asks for a fifth of a second, and all else is in proportion.
FASTER = 5
RATES = [Limit(rate=60 * FASTER, retry_after="date"), Limit(rate=100 * FASTER)]


@pytest.fixture(autouse=True)
def few_cuts() -> Iterator[None]:
    """All simultaneous requests, and less of the others."""
    with fewer_repeats(besides="race.same-body"):
        yield


@pytest.fixture(autouse=True)
def shorter_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry-After has whole seconds; tests/suite/test_throttle.py shows that the suite waits for all of them."""

    def wait_s(response: Exchange) -> float:
        return retry_after_s(response) / FASTER

    for module in (throttle, sending):
        monkeypatch.setattr(module, "retry_after_s", wait_s)
    for name in ("_FIRST_GAP_S", "_LONGEST_GAP_S", "_NO_GAP_S", "_RECHECK_S", "_LONG_S"):
        monkeypatch.setattr(throttle, name, getattr(throttle, name) / FASTER)


def verdicts(limit: Limit, *areas: str) -> Verdicts:
    with serving_limited(limit) as server:
        found = verdicts_on(Settings.model_validate(settings_values(server.base_url)), areas=areas)
        queues = limit.queue is not None or limit.queue_runs is not None
        assert queues or server.rejected > 5, "the limit was not reached"
        return found


def by_verdict(found: Verdicts, verdict: Verdict) -> dict[str, str]:
    return {check.requirement.id: check.detail for check in found.checks if check.verdict is verdict}


def test_only_the_refused_part_of_a_scenario_is_repeated() -> None:
    """Twelve streams, of which the server refuses one at least each time."""
    requirement = "resume.bad-last-event-id"
    with serving_limited(Limit(every=9)) as server:
        settings = Settings.model_validate(settings_values(server.base_url))
        found = verdicts_on(settings, only=[requirement])
        assert server.rejected > 2
    assert by_verdict(found, Verdict.PASS).keys() == {requirement}, by_verdict(found, Verdict.INCONCLUSIVE)


@pytest.mark.parametrize("limits", [QUEUES, OVERLOADS], ids=["queues", "overloads"])
def test_a_limit_is_not_a_defect(limits: list[Limit]) -> None:
    found = together([partial(verdicts, limit) for limit in limits])
    for limit, of_limit in zip(limits, found, strict=True):
        assert (str(limit), by_verdict(of_limit, Verdict.FAIL)) == (str(limit), {})
        assert (str(limit), by_verdict(of_limit, Verdict.ERROR)) == (str(limit), {})
        assert by_verdict(of_limit, Verdict.WARN).keys() <= LATE, limit
        not_decided = by_verdict(of_limit, Verdict.INCONCLUSIVE)
        assert not_decided.keys() <= SIX_AT_ONCE | TIMING, (limit, not_decided)
        for name in SIX_AT_ONCE & not_decided.keys():
            says = "lets others wait" if limits is QUEUES else "--harness-max-concurrency"
            assert says in not_decided[name]
        if limits is QUEUES:
            assert not_decided.keys() >= SIX_AT_ONCE, limit


def test_a_rate_limit_is_not_a_defect() -> None:
    """Which situations it allows depends on the pace of this machine: what it does not allow is inconclusive."""
    for limit, found in zip(RATES, together([partial(verdicts, limit) for limit in RATES]), strict=True):
        assert (str(limit), by_verdict(found, Verdict.FAIL)) == (str(limit), {})
        assert (str(limit), by_verdict(found, Verdict.ERROR)) == (str(limit), {})
        assert len(by_verdict(found, Verdict.PASS)) > 60, limit


def test_a_429_for_certain_requests_only_is_found() -> None:
    broken = {"retries": "resume.replay", "joins": "resume.joins", "conflicts": "conflict.rejected"}
    limits = [Limit(refuses=refuses) for refuses in broken]  # type: ignore[arg-type]
    areas = [CATALOGUE[requirement].area for requirement in broken.values()]
    found = together([partial(verdicts, limit, area) for limit, area in zip(limits, areas, strict=True)])
    for requirement, of_limit in zip(broken.values(), found, strict=True):
        failed = by_verdict(of_limit, Verdict.FAIL)
        assert requirement in failed, by_verdict(of_limit, Verdict.INCONCLUSIVE)
        assert "429" in failed[requirement]


def test_a_429_for_everything_from_a_moment_on_passes_nothing_after_it() -> None:
    not_decided = by_verdict(verdicts(Limit(refuses="everything after 60")), Verdict.INCONCLUSIVE)
    assert len(not_decided) > 30
    assert "status 429" in not_decided["race.same-body"]
    assert "raise its limit" in not_decided["race.same-body"]
