"""`harness init` ends within its own bound, whatever the server sends."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.cli import main
from harness.contract.expectations import Budgets
from harness.setup import init
from harness.setup.probe import ProbeTimeError, RequestTime
from tests.hostile.server import serving
from tests.setup.acme_server import ORGANIZATION, PATH, TOKEN
from tests.setup.servers import acme

OPTIONS = ("--organization", "o", "--action", 'success={"toolId": "t"}')
SUMMARISE = 'success={"toolId": "summarise", "toolName": "n", "aiDescription": "d", "runtimeScope": "s"}'


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("HARNESS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(init, "_PROBE_BUDGETS", Budgets(first_event_s=1, terminal_close_s=1, run_s=3))


def ran(behaviour: str) -> tuple[Result, float]:
    """What init printed, and the CPU and waiting time that it took."""
    with serving(behaviour) as url:
        began_s = time.monotonic()
        done = CliRunner().invoke(
            main, ["init", "--target", url, *OPTIONS], env={"HARNESS_TARGET__TOKEN": "t0ken"}
        )
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done, time.monotonic() - began_s


@pytest.mark.parametrize(
    "behaviour",
    [
        "bodies: comments without end",
        "bodies: comments without end, slowly",
        "bodies: blank lines without end",
        "bodies: large comments without end",
        "heads: 1xx without end",
        "heads: 1xx without end, slowly",
        "heads: blank lines without end before the head",
        "timing: an event every 0.2 s without end",
        "timing: a comment every 0.2 s without end",
    ],
)
def test_a_stream_without_end_is_tried_once(behaviour: str, monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[str] = []
    run = init.Probe.run

    async def counted(probe: init.Probe, action: str) -> object:
        began.append(action)
        return await run(probe, action)

    monkeypatch.setattr(init.Probe, "run", counted)
    done, took_s = ran(behaviour)
    assert len(began) <= 1
    assert done.exit_code in {0, 2}
    assert "Traceback" not in done.output
    if done.exit_code == 0:
        assert "nothing else was tried" in " ".join(done.stderr.split())
    assert took_s < 60  # a busy machine; the budgets here allow 6 s


def test_what_is_left_is_not_tried_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    async def over(*_: object) -> object:
        raise ProbeTimeError("all requests together took longer than 1 s")

    monkeypatch.setattr(init, "observe", over)
    with acme() as (_, url):
        done = CliRunner().invoke(
            main,
            ["init", "--target", url + PATH, "--organization", ORGANIZATION, "--action", SUMMARISE],
            env={"HARNESS_TARGET__TOKEN": TOKEN},
        )
    assert done.exit_code == 0, done.output
    assert "took longer than 1 s; the rest was not tried" in done.stderr
    assert Path("harness.toml").exists()


def test_only_requests_take_of_the_time() -> None:
    async def requests() -> None:
        limit = RequestTime(0.4)
        async with limit.bound():
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.5)  # a user answers
        async with limit.bound():
            await asyncio.sleep(0.1)
        with pytest.raises(ProbeTimeError, match=r"longer than 0\.4 s"):
            async with limit.bound():
                await asyncio.sleep(60)
        with pytest.raises(TimeoutError, match="mine"):
            async with RequestTime(9).bound():
                raise TimeoutError("mine")

    asyncio.run(requests())


def test_the_bound_is_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    done = CliRunner().invoke(main, ["init", "--target", "http://127.0.0.1:9", *OPTIONS])
    assert "probing http://127.0.0.1:9/agent/workflow-actions (requests take at most 4 min)" in done.stderr
