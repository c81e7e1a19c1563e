"""What a server does with Last-Event-ID after the end of a run is found out, and checked in flight too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness.config.settings import Settings
from harness.contract.verdicts import CheckOutcome, Verdicts
from harness.reference.settings import demo_config
from tests.conformance.suite import in_advance, parameters_of, verdicts_on
from tests.forked import embedded_server

pytestmark = pytest.mark.slow
AREAS = ("resume", "conflict")
TRIES = 3  # on a busy machine, all resumptions may come after the end of their runs


def undeclared(base_url: str) -> Settings:
    """The settings for the embedded server, without what it does where the documentation leaves a choice."""
    config: dict[str, Any] = demo_config(base_url)
    for name in ("resume_start", "last_event_id", "conflict"):
        del config["target"][name]
    return Settings.model_validate(config)


def violated(verdicts: Verdicts) -> set[str]:
    return {check.requirement.id for check in verdicts.checks if str(check.verdict) == "fail"}


def lost(fault: str) -> set[str]:
    """What is violated by a server that loses events in flight."""
    with embedded_server([fault]) as base_url:
        for _ in range(TRIES):
            found = violated(verdicts_on(undeclared(base_url), areas=AREAS))
            if found:
                break
    return found


def resumptions(fault: str) -> dict[str, CheckOutcome]:
    """The outcomes of resume and conflict, by requirement, on a server that replays wrongly."""
    with embedded_server([fault]) as base_url:
        for _ in range(TRIES):
            verdicts = verdicts_on(undeclared(base_url), areas=AREAS)
            # On a busy machine, what should join may come when the run has ended.
            if violated(verdicts) == {"resume.replay"}:
                break
    return {check.requirement.id: check for check in verdicts.checks}


@pytest.fixture(scope="module")
def of_losses(request: pytest.FixtureRequest) -> Iterator[Callable[[str], set[str]]]:
    cases = parameters_of(request, test_a_loss_in_flight_does_not_pass_as_a_tail)
    with in_advance(lost, [case["fault"] for case in cases]) as found:
        yield found


@pytest.fixture(scope="module")
def of_replays(request: pytest.FixtureRequest) -> Iterator[Callable[[str], dict[str, CheckOutcome]]]:
    cases = parameters_of(request, test_a_wrong_replay_is_not_blamed_on_resumptions)
    with in_advance(resumptions, [case["fault"] for case in cases]) as found:
        yield found


@pytest.mark.parametrize("fault", ["in-flight-gap", "one-in-flight-gap", "off-by-one-gap"])
def test_a_loss_in_flight_does_not_pass_as_a_tail(fault: str, of_losses: Callable[[str], set[str]]) -> None:
    assert of_losses(fault) == {"resume.every-cut"}


@pytest.mark.parametrize("fault", ["replay-drops-last-token", "replay-stamps-new-ids"])
def test_a_wrong_replay_is_not_blamed_on_resumptions(
    fault: str, of_replays: Callable[[str], dict[str, CheckOutcome]]
) -> None:
    checks = of_replays(fault)
    failed = {name for name, check in checks.items() if str(check.verdict) == "fail"}
    assert failed == {"resume.replay"}
    for name in ("resume.every-cut", "resume.first-reader-kept", "conflict.original-untouched"):
        assert str(checks[name].verdict) == "inconclusive", name
    assert "see resume.replay" in checks["resume.every-cut"].detail
