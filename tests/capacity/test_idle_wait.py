from __future__ import annotations

import time

import pytest

from harness.capacity import idle_wait
from harness.capacity.idle_wait import IdleWait
from harness.config.settings import Settings
from tests.load.run_server import config

from .slot_server import slot_server


@pytest.fixture(autouse=True)
def _no_cool_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle_wait, "_PAUSE_S", 0.01)


def settings(base_url: str, run_s: float) -> Settings:
    plain = config(base_url)
    plain["budgets"]["run"] = run_s
    return Settings.model_validate(plain)


def test_an_idle_server_is_at_rest() -> None:
    with slot_server(1, gap_s=0.005) as server:
        waiting = IdleWait(settings(server.base_url, 5), lambda: False)
        waiting.calibrate()
        assert waiting.wait()
        assert server.stats.counts["terminals sent"] >= 3, (
            "two for the baseline; on a busy machine a run may take longer"
        )


def test_a_server_that_goes_on_working_is_not() -> None:
    with slot_server(1, gap_s=0.005) as server:
        waiting = IdleWait(settings(server.base_url, 2), lambda: False)
        waiting.calibrate()
        with server.slots:
            assert not waiting.wait()
        assert waiting.wait()


def test_a_server_that_has_gone_is_not() -> None:
    with slot_server(1, gap_s=0.005) as server:
        waiting = IdleWait(settings(server.base_url, 2), lambda: False)
        waiting.calibrate()
    server.server_close()
    assert not waiting.wait()


def test_an_interruption_ends_the_wait() -> None:
    stop: list[bool] = []
    with slot_server(1, gap_s=0.005) as server:
        waiting = IdleWait(settings(server.base_url, 60), lambda: bool(stop))
        waiting.calibrate()
        stop.append(True)
        began_s = time.monotonic()
        with server.slots:
            assert not waiting.wait()
        assert time.monotonic() - began_s < 20


def test_without_a_baseline_there_is_no_wait() -> None:
    with slot_server(1, gap_s=0.005, fault=lambda _: "truncate") as server:
        waiting = IdleWait(settings(server.base_url, 5), lambda: False)
        waiting.calibrate()
        with server.slots:
            assert waiting.wait()
