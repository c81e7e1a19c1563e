"""Runs that are cancelled, by a request or by disconnecting: no sound server is blamed, and a defect is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.config.settings import Settings
from harness.conformance.scenarios.cancel import (
    cancels_without_effect,
    runs_cancelled_in_flight,
)
from harness.conformance.scenarios.runs import long_run
from harness.contract.finding import Verdict
from harness.contract.rules import cancel
from harness.contract.rules.rule import Rule
from harness.reference.settings import demo_config
from harness.suite.scenario import NotApplicable, ScenarioRunner, Undecided
from tests.profiles.resuming_server import LEAVING, PROFILE, serving, settings

ONLY_ASKED = LEAVING.replace('beginning = ""\n', "")
BLIND = ONLY_ASKED[: ONLY_ASKED.index("[outcome]")] + ONLY_ASKED[ONLY_ASKED.index("[rejects]") :]
RULES = (cancel.accepted, cancel.ends, cancel.one_outcome, cancel.last, cancel.replayed, cancel.outcome)
PASS, FAIL, NONE = Verdict.PASS, Verdict.FAIL, Verdict.NOT_APPLICABLE


def judged(
    tmp_path: Path, profile: str, fault: str, rules: tuple[Rule, ...], **budgets: Any
) -> list[Verdict]:
    path = tmp_path / "own.toml"
    path.write_text(profile)
    with serving(*([fault] if fault else [])) as url:
        given = settings(url, str(path), demo_config(url))
        given["budgets"] |= {"cancel": 0.1, **budgets}
        with ScenarioRunner(Settings.model_validate(given)) as runner:
            cancels = runner.outcome(runs_cancelled_in_flight)
    return [rule(cancels).verdict for rule in rules]


@pytest.mark.parametrize(
    ("profile", "fault", "verdicts"),
    [
        (LEAVING, "disconnect-cancels", [NONE, NONE, PASS, PASS, PASS, PASS]),
        (LEAVING, "", [NONE, NONE, FAIL, PASS, Verdict.INCONCLUSIVE, FAIL]),
        (
            ONLY_ASKED,
            "disconnect-cancels",
            [NONE, NONE, Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE, NONE, PASS],
        ),
        (ONLY_ASKED, "", [NONE, NONE, Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE, NONE, FAIL]),
    ],
    ids=["cancels", "runs on", "asked only, cancels", "asked only, runs on"],
)
def test_what_others_find_after_the_time_budget(
    tmp_path: Path, profile: str, fault: str, verdicts: list[Verdict]
) -> None:
    assert judged(tmp_path, profile, fault, RULES) == verdicts


def test_a_run_that_may_end_by_itself_proves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Undecided, match=r"set budgets.cancel \(now 60 s\) lower, or configure a longer"):
        judged(tmp_path, LEAVING, "", (), cancel=60)


def test_what_nothing_shows_is_not_tested(tmp_path: Path) -> None:
    with pytest.raises(NotApplicable, match="no other request shows how a run ends whose reader disconnects"):
        judged(tmp_path, BLIND, "", ())


@pytest.mark.parametrize(
    ("variant", "wrong"),
    [
        ("StopsSoon", set()),
        ("AnswersOnceStopped", set()),
        ("RefusesWhatEnded", set()),
        ("SaysGoodbye", set()),
        ("WritesTheEndLate", set()),
        ("KeepsMoreOfCancelledRuns", {"cancel.replayed"}),
    ],
)
def test_a_server_is_blamed_for_what_it_does_wrong_alone(
    tmp_path: Path, variant: str, wrong: set[str]
) -> None:
    path = tmp_path / "own.toml"
    path.write_text(PROFILE)
    with (
        serving(variant) as url,
        ScenarioRunner(Settings.model_validate(settings(url, str(path), demo_config(url)))) as runner,
    ):
        cancels = runner.outcome(runs_cancelled_in_flight)
        late = runner.outcome(cancels_without_effect)
    found = {rule.requirement.id: rule(cancels) for rule in RULES} | {
        "cancel.harmless": cancel.harmless(late)
    }
    bad = {name: one.detail for name, one in found.items() if one.verdict is not PASS}
    assert set(bad) == wrong, bad


def test_a_cancel_that_ends_the_run_with_success_is_found_whether_the_end_or_the_answer_comes_first(
    tmp_path: Path,
) -> None:
    path = tmp_path / "own.toml"
    path.write_text(PROFILE)
    with (
        serving("EndsCancelledAsDone") as url,
        ScenarioRunner(Settings.model_validate(settings(url, str(path), demo_config(url)))) as runner,
    ):
        cancels = runner.outcome(runs_cancelled_in_flight)
        usual = cancel.UsualRun.of(runner.outcome(long_run))
    found = cancel.one_outcome(cancels, usual)
    assert found.verdict is FAIL
    assert "the cancelled run ended with done" in found.detail
