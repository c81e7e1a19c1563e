"""When a user is stopped after its streams have ended, they are still compared."""

from __future__ import annotations

import random
from pathlib import Path

import gevent
import pytest
import tomlkit

from harness.config.sources import load_settings
from harness.config.target import Target
from harness.contract.exchange import Exchange
from harness.load.journeys.builtin import JOURNEYS
from harness.load.journeys.stream_runner import StreamGroup, StreamRunner
from harness.load.stats.collector import Collector
from harness.reference.settings import demo_config
from harness.transport.gevent_client import GeventClient
from tests.forked import embedded_server

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("stopped", [False, True])
def test_a_loss_is_found_whether_or_not_its_user_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    wait = StreamGroup.wait

    def wait_and_be_stopped(self: StreamGroup) -> list[Exchange]:
        exchanges = wait(self)
        if stopped:
            raise gevent.GreenletExit
        return exchanges

    monkeypatch.setattr(StreamGroup, "wait", wait_and_be_stopped)
    with embedded_server(["drops-one-frame-in-37"]) as base_url:
        file = tmp_path / "harness.toml"
        file.write_text(tomlkit.dumps(demo_config(base_url)))
        settings = load_settings(file)
        target, collector = Target(settings), Collector("w")
        runner = StreamRunner(
            GeventClient(target.endpoint, settings.expectations.budgets),
            target,
            collector,
            stopping=lambda: stopped,
            rng=random.Random(3),
            run_lengths={"long": 21},
        )
        if stopped:
            with pytest.raises(gevent.GreenletExit):
                JOURNEYS["join"](runner, None)
        else:
            JOURNEYS["join"](runner, None)
    batch = collector.take()
    assert sum(batch.violations.values()) == 1
    assert [row.outcome for row in batch.rows] == ["done", "abandoned"]
