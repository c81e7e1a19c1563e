"""The journey of a run that is cancelled, on the embedded server and its faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.config.settings import Settings
from harness.contract.exchange import Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Verdict
from harness.load.journeys.builtin import JOURNEYS, promised_weights
from harness.load.journeys.cancel import _compare_left, _was_in_flight
from harness.load.stats.stream_metrics import ASKING, REREAD_CANCELLED, REREAD_LEFT
from harness.load.stats.stream_metrics import CUT as CUT_STEP
from harness.profiles import library
from harness.reference.settings import demo_config
from tests.contract.exchanges import cancelled, cut_run, done, reply, run, token
from tests.forked import embedded_server
from tests.load.journeys.rig import JourneyRig
from tests.profiles.resuming_server import LEAVING, PROFILE, serving, settings

TRIES = 3  # a busy machine may send a request too late


def rig_for(base_url: str, second_reader: bool = True, **budgets: Any) -> JourneyRig:
    given = demo_config(base_url)
    given["budgets"] |= budgets
    rig = JourneyRig(Settings.model_validate(given), None)
    rig.runner.random_event_index = lambda *_, **__: 3  # type: ignore[method-assign]
    rig.runner.rng.uniform = lambda _, high: high  # type: ignore[method-assign]
    rig.runner.rng.random = lambda: 0.0 if second_reader else 0.9  # type: ignore[method-assign]
    return rig


@pytest.mark.parametrize("second_reader", [True, False])
def test_a_run_ends_cancelled_for_every_reader(second_reader: bool) -> None:
    with embedded_server() as base_url:
        rig = rig_for(base_url, second_reader)
        reads = [("run", "cancelled", None)] * (2 if second_reader else 1)
        assert sorted(rig.go("cancel")) == sorted(
            [*reads, ("cancelling", "done", None), ("reread", "cancelled", None)]
        )
    measured = [stream for stream in rig.finalized if "cancel_ms" in stream.measured.values]
    assert [stream.step.name for stream in measured] == ["run"]
    assert measured[0].measured.values["cancel_ms"] >= 0
    keys = {
        stream.exchange.request.header("idempotency-key")
        for stream in rig.finalized
        if stream.exchange and stream.step.name != "cancelling"
    }
    assert len(keys) == 1


def by_last(counts: Counter[Any]) -> dict[str, int]:
    """Counts by the last part of their keys, over all seconds."""
    total = Counter[str]()
    for (*_, last), count in counts.items():
        total[last] += count
    return dict(total)


def test_the_request_counts_as_a_stream_and_as_no_run() -> None:
    with embedded_server() as base_url:
        rig = rig_for(base_url, second_reader=False)
        JOURNEYS["cancel"](rig.runner, None)
    batch = rig.collector.take()
    assert by_last(batch.rate_counts) == {"judged": 3}
    assert by_last(batch.ledger) == {"scheduled": 3, "cancelled": 2, "done": 1}
    assert [key[0] for key in batch.histograms if key[0] == "cancel_ms"] == ["cancel_ms"]


@pytest.mark.parametrize(
    ("fault", "requirement"),
    [
        ("cancel-not-found", "cancel.accepted"),
        ("cancel-stops-only-the-action", "cancel.ends"),
        ("cancel-misses-reader", "cancel.ends"),
        ("cancel-ignored", "cancel.one-outcome"),
        ("cancelled-as-error", "cancel.one-outcome"),
        ("cancelled-then-done", "cancel.one-outcome"),
        ("token-after-cancelled", "cancel.last"),
        ("cancelled-replayed-as-done", "cancel.replayed"),
    ],
)
def test_a_fault_is_found_under_load(fault: str, requirement: str) -> None:
    with embedded_server([fault]) as base_url:
        rig = rig_for(base_url, cancel=0.5)
        for _ in range(TRIES):
            JOURNEYS["cancel"](rig.runner, None)
            batch = rig.collector.take()
            if requirement in {name for name, _ in batch.violations}:
                break
    assert requirement in {name for name, _ in batch.violations}
    assert any(row.reason for row in batch.rows)


def test_a_run_that_ends_before_its_cancellation_is_no_failure(tmp_path: Path) -> None:
    with embedded_server() as base_url:
        rig = rig_for(base_url, second_reader=False)
        rig.runner.random_event_index = lambda *_, **__: 1000  # type: ignore[method-assign]
        assert rig.go("cancel") == [("run", "done", None)]


def test_only_an_api_that_cancels_runs_has_the_journey() -> None:
    own = library.with_cancellation(library.load("workflow-actions"), {"path": "/c/${run_id}"}, "test")
    assert promised_weights({"cancel": 1}, own) == {"cancel": 1}
    by_disconnect = library.with_cancellation(library.load("workflow-actions"), {"disconnect": True}, "test")
    weights = {"cancel": 1, "fresh": 1, "resume": 1}
    assert promised_weights(weights, by_disconnect) == {"cancel": 1, "fresh": 1, "resume": 0}
    assert promised_weights({"cancel": 1}, library.load("ag-ui")) == {"cancel": 1}
    assert promised_weights({"cancel": 1, "fresh": 1}, library.load("openai-chat")) == {
        "cancel": 0,
        "fresh": 1,
    }


def test_a_run_whose_id_is_never_known_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its server is at fault, and other rules say so; nothing of the harness has failed."""

    def unknown(*_: object) -> None:
        raise LookupError("no id")

    with embedded_server() as base_url:
        rig = rig_for(base_url, second_reader=False)
        monkeypatch.setattr(rig.runner.target, "cancel", unknown)
        assert rig.go("cancel") == [("run", "done", None)]


