"""A StreamRunner with a server, for tests of journeys."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tomlkit

from harness.config.settings import Settings
from harness.config.sources import load_settings
from harness.config.target import Target
from harness.load.journeys.builtin import JOURNEYS
from harness.load.journeys.stream_runner import StreamRunner
from harness.load.stats.collector import Collector, PendingStream
from harness.reference.settings import demo_config
from harness.transport.gevent_client import GeventClient
from tests.load.run_server import RunServer, config, run_server

#: Those that need no request but the run's own, which is all that a RunServer answers.
OF_RUNS_ALONE = tuple(name for name in JOURNEYS if name != "cancel")


class JourneyRig:
    """A StreamRunner with a server, and the streams that it finalized."""

    def __init__(self, settings: Settings, server: RunServer | None) -> None:
        self.finalized: list[PendingStream] = []
        self.stopping = False
        self.server = server
        self.target = Target(settings)
        self.collector = Collector("w", on_finalized=self.finalized.append)
        self.runner = StreamRunner(
            GeventClient(self.target.endpoint, settings.expectations.budgets, profile=self.target.profile),
            self.target,
            self.collector,
            stopping=lambda: self.stopping,
            rng=random.Random(7),
        )

    def go(self, journey: str, intended_ns: int | None = None) -> list[tuple[str, str, str | None]]:
        """Run the journey. Returns step, outcome and reason of each stream."""
        JOURNEYS[journey](self.runner, intended_ns)
        assert self.collector.open_streams == 0
        return self.results()

    def results(self) -> list[tuple[str, str, str | None]]:
        batch = self.collector.take()
        assert all(row.journey.partition(".")[0] in JOURNEYS for row in batch.rows)
        return [(row.step, row.outcome, row.reason) for row in batch.rows]


def settings_for(base_url: str, tmp_path: Path, **target: Any) -> Settings:
    given = config(base_url)
    given["target"] |= target
    path = tmp_path / "harness.toml"
    path.write_text(tomlkit.dumps(given))
    assert tomllib.loads(path.read_text())
    return load_settings(path)


@contextmanager
def journey_rig(
    tmp_path: Path, *, target: dict[str, Any] | None = None, **behaviour: Any
) -> Iterator[JourneyRig]:
    with run_server(**behaviour) as server:
        yield JourneyRig(settings_for(server.base_url, tmp_path, **(target or {})), server)


def demo_rig(base_url: str, tmp_path: Path, **target: Any) -> JourneyRig:
    """Against the embedded server. target: settings of the target; None removes one."""
    given = demo_config(base_url)
    given["target"] = {
        name: value for name, value in {**given["target"], **target}.items() if value is not None
    }
    path = tmp_path / "harness.toml"
    path.write_text(tomlkit.dumps(given))
    return JourneyRig(load_settings(path), None)
