from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from harness.config.load_settings import LoadSettings
from harness.errors import SettingsError
from harness.load.bounds import limits as module
from harness.load.bounds.limits import (
    LoadLimits,
    limits_here,
    peak_rate,
    refuse_impossible,
    refuse_processes,
    refuse_too_few,
)
from harness.load.bounds.machine import Machine
from tests.cases import all_cases

GB = 1_000_000_000
MACHINE = Machine(cores=2, memory_bytes=20 * GB, open_files=10_000, ports=28_232)


def limits(
    workers: int = 1, *, local: bool = True, cost_s: float | None = 0.001, machine: Machine = MACHINE
) -> LoadLimits:
    """On a machine whose process sends 1,000 streams per second."""
    return LoadLimits(machine, workers, local, lambda: cost_s)


def refused(load: LoadSettings, **options: Any) -> str:
    """The sentence of the refusal; empty without one."""
    options.setdefault("limits", limits(load.processes))
    try:
        refuse_impossible(load, **options)
    except SettingsError as problem:
        return str(problem)
    return ""


@all_cases(
    ("load", "sentence"),
    [
        ({"rate": 2_000}, ""),
        ({"rate": 2_001}, "2,001 arrivals per second are far more than 1 process of this machine can send"),
        ({"rate": 1e15}, "1e+15 arrivals per second"),
        ({"rate": 1.7e308}, "arrivals per second"),
        ({"rate": 4_000, "processes": 2}, ""),
        ({"rate": 4_001, "processes": 2}, "2 processes of this machine can send, about 2,000"),
        ({"rate": 4_001, "processes": 4}, "about 2,000"),  # on two cores
        ({"ramp": "1:2000:60s"}, ""),
        ({"ramp": "2001:1:60s"}, "2,001 arrivals per second in the ramp"),
        ({"steps": "1:30s,5000:30s"}, "5,000 arrivals per second in the steps"),
        ({"spike": "1:5000:5s:5s"}, "5,000 arrivals per second in the spike"),
        ({"users": 9_800}, ""),
        ({"users": 9_801}, "9,801 users are more than 1 process of this machine can hold: at most 9,800"),
        ({"users": 10**9}, "1,000,000,000 users are more than"),
        ({"users": 19_600, "processes": 2}, ""),
        ({"users": 28_233, "processes": 4}, "28,232 ports for one address"),
        ({"spawn_rate": 9_801}, "9,801 users started per second are more than"),
        ({"processes": 8}, ""),
        ({"processes": 9}, "9 processes are more than this machine can use: it has 2 cores and 20.0 GB free"),
        ({"processes": 10**30}, "processes are more than this machine can use"),
        ({}, ""),
    ],
)
def test_what_is_far_beyond_the_machine_is_refused(load: dict[str, Any], sentence: str) -> None:
    refusal = refused(LoadSettings(**load))
    assert bool(refusal) is bool(sentence), refusal
    assert sentence in refusal
    if refusal:  # one sentence, which says how to go past it
        assert "workers on other machines" in refusal
        assert "\n" not in refusal
        assert len(refusal) < 400


def test_the_sentence_says_how_the_limit_was_found_and_how_to_pass_it() -> None:
    refusal = refused(LoadSettings(rate=100_000))
    assert (
        "a short stream takes 1 ms of CPU here, measured now: about 1,000 per second and process" in refusal
    )
    assert "use up to 2 --processes" in refusal
    assert "--processes" not in refused(LoadSettings(rate=100_000, processes=2))


def test_a_trace_is_measured_by_its_busiest_second(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    trace.write_text("\n".join(["0", "0.5", *["7.25"] * 2_000, "8.26"]))
    load = LoadSettings(trace=str(trace))
    assert peak_rate(load) == (2_000, " in the trace, from 7.25 s")
    assert refused(load) == ""
    trace.write_text("\n".join(["0", *["7.25"] * 2_000, "8.24"]))
    assert "2,001 arrivals per second in the trace, from 7.25 s" in refused(LoadSettings(trace=str(trace)))


def test_rates_that_every_machine_can_send_are_not_measured() -> None:
    def never() -> float:
        raise AssertionError("measured without need")

    refuse_impossible(LoadSettings(rate=100), limits=LoadLimits(MACHINE, 1, cost_s=never))
    refuse_impossible(LoadSettings(rate=200, processes=2), limits=LoadLimits(MACHINE, 2, cost_s=never))


def test_where_nothing_can_be_measured_only_the_impossible_is_refused() -> None:
    unknown = limits(cost_s=None)
    assert refused(LoadSettings(rate=20_000), limits=unknown) == ""
    assert "could not be measured" in refused(LoadSettings(rate=100_000), limits=unknown)


def test_limits_that_the_system_does_not_tell() -> None:
    unknown = limits(machine=Machine(1, None, float("inf"), None))
    assert unknown.users == (10**9, "no system has more connections")
    assert refused(LoadSettings(users=1_000_000), limits=unknown) == ""
    assert refused(LoadSettings(), users=10**12, limits=unknown)


def test_little_memory_limits_users_and_processes() -> None:
    small = limits(machine=Machine(8, GB // 4, float("inf"), None))
    assert "4,000" in refused(LoadSettings(users=4_001), limits=small)
    assert refused(LoadSettings(users=4_000), limits=small) == ""
    assert "enough for 2" in refused(LoadSettings(processes=3), limits=small)


def test_workers_on_other_machines_add_up() -> None:
    elsewhere = limits(20, local=False)
    assert refused(LoadSettings(rate=40_000), limits=elsewhere) == ""
    refusal = refused(LoadSettings(rate=40_001), limits=elsewhere)
    assert "20 processes can send, about 20,000" in refusal
    assert "on a machine like this" in refusal
    assert refused(LoadSettings(), users=196_000, limits=elsewhere) == ""
    assert refused(LoadSettings(), users=196_001, limits=elsewhere)


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({"users": 10**9}, "1,000,000,000 users are more"),
        ({"users": 10**400}, "so many users are more"),
        ({"users": -1}, "-1 users are not possible"),
        ({"users": 0}, ""),
        ({"spawn_rate": 1e15}, "1e+15 users started per second"),
        ({"spawn_rate": float("inf")}, "inf users started per second"),
        ({"spawn_rate": float("nan")}, "nan users started per second are not possible"),
        ({"spawn_rate": 0.0}, "0 users started per second are not possible"),
        ({"spawn_rate": 0.1, "users": 5}, ""),
    ],
)
def test_users_of_a_form_or_of_locusts_options(form: dict[str, Any], sentence: str) -> None:
    refusal = refused(LoadSettings(users=1), **form)
    assert bool(refusal) is bool(sentence)
    assert sentence in refusal


def test_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "this_machine", lambda: MACHINE)
    assert limits_here(3).users[0] == min(3 * 9_800, 28_232)
    with pytest.raises(SettingsError, match=re.escape("10,000 processes are more than this machine can use")):
        refuse_processes(10_000)
    refuse_processes(-1)  # Locust's word for all cores


def test_each_worker_needs_a_user_and_a_stream() -> None:
    open_loop = LoadSettings(rate=1, max_in_flight=3)
    refuse_too_few(open_loop, 3, 3)
    refuse_too_few(LoadSettings(users=1), 3, 1)
    with pytest.raises(SettingsError, match="3 is too few for 4 workers; raise it"):
        refuse_too_few(open_loop, 4, 4)
    with pytest.raises(SettingsError, match="there are 3 workers, but users = 2; use --users 3"):
        refuse_too_few(open_loop, 3, 2)
