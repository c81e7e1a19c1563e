from __future__ import annotations

import socket

import pytest

from harness.config.settings import Settings
from harness.config.target import Target
from harness.contract.exchange import Exchange
from harness.suite.preflight import PreflightError, preflight
from tests.contract.exchanges import LAST_CHUNK, STREAM, chunk, done, head
from tests.transport.servers import Script, bounded, listening, sending, sending_and_waiting

ACTION = {"toolId": "t", "toolName": "T", "aiDescription": "…", "runtimeScope": "test"}
WHOLE = head(200, {**STREAM, "Transfer-Encoding": "chunked"}) + chunk(done(0)) + LAST_CHUNK


def target(port: int, token: str | None = "s3cret") -> Target:
    values = {"base_url": f"http://127.0.0.1:{port}/", "token": token, "actions": {"success": ACTION}}
    return Target(Settings.model_validate({"target": values, "budgets": {"first_event": 0.3}}))


def asked(script: Script, token: str | None = "s3cret") -> Exchange:
    found: list[Exchange] = []

    async def job() -> None:
        async with listening(script) as server:
            found.append(await preflight(target(server.port, token)))

    bounded(job())
    return found[0]


def answer(status: int) -> bytes:
    return head(status, {"Content-Length": "0"})


def test_a_target_that_runs() -> None:
    one = asked(sending(WHOLE))
    assert (one.label, one.outcome) == ("preflight", "done")
    assert one.request.target == "/agent/workflow-actions"


@pytest.mark.parametrize(
    "script", [sending(answer(500)), sending(answer(404)), sending(b""), sending_and_waiting()]
)
def test_any_other_response_is_left_to_the_suite(script: Script) -> None:
    assert asked(script).label == "preflight"


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token(status: int) -> None:
    with pytest.raises(
        PreflightError, match=f"rejected the token for organization 'org-1' with status {status}"
    ):
        asked(sending(answer(status)))
    with pytest.raises(PreflightError) as caught:
        asked(sending(answer(status)))
    assert "s3cret" not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)
    assert "//agent" not in str(caught.value)


def test_no_token_where_one_is_asked_for() -> None:
    with pytest.raises(
        PreflightError, match="requires a token, and none is configured: set HARNESS_TARGET__TO"
    ):
        asked(sending(answer(401)), token=None)


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    async def job() -> None:
        await preflight(target(port))

    with pytest.raises(PreflightError) as caught:
        bounded(job())
    assert str(caught.value) == (
        f"the target http://127.0.0.1:{port}/agent/workflow-actions cannot be reached: Connection refused"
    )


def test_a_backlog_that_lets_nobody_in() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())

        async def job() -> None:
            await preflight(target(listener.getsockname()[1]))

        with pytest.raises(
            PreflightError, match=r"cannot be reached: could not connect and send within 0\.3 s"
        ):
            bounded(job())
        for filler in fillers:
            filler.close()
