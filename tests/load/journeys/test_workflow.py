"""The journey of a session, on the embedded server and its faults."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import gevent
import pytest

from harness.config.journey_settings import WorkflowSettings
from harness.config.settings import Settings
from harness.config.target import Target
from harness.errors import SettingsError
from harness.load.journeys.builtin import JOURNEYS, first_step, promised_weights
from harness.profiles import library
from harness.reference.settings import demo_config
from tests.forked import embedded_server
from tests.load.journeys.rig import JourneyRig, journey_rig
from tests.load.run_server import config

STEPS = ["echo", "echo", "recall"]


@pytest.fixture(scope="module")
def sound_server() -> Iterator[str]:
    with embedded_server() as base_url:
        yield base_url


def rig_for(base_url: str, **workflow: Any) -> JourneyRig:
    given = {**demo_config(base_url), "journeys": {"workflow": {"steps": STEPS, **workflow}}}
    return JourneyRig(Settings.model_validate(given), None)


def bodies(rig: JourneyRig) -> list[dict[str, Any]]:
    return [stream.exchange.request.json() for stream in rig.finalized if stream.exchange]


def test_each_step_sends_the_outputs_of_the_earlier_ones(sound_server: str) -> None:
    rig = rig_for(sound_server)
    assert rig.go("workflow") == [(f"step{number}", "done", None) for number in (1, 2, 3)]
    first, second, third = bodies(rig)
    assert first["sessionId"] == second["sessionId"] == third["sessionId"]
    outputs = [{"output": stream.exchange.text} for stream in rig.finalized if stream.exchange]
    assert "previousOutputs" not in first
    assert second["previousOutputs"] == outputs[:1]
    assert third["previousOutputs"] == outputs[:2]
    keys = {stream.exchange.request.header("idempotency-key") for stream in rig.finalized if stream.exchange}
    assert len(keys) == 3, "each step is a run of its own"


def test_sessions_are_told_apart(sound_server: str) -> None:
    rig = rig_for(sound_server)
    rig.go("workflow")
    rig.go("workflow")
    assert len({body["sessionId"] for body in bodies(rig)}) == 2
    assert len({body["workflowAction"].get("text") for body in bodies(rig)}) == 5  # recall steps have none


def test_a_step_that_the_harness_begins_late_is_a_lag_and_not_a_latency(sound_server: str) -> None:
    rig = rig_for(sound_server, think_time=0.25)
    rig.runner._wait_for_stop = lambda seconds: gevent.sleep(seconds + 0.5)
    rig.go("workflow", intended_ns=time.monotonic_ns())
    first, *later = [stream.measured.values for stream in rig.finalized]
    assert first["schedule_lag_ms"] < 500
    assert all(values["schedule_lag_ms"] >= 500 for values in later)
    assert all(values["ttft_ms"] < values["schedule_lag_ms"] for values in later)
    rig.finalized.clear()
    rig.go("workflow")
    assert not [stream for stream in rig.finalized if "schedule_lag_ms" in stream.measured.values]


def test_a_session_counts_under_its_last_step(sound_server: str) -> None:
    rig = rig_for(sound_server)
    JOURNEYS["workflow"](rig.runner, None)
    batch = rig.collector.take()
    counted = {key[1:]: count for key, count in batch.rate_counts.items() if key[2].startswith("sessions")}
    assert counted == {("workflow.step3", "sessions"): 1, ("workflow.step3", "sessions_succeeded"): 1}
    by_metric = {metric: journey for metric, journey, _ in batch.histograms if metric == "session_ms"}
    assert by_metric == {"session_ms": "workflow.step3"}
    session_ms = next(part.max for key, part in batch.histograms.items() if key[0] == "session_ms")
    durations_ms = [stream.measured.values["duration_ms"] for stream in rig.finalized]
    assert session_ms == pytest.approx(sum(durations_ms))


def test_the_first_run_is_cold_and_the_others_are_warm(sound_server: str) -> None:
    rig = rig_for(sound_server)
    rig.go("workflow")
    found = [
        {name for name in ("cold_ttft_ms", "warm_ttft_ms") if name in stream.measured.values}
        for stream in rig.finalized
    ]
    assert found == [{"cold_ttft_ms"}, {"warm_ttft_ms"}, {"warm_ttft_ms"}]
    assert all(
        stream.measured.values["ttft_ms"]
        in (stream.measured.values.get("cold_ttft_ms"), stream.measured.values.get("warm_ttft_ms"))
        for stream in rig.finalized
    )


@pytest.mark.parametrize(
    ("fault", "requirement"),
    [
        ("outputs-dropped", "workflow.outputs-passed"),
        ("only-the-last-output", "workflow.all-outputs"),
        ("outputs-reversed", "workflow.all-outputs"),
    ],
)
def test_a_fault_fails_the_step_and_ends_the_session(fault: str, requirement: str) -> None:
    with embedded_server([fault]) as base_url:
        rig = rig_for(base_url, steps=[*STEPS, "echo"])
        JOURNEYS["workflow"](rig.runner, None)
    batch = rig.collector.take()
    assert {name for name, _ in batch.violations} == {requirement}
    assert Counter(row.journey for row in batch.rows) == dict.fromkeys(
        ["workflow.step1", "workflow.step2", "workflow.step3"], 1
    ), "no step follows the one that failed"
    assert [journey for _, journey in batch.failures] == ["workflow.step3"]
    sessions = {key[1:]: count for key, count in batch.rate_counts.items() if key[2].startswith("sessions")}
    assert sessions == {("workflow.step3", "sessions"): 1}
    assert not [key for key in batch.histograms if key[0] == "session_ms"]


def test_outputs_of_another_session_are_found_under_load() -> None:
    with embedded_server(["outputs-of-another-session"]) as base_url:
        rig = rig_for(base_url)
        gevent.joinall([gevent.spawn(JOURNEYS["workflow"], rig.runner, None) for _ in range(4)])
    found = {name for name, _ in rig.collector.take().violations}
    assert "workflow.no-crosstalk" in found


def test_a_step_that_fails_ends_the_session(tmp_path: Path) -> None:
    with journey_rig(tmp_path, fault=lambda run: "truncate" if run == 1 else "") as rig:
        JOURNEYS["workflow"](rig.runner, None)
        batch = rig.collector.take()
    steps = [(row.journey, row.outcome) for row in batch.rows]
    assert steps == [("workflow.step1", "done"), ("workflow.step2", "truncated")]
    sessions = {key[1:] for key in batch.rate_counts if key[2].startswith("sessions")}
    assert sessions == {("workflow.step2", "sessions")}


def test_a_session_that_the_end_of_the_test_interrupts_does_not_count(sound_server: str) -> None:
    rig = rig_for(sound_server, think_time=1000)
    waited: list[float] = []

    def stop(seconds: float) -> None:
        waited.append(seconds)
        rig.stopping = True

    rig.runner._wait_for_stop = stop
    assert rig.go("workflow") == [("step1", "done", None)]
    assert waited == [1000.0]
    JOURNEYS["workflow"](rig.runner, None)
    assert not [key for key in rig.collector.take().rate_counts if key[2].startswith("sessions")]


def test_a_stream_that_the_harness_could_not_check_makes_no_failed_session(
    sound_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = rig_for(sound_server)

    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(rig.runner, "check_stream", broken)
    with pytest.raises(ZeroDivisionError):
        JOURNEYS["workflow"](rig.runner, None)
    assert not rig.collector.take().rate_counts


def test_think_times_have_the_mean_that_is_set() -> None:
    rng = random.Random(4)
    for kind in ("fixed", "exponential", "lognormal"):
        settings = WorkflowSettings.model_validate({"think_time": "2s", "think": kind, "think_sigma": 0.5})
        drawn = [settings.think_s(rng) for _ in range(20_000)]
        assert fmean(drawn) == pytest.approx(2.0, rel=0.05), kind
        assert (len(set(drawn)) == 1) is (kind == "fixed")
        assert min(drawn) >= 0
    assert WorkflowSettings().think_s(rng) == 0.0
    rare = WorkflowSettings.model_validate({"think_time": "1h", "think": "exponential"})
    assert max(rare.think_s(rng) for _ in range(100)) == 3600.0


@pytest.mark.parametrize(
    ("workflow", "says"),
    [
        ({"steps": ["echo"]}, "at least 2 items"),
        ({"steps": ["echo", "failure"]}, "'success', 'long', 'silent', 'quiet', 'echo' or 'recall'"),
        ({"steps": ["echo", "recall"], "think_time": "2h"}, "an hour at most"),
        ({"think": "normal"}, "'fixed', 'exponential' or 'lognormal'"),
    ],
)
def test_wrong_settings(workflow: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Settings.model_validate({**demo_config("http://127.0.0.1:1"), "journeys": {"workflow": workflow}})


def test_a_step_needs_its_action() -> None:
    given = {
        **config("http://127.0.0.1:1"),
        "journeys": {"workflow": {"steps": ["success", "recall"]}},
        "load": {"journeys": {"workflow": 1}},
    }
    with pytest.raises(SettingsError, match=r"steps has 'recall', and \[target\.actions\.recall\] is not"):
        Target(Settings.model_validate(given))
    given["load"] = {"journeys": {"fresh": 1}}
    Target(Settings.model_validate(given))


def test_an_api_without_previous_outputs_has_no_sessions() -> None:
    chat = promised_weights({"fresh": 1, "workflow": 1}, library.load("openai-chat"))
    assert chat == {"fresh": 1, "workflow": 0}
    with pytest.raises(SettingsError, match="workflow needs what openai-chat does not promise"):
        promised_weights({"workflow": 1}, library.load("openai-chat"))


def test_an_arrival_that_is_dropped_counts_under_the_first_step() -> None:
    assert first_step("workflow") == "workflow.step1"
    assert first_step("fresh") == "fresh"


def test_an_entry_has_the_form_that_is_set() -> None:
    given = demo_config("http://127.0.0.1:1")
    given["target"]["previous_output"] = {"step": {"said": ["{text}"]}, "by": "test"}
    request = Target(Settings.model_validate(given)).step("success", "s", ["one"])
    assert request.json()["previousOutputs"] == [{"step": {"said": ["one"]}, "by": "test"}]
