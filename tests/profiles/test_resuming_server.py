"""The suite on an API that resumes runs by requests of their own: a sound server passes, and its defects are named."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from harness.config.settings import Settings
from harness.contract.verdicts import Verdicts
from harness.reference.settings import demo_config
from tests.conformance.suite import in_advance, parameters_of, verdicts_on
from tests.profiles.resuming_server import PROFILE, serving, settings

pytestmark = pytest.mark.slow

ONLY_AFTER_AN_ID = PROFILE.replace('beginning = ""\n', "")
"""The same API, if it could not be asked for a run from its first event."""

SOUND = {"whole": PROFILE, "after an id": ONLY_AFTER_AN_ID}
RESUMPTION = {
    "resume.replay", "resume.joins", "resume.first-reader-kept", "resume.survives-disconnect", "resume.terminal-race",
    "resume.every-cut", "resume.last-event-id", "resume.after-terminal", "resume.bad-last-event-id",
    "resume.failure-replayed", "cancel.accepted", "cancel.ends", "cancel.one-outcome", "cancel.last", "cancel.replayed",
    "cancel.outcome", "cancel.harmless",
}  # fmt: skip
AFTER_AN_ID = {
    "resume.survives-disconnect", "resume.every-cut", "resume.last-event-id", "resume.after-terminal",
    "resume.bad-last-event-id", "cancel.accepted", "cancel.ends", "cancel.one-outcome", "cancel.last", "cancel.outcome",
    "cancel.harmless",
}  # fmt: skip
#: What a defect violates first, and in which profile.
DEFECTS = {
    "ForgetsEndedRuns": ("resume.replay", "whole"),
    "late-joiner-hole": ("resume.joins", "whole"),
    "disconnect-cancels": ("resume.survives-disconnect", "whole"),
    "LosesOneAfterId": ("resume.every-cut", "whole"),
    "IgnoresId": ("resume.last-event-id", "whole"),
    "ReportsCancelledAsDone": ("cancel.outcome", "whole"),
}
ALSO_AFTER_AN_ID = {
    "disconnect-cancels": "resume.survives-disconnect",
    "LosesOneAfterId": "resume.every-cut",
    "IgnoresId": "resume.last-event-id",
}

_BUSY = "ended before it could be"  # joined or cancelled: the machine had no time for the request

Case = tuple[str, str]


@pytest.fixture(scope="module")
def judged(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Case], Verdicts]]:
    folder = tmp_path_factory.mktemp("profiles")
    paths = {kind: folder / f"{kind.replace(' ', '-')}.toml" for kind in SOUND}
    for kind, path in paths.items():  # before any suite reads one
        path.write_text(SOUND[kind])

    def judge(case: Case) -> Verdicts:
        """For a fault, up to the requirement that it violates."""
        fault, kind = case
        up_to = DEFECTS[fault][0] if fault else None
        with serving(*([fault] if fault else [])) as url:
            return verdicts_on(
                Settings.model_validate(settings(url, str(paths[kind]), demo_config(url))), up_to
            )

    sound = [("", case["kind"]) for case in parameters_of(request, test_a_sound_server_passes)]
    faulty = [(case["fault"], case["kind"]) for case in parameters_of(request, test_a_defect_is_named)]
    with in_advance(judge, [*sound, *faulty]) as found:
        yield found


@pytest.mark.parametrize(
    ("kind", "tested"), [("whole", RESUMPTION), ("after an id", AFTER_AN_ID)], ids=["whole", "after-an-id"]
)
def test_a_sound_server_passes(kind: str, tested: set[str], judged: Callable[[Case], Verdicts]) -> None:
    verdicts = {check.requirement.id: check for check in judged(("", kind)).checks}
    bad = {
        name: check.detail
        for name, check in verdicts.items()
        if str(check.verdict) in {"fail", "warn", "error"}
    }
    assert bad == {}
    undecided = {name: verdicts[name].detail for name in tested if str(verdicts[name].verdict) != "pass"}
    assert {name: detail for name, detail in undecided.items() if _BUSY not in detail} == {}


@pytest.mark.parametrize(
    ("fault", "kind", "violated"),
    [
        *((fault, kind, violated) for fault, (violated, kind) in DEFECTS.items()),
        *((fault, "after an id", violated) for fault, violated in ALSO_AFTER_AN_ID.items()),
    ],
)
def test_a_defect_is_named(fault: str, kind: str, violated: str, judged: Callable[[Case], Verdicts]) -> None:
    failed = [check.requirement.id for check in judged((fault, kind)).checks if str(check.verdict) == "fail"]
    assert failed[:1] == [violated]
