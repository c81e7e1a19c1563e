"""What a server does with Last-Event-ID after the end of a run is found out, and checked in flight too."""

from __future__ import annotations

from typing import Any

import pytest

from harness.config.settings import Settings
from harness.contract.verdicts import Verdicts
from harness.reference.settings import demo_config
from tests.conformance.suite import verdicts_on
from tests.forked import embedded_server

pytestmark = pytest.mark.slow
TRIES = 3  # on a busy machine, all resumptions may come after the end of their runs


def undeclared(base_url: str) -> Settings:
    """The settings for the embedded server, without what it does where the documentation leaves a choice."""
    config: dict[str, Any] = demo_config(base_url)
    for name in ("resume_start", "last_event_id", "conflict"):
        del config["target"][name]
    return Settings.model_validate(config)


def violated(verdicts: Verdicts) -> set[str]:
    return {check.requirement.id for check in verdicts.checks if str(check.verdict) == "fail"}


@pytest.mark.parametrize("fault", ["in-flight-gap", "one-in-flight-gap", "off-by-one-gap"])
def test_a_loss_in_flight_does_not_pass_as_a_tail(fault: str) -> None:
    with embedded_server([fault]) as base_url:
        for _ in range(TRIES):
            found = violated(verdicts_on(undeclared(base_url)))
            if found:
                break
    assert found == {"resume.every-cut"}


@pytest.mark.parametrize("fault", ["replay-drops-last-token", "replay-stamps-new-ids"])
def test_a_wrong_replay_is_not_blamed_on_resumptions(fault: str) -> None:
    with embedded_server([fault]) as base_url:
        for _ in range(TRIES):
            verdicts = verdicts_on(undeclared(base_url))
            resumptions = {
                check.requirement.id: check
                for check in verdicts.checks
                if check.requirement.area in {"resume", "conflict"}
            }
            failed = {name for name, check in resumptions.items() if str(check.verdict) == "fail"}
            # On a busy machine, what should join may come when the run has ended.
            if failed == {"resume.replay"}:
                break
    assert failed == {"resume.replay"}
    for name in ("resume.every-cut", "resume.first-reader-kept", "conflict.original-untouched"):
        assert str(resumptions[name].verdict) == "inconclusive", name
    assert "see resume.replay" in resumptions["resume.every-cut"].detail
