"""Journeys on an API whose runs need a request before them, and are resumed by requests of their own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.config.settings import Settings
from harness.contract.finding import Verdict
from harness.load.journeys.new_run import NotStartedError
from harness.reference.settings import demo_config
from harness.transport.receiver import Cut, CutHow
from tests.load.journeys.rig import JourneyRig
from tests.profiles.resuming_server import PROFILE, serving, settings


@contextmanager
def own_requests(tmp_path: Path, *faults: str, profile: str = PROFILE) -> Iterator[JourneyRig]:
    path = tmp_path / "own.toml"
    path.write_text(profile)
    with serving(*faults) as url:
        rig = JourneyRig(Settings.model_validate(settings(url, str(path), demo_config(url))), None)
        rig.runner.run_lengths["long"] = 21
        yield rig


def violated(rig: JourneyRig) -> set[str]:
    findings = [finding for stream in rig.finalized for finding in stream.findings]
    return {finding.requirement for finding in findings if finding.verdict is Verdict.FAIL}


def test_every_journey_that_the_api_promises(tmp_path: Path) -> None:
    with own_requests(tmp_path) as rig:
        assert rig.go("fresh") == [("run", "done", None)]
        assert rig.go("replay") == [("original", "done", None), ("retry", "done", None)]
        for _ in range(3):
            first, *_, last = rig.go("resume")
            assert (first, last[1:]) == (("cut", "abandoned", None), ("done", None))
            assert {reason for _, _, reason in rig.go("join")} == {None}
        assert rig.go("abandon") == [("abandoned", "abandoned", None)]
        assert violated(rig) == set()
        targets = {stream.exchange.request.target for stream in rig.finalized if stream.exchange}
    assert "/sessions" not in targets
    resumed = [target for target in targets if target.startswith("/runs/")]
    assert any(target.endswith("/events") for target in resumed)
    assert any("?after=" in target for target in resumed)


def test_the_time_of_the_request_before_a_run_is_not_the_runs(tmp_path: Path) -> None:
    with own_requests(tmp_path, "SlowSessions") as rig:
        rig.go("fresh", intended_ns=time.monotonic_ns())
        (stream,) = rig.finalized
        assert stream.exchange is not None
        timing = stream.exchange.timing
        assert timing.started_ns - timing.intended_ns < 0.3e9, "the session takes 0.4 s"


def test_a_run_that_cannot_begin_is_counted_with_its_reason(tmp_path: Path) -> None:
    with own_requests(tmp_path, "RefusesSessions") as rig:
        for journey in ("fresh", "join"):
            with pytest.raises(NotStartedError, match=r"/sessions was not accepted: status 403"):
                rig.go(journey)
            ((_, outcome, reason),) = rig.results()
            assert (outcome, rig.collector.open_streams) == ("rejected", 0)
            assert reason is not None
        assert violated(rig) == set()


def test_a_loss_at_the_resume_point_is_found(tmp_path: Path) -> None:
    with own_requests(tmp_path, "LosesOneAfterId") as rig:
        rig.runner.rng.seed(1)
        for _ in range(6):
            rig.go("resume")
        assert "resume.every-cut" in violated(rig)


ONLY_AFTER_AN_ID = PROFILE.replace('beginning = ""\n', "")
SNAPSHOT = PROFILE.replace('from = "after"\nbeginning = ""', 'from = "snapshot"').replace(
    "?after=${last_id}", ""
)


@pytest.mark.parametrize(
    ("profile", "steps", "faults"),
    [
        (
            ONLY_AFTER_AN_ID,
            ["cut", "resumed", "reread"],
            {"LosesOneAfterId": "resume.every-cut", "disconnect-cancels": "resume.survives-disconnect"},
        ),
        (SNAPSHOT, ["cut", "resumed"], {"disconnect-cancels": "resume.survives-disconnect"}),
    ],
    ids=["after an id", "with a snapshot"],
)
def test_a_run_that_cannot_be_read_again_is_resumed_once(
    tmp_path: Path, profile: str, steps: list[str], faults: dict[str, str]
) -> None:
    with own_requests(tmp_path, profile=profile) as rig:
        rig.runner.random_cut = lambda *_, **__: Cut(3, CutHow.FIN)  # type: ignore[method-assign]
        found = rig.go("resume")
        assert [step for step, _, _ in found] == steps
        assert {(outcome, reason) for _, outcome, reason in found[1:]} == {("done", None)}
        assert violated(rig) == set()
        rig.runner.random_cut = lambda *_, **__: Cut(1000, CutHow.FIN)  # type: ignore[method-assign]
        assert rig.go("resume") == [("cut", "done", None)]
    for fault, requirement in faults.items():
        with own_requests(tmp_path, fault, profile=profile) as rig:
            rig.runner.random_cut = lambda *_, **__: Cut(3, CutHow.FIN)  # type: ignore[method-assign]
            rig.go("resume")
            assert requirement in violated(rig)