CUT, READ, AGAIN, ASKED = (
    ("cut", "abandoned", None),
    ("run", "done", None),
    ("reread", "cancelled", None),
    ("outcome", "done", None),
)
BLIND = LEAVING[: LEAVING.index("[resume]")] + "[cancel]\ndisconnect = true\n"


@contextmanager
def leaving_rig(tmp_path: Path, profile: str, *faults: str, event: int = 3) -> Iterator[JourneyRig]:
    path = tmp_path / "own.toml"
    path.write_text(profile)
    with serving(*faults) as url:
        given = settings(url, str(path), demo_config(url))
        given["budgets"] |= {"cancel": 0.1}
        rig = JourneyRig(Settings.model_validate(given), None)
        rig.runner.random_event_index = lambda *_, **__: event  # type: ignore[method-assign]
        yield rig


def violated(rig: JourneyRig) -> set[str]:
    findings = [finding for stream in rig.finalized for finding in stream.findings]
    return {finding.requirement for finding in findings if finding.verdict is Verdict.FAIL}


ENDED, ANSWER = ("run", "done", None), ("cancelling", "done", None)


def test_a_run_that_was_over_when_it_was_cancelled_is_not_judged_by_its_late_end(tmp_path: Path) -> None:
    """Whether or not a whole run was seen before."""
    with leaving_rig(tmp_path, PROFILE, "WritesTheEndLate", event=19) as rig:
        rig.runner.rng.random = lambda: 0.0  # type: ignore[method-assign]
        rig.runner.rng.uniform = lambda _, high: 1.5 * high  # type: ignore[method-assign]
        for _ in range(TRIES):
            if ANSWER in (before := rig.go("cancel")) and before.count(ENDED) == 3:
                break
        assert sorted(before) == sorted([ENDED, ENDED, ANSWER, ENDED]), "read to compare with"
        assert sorted(rig.go("cancel")) == sorted([ENDED, ENDED, ANSWER])
        assert violated(rig) == set()


def test_a_run_that_ends_with_success_because_it_is_cancelled_is_found(tmp_path: Path) -> None:
    with leaving_rig(tmp_path, PROFILE, "EndsCancelledAsDone") as rig:
        for _ in range(TRIES):
            rig.go("cancel")
            if violated(rig):
                break
    assert violated(rig) == {"cancel.one-outcome"}


def test_a_run_that_ends_when_its_reader_leaves_is_our_cut_and_no_error(tmp_path: Path) -> None:
    with leaving_rig(tmp_path, LEAVING, "disconnect-cancels") as rig:
        assert rig.go("cancel") == [READ], "how long a run takes is not known before"
        assert any(rig.go("cancel") == [CUT, AGAIN, AGAIN, ASKED] for _ in range(TRIES))
        assert violated(rig) == set()


def test_a_run_that_goes_on_without_a_reader_is_found(tmp_path: Path) -> None:
    with leaving_rig(tmp_path, LEAVING) as rig:
        rig.go("cancel")
        for _ in range(TRIES):  # a busy machine replays a run as slowly as it goes on
            first, found, *_ = rig.go("cancel")
            if violated(rig):
                break
        assert first == CUT
        assert (found[:2], found[2] is None) == (("reread", "done"), False)
        assert violated(rig) == {"cancel.one-outcome"}


