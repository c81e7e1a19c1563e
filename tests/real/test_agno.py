"""On a server that others wrote, the rules find what is known of it: agno's cancelled runs, and its reused keys.

The whole suite takes 40 s of CPU time on this server, most of it the server's own; these two situations take 2 s.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.config.settings import Settings
from harness.config.sources import load_settings
from harness.conformance.scenarios.cancel import runs_cancelled_in_flight
from harness.conformance.scenarios.conflict import conflict_after_completion
from harness.contract.rules import cancel, conflict
from harness.profiles import library
from harness.suite.scenario import ScenarioRunner
from tests.real.servers import HERE, SERVERS, install, running
from tests.reference.redis_server import redis_executable


def settings_for(base_url: str, profile: Path) -> Settings:
    settings = load_settings(HERE / "targets" / "agno.toml")
    target = {**settings.target.model_dump(exclude_unset=True), "base_url": base_url, "profile": str(profile)}
    return settings.model_copy(update={"target": type(settings.target).model_validate(target)})


@pytest.mark.slow
def test_a_cancelled_run_ends_twice_and_a_reused_key_replays_the_first_run(tmp_path: Path) -> None:
    redis_executable()
    server = SERVERS["agno"]
    install(server)
    profile = tmp_path / "agno.toml"
    key = 'header = "Idempotency-Key"\n'
    source = library.load("agno").source
    assert source.count(key) == 1
    profile.write_text(source.replace(key, f"{key}conflict = 409\n"))
    with running(server) as base_url, ScenarioRunner(settings_for(base_url, profile)) as runner:
        cancels = runner.outcome(runs_cancelled_in_flight)
        first, other, *_ = runner.outcome(conflict_after_completion)
    assert cancel.accepted(cancels).verdict == "pass"
    ended = cancel.one_outcome(cancels)
    assert (ended.verdict, "cancelled, done" in ended.detail) == ("fail", True)
    assert cancel.last(cancels).verdict == "fail"
    reused = conflict.after_completion(first, other)
    assert reused.verdict == "fail", reused.detail
    assert other.sequence == first.sequence
