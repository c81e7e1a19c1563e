"""A user who is stopped after their streams have ended leaves none of them uncompared."""

from __future__ import annotations

import random
from pathlib import Path

import gevent
import pytest
import tomlkit

from harness.commands.reference_process import ReferenceServer
from harness.config.sources import load_settings
from harness.config.target import Target
from harness.contract.exchange import Exchange
from harness.load.journeys.builtin import JOURNEYS
from harness.load.journeys.stream_runner import StreamGroup, StreamRunner
from harness.load.stats.collector import Collector
from harness.reference.settings import demo_config
from harness.transport.gevent_client import GeventClient

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("stopped", [False, True])
def test_a_loss_is_found_whether_or_not_its_user_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    wait = StreamGroup.wait

    def wait_and_be_stopped(self: StreamGroup) -> list[Exchange]:
        found = wait(self)
        if stopped:
            raise gevent.GreenletExit
        return found

    monkeypatch.setattr(StreamGroup, "wait", wait_and_be_stopped)
    with ReferenceServer(["drops-one-frame-in-37"]) as server:
        file = tmp_path / "harness.toml"
        file.write_text(tomlkit.dumps(demo_config(server.base_url)))
        settings = load_settings(file)
        target, collector = Target(settings), Collector("w")
        traveller = StreamRunner(
            GeventClient(target.endpoint, settings.expectations.budgets),
            target,
            collector,
            stopping=lambda: stopped,
            rng=random.Random(3),
            usual_events={"long": 21},
        )
        if stopped:
            with pytest.raises(gevent.GreenletExit):
                JOURNEYS["join"](traveller, None)
        else:
            JOURNEYS["join"](traveller, None)
    delta = collector.take()
    assert sum(delta.violations.values()) == 1
    assert [row.outcome for row in delta.rows] == ["done", "abandoned"]