def test_what_nobody_else_can_see_is_cut_and_not_judged(tmp_path: Path) -> None:
    with leaving_rig(tmp_path, BLIND) as rig:
        assert rig.go("cancel") == [CUT]
        assert violated(rig) == set()


TWICE = {"cancel.one-outcome", "cancel.last"}


@pytest.mark.parametrize(
    ("found", "later", "broken"),
    [
        (run(token(0), cancelled(1)), run(token(0), cancelled(1)), set()),
        (run(token(0), cancelled(1)), run(token(0), token(1), cancelled(2)), {"cancel.replayed"}),
        (run(token(0), cancelled(1), done(2)), run(token(0), cancelled(1), done(2)), TWICE),
    ],
    ids=["sound", "replayed with more", "two outcomes"],
)
def test_who_reads_a_run_whose_reader_left_gets_one_end(
    found: Exchange, later: Exchange, broken: set[str]
) -> None:
    profile = library.with_cancellation(library.load("workflow-actions"), {"disconnect": True}, "test")
    exchanges = [replace(one, profile=profile) for one in (cut_run(2), found, later)]
    handles: list[Any] = [
        SimpleNamespace(stream=SimpleNamespace(step=step), exchange=exchange, checks=[])
        for step, exchange in zip((CUT_STEP, REREAD_LEFT, REREAD_CANCELLED), exchanges, strict=True)
    ]
    _compare_left(handles, Expectations(), None)
    findings = [
        finding for handle in handles for check in handle.checks for finding in check(handle.exchange)
    ]
    assert findings
    assert {finding.requirement for finding in findings if finding.verdict is Verdict.FAIL} == broken


@pytest.mark.parametrize(
    ("read_ms", "took_ms", "replay_ms", "whole_s", "in_flight"),
    [
        (500, 1500, 50, 3.0, True),
        (500, 60, 50, 3.0, False),
        (500, 1500, 1000, 3.0, False),
        (500, 1500, 50, 0.4, False),
        (500, 1500, 50, None, False),
    ],
    ids=[
        "its end came late",
        "it was over",
        "a slow replay",
        "a whole run is shorter",
        "no whole run is known",
    ],
)
def test_only_a_run_that_outlives_the_budget_proves_a_defect(
    read_ms: float, took_ms: float, replay_ms: float, whole_s: float | None, in_flight: bool
) -> None:
    left = cut_run(2)
    found = run(token(0), token(1), done(2), at=(1, 2, took_ms), sent_ms=read_ms)
    later = run(token(0), token(1), done(2), at=(1, 2, replay_ms), sent_ms=read_ms + took_ms)
    assert _was_in_flight(left, found, later, whole_s) is in_flight


@pytest.mark.parametrize(
    ("states", "end", "broken"),
    [
        (["cancelled"], cancelled(1), set()),
        (["done"], cancelled(1), {"cancel.outcome"}),
        (["running"] * 2, done(1), {"cancel.outcome"}),
        (["running", "done"], done(1), {"cancel.outcome"}),
        (["done"], done(1), set()),
    ],
    ids=["sound", "differs from the stream", "still runs", "ran on", "may have ended on its own"],
)
def test_the_answer_how_a_run_ended_whose_reader_left(
    states: list[str], end: bytes, broken: set[str]
) -> None:
    profile = library.parse(LEAVING, "the profile")
    asked = [reply(200, {"state": state}, sent_ms=500.0) for state in states]
    found = run(token(0), end, sent_ms=400.0)
    exchanges = [replace(one, profile=profile) for one in (cut_run(2), found, found, *asked)]
    steps = (CUT_STEP, REREAD_LEFT, REREAD_LEFT, *[ASKING] * len(asked))
    handles: list[Any] = [
        SimpleNamespace(stream=SimpleNamespace(step=step), exchange=exchange, checks=[])
        for step, exchange in zip(steps, exchanges, strict=True)
    ]
    _compare_left(handles, Expectations(), 3.0)
    findings = [
        finding for handle in handles[3:] for check in handle.checks for finding in check(handle.exchange)
    ]
    assert {finding.requirement for finding in findings if finding.verdict is Verdict.FAIL} == broken
