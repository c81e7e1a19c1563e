from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import suppress
from dataclasses import replace

import pytest

from harness.config.settings import Settings
from harness.config.target import CreationError, Target
from harness.contract.exchange import Exchange
from harness.errors import LocalResourceError
from harness.suite.preflight import PreflightError, _first_response, _speaks_plain_http, preflight
from harness.transport import asyncio_client
from harness.transport.endpoint import Endpoint
from tests.contract.exchanges import LAST_CHUNK, STREAM, chunk, done, head, reply
from tests.transport.servers import (
    Authority,
    Connection,
    Script,
    bounded,
    listening,
    sending,
    sending_and_waiting,
)

ACTION = {"toolId": "t", "toolName": "T", "aiDescription": "…", "runtimeScope": "test"}
WHOLE = head(200, {**STREAM, "Transfer-Encoding": "chunked"}) + chunk(done(0)) + LAST_CHUNK


def target(port: int, token: str | None = "s3cret") -> Target:
    values = {
        "base_url": f"http://127.0.0.1:{port}/",
        "token": token,
        "organization_id": "org-1",
        "actions": {"success": ACTION},
    }
    return Target(Settings.model_validate({"target": values, "budgets": {"first_event": 0.3}}))


def asked(script: Script, token: str | None = "s3cret") -> Exchange:
    found: list[Exchange] = []

    async def job() -> None:
        async with listening(script) as server:
            found.append(await preflight(target(server.port, token)))

    bounded(job())
    return found[0]


def test_each_replica_is_asked() -> None:
    async def job() -> None:
        async with listening(sending(WHOLE)) as first, listening(sending(answer(404))) as second:
            urls = [f"http://127.0.0.1:{server.port}" for server in (first, second)]
            plain = target(first.port).settings.model_dump()
            one = Target(Settings.model_validate({"target": {**plain, "replicas": urls}}))
            assert (await preflight(one, urls[0])).outcome == "done"
            with pytest.raises(
                PreflightError, match=rf"the target {urls[1]}/agent/workflow-actions is not an"
            ):
                await preflight(one, urls[1])
            assert (len(first.connections), len(second.connections)) == (1, 1)

    bounded(job())


def answer(status: int) -> bytes:
    return head(status, {"Content-Length": "0"})


def test_a_target_that_runs() -> None:
    one = asked(sending(WHOLE))
    assert (one.label, one.outcome) == ("preflight", "done")
    assert one.request.target == "/agent/workflow-actions"


PAGE = b"<!DOCTYPE html><html><body>Welcome</body></html>"


def page(status: int, media_type: str | None = "text/html; charset=utf-8", body: bytes = PAGE) -> bytes:
    return head(status, {"Content-Type": media_type, "Content-Length": str(len(body))}) + body


@pytest.mark.parametrize(
    "script",
    [
        sending(answer(500)),
        sending(page(500)),
        sending(page(400)),
        sending(answer(200)),  # an empty response of the endpoint
        sending(page(200, None)),
        sending(
            head(200, {"Content-Type": "text/html", "Transfer-Encoding": "chunked"})
            + chunk(done(0))
            + LAST_CHUNK
        ),
        sending(head(200, {"Content-Type": "application/json", "Content-Length": "9"}) + b"{"),  # cut off
        sending(b""),
        sending_and_waiting(),
    ],
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


@pytest.mark.parametrize(
    ("response", "says"),
    [
        (
            page(200),
            "answered with a web page (status 200, 'text/html'): check the target's host, port and path",
        ),
        (
            page(200, "application/json", b"{}"),
            "answered with no event stream (status 200, 'application/json')",
        ),
        (page(200, "text/plain", b"ok"), "answered with no event stream (status 200, 'text/plain')"),
        (answer(404), "is not an endpoint: POST got status 404; check target.path (--path)"),
        (page(404), "is not an endpoint: POST got status 404 and a web page; check target.path (--path)"),
        (answer(405), "is not an endpoint: POST got status 405"),
        (
            head(308, {"Location": "https://x.test/?t=s3cret", "Content-Length": "0"}),
            "redirects (status 308) to 'https",
        ),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not speak HTTP/1.1 on this port"),
    ],
)
def test_what_is_not_the_endpoint(response: bytes, says: str) -> None:
    with pytest.raises(PreflightError) as caught:
        asked(sending(response))
    assert says in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("status", [429, 503])
def test_a_target_that_is_busy_for_a_moment_and_one_that_always_is(status: int) -> None:
    busy = head(status, {"Retry-After": "0", "Content-Length": "0"})
    counts = [0]

    async def twice(connection: Connection) -> None:
        counts[0] += 1
        await connection.send(busy if counts[0] <= 2 else WHOLE)

    assert asked(twice).outcome == "done"
    with pytest.raises(
        PreflightError, match=rf"answered status {status} to several requests \(Retry-After: 0\)"
    ):
        asked(sending(busy))


def https_target(port: int, **values: object) -> Target:
    target = {"base_url": f"https://127.0.0.1:{port}", "token": "t", "actions": {"success": ACTION}}
    target |= {"organization_id": "org-1", **values}
    return Target(Settings.model_validate({"target": target, "budgets": {"first_event": 2}}))


@pytest.mark.parametrize("polite", [True, False])
def test_plain_http_on_a_tls_port(authority: Authority, polite: bool) -> None:
    """Some servers answer 400 in plain HTTP; most close the connection."""

    async def job() -> None:
        async with listening(sending(WHOLE), authority.context) as server:
            await preflight(target(server.port))

    async def both(connection: Connection) -> None:
        await connection.send(answer(400))

    with pytest.raises(PreflightError, match="speaks TLS on this port: use https://"):
        bounded(_behind_a_switch(authority) if polite else job())
    assert asked(both).status == 400


async def _behind_a_switch(authority: Authority) -> None:
    """A port that answers 400 to plain HTTP and passes everything else to a TLS server."""
    async with listening(sending(WHOLE), authority.context) as behind:
        tasks: list[asyncio.Task[None] | None] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.append(asyncio.current_task())
            first = await reader.read(65536)
            if not first.startswith(b"\x16\x03"):
                writer.write(answer(400))
                await writer.drain()
                writer.close()
                return
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", behind.port)
            inner_writer.write(first)
            await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))

        switch = await asyncio.start_server(serve, "127.0.0.1", 0)
        try:
            await preflight(target(switch.sockets[0].getsockname()[1]))
        finally:
            switch.close()
            await asyncio.gather(*filter(None, tasks))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


def test_tls_on_a_plain_port() -> None:
    async def job() -> None:
        async with listening(sending(WHOLE)) as server:
            await preflight(https_target(server.port))

    async def waits(connection: Connection) -> None:
        """Like a server that waits for the end of a request line, whatever it has read."""
        first = await connection.reader.readline()
        if not first.startswith(b"\x16\x03"):
            await connection.send(page(200))
        await connection.wait_for_close()

    async def slow() -> None:
        async with listening(waits, read=False) as server:
            await preflight(https_target(server.port))

    for attempt in (job(), slow()):
        with pytest.raises(PreflightError, match="speaks plain HTTP on this port, not TLS: use http://"):
            bounded(attempt)


def test_a_self_signed_certificate(authority: Authority) -> None:
    async def job(**values: object) -> Exchange:
        async with listening(sending(WHOLE), authority.context) as server:
            return await preflight(https_target(server.port, **values))

    with pytest.raises(
        PreflightError, match=r"certificate not trusted: .*; set target\.ca_file to the certificate"
    ):
        bounded(job())

    async def trusted() -> None:
        assert (await job(ca_file=str(authority.ca_file))).outcome == "done"

    bounded(trusted())


def test_a_fault_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_descriptor(*_: object) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(asyncio_client, "new_socket", no_descriptor)

    async def job() -> None:
        await preflight(target(9))

    with pytest.raises(
        PreflightError, match=r"cannot be reached: no free file descriptor \(EMFILE\).*ulimit -n"
    ):
        bounded(job())


def of_profile(script: Script, profile: str, **variables: str) -> Exchange:
    found: list[Exchange] = []

    async def job() -> None:
        async with listening(script) as server:
            values = {
                "base_url": f"http://127.0.0.1:{server.port}",
                "profile": profile,
                "variables": variables,
            }
            found.append(await preflight(Target(Settings.model_validate({"target": values}))))

    bounded(job())
    return found[0]


def test_other_apis_words_about_a_rejected_first_request_are_told() -> None:
    body = b'{"error": {"message": "no model m"}}'
    with pytest.raises(PreflightError, match=r"status 400.*no model m.*target\.variables\.model"):
        of_profile(sending(page(400, "application/json", body)), "openai-chat", model="m")


def test_a_run_begins_with_what_its_api_wants_before_it() -> None:
    thread = b'{"thread_id": "t1"}'
    stream = head(200, {**STREAM, "Transfer-Encoding": "chunked"}) + LAST_CHUNK

    async def script(connection: Connection) -> None:
        first = connection.head.startswith(b"POST /threads HTTP")
        await connection.send(page(200, "application/json", thread) if first else stream)

    assert of_profile(script, "langgraph", assistant="a").request.target == "/threads/t1/runs/stream"


def test_a_run_that_cannot_begin_is_named() -> None:
    with pytest.raises(PreflightError, match=r"is not what its profile says: .* did not tell thread_id"):
        of_profile(sending(page(200, "application/json", b"{}")), "langgraph", assistant="a")


class Busy:
    """A client whose every answer asks for another 20 s."""

    def __init__(self) -> None:
        self.asked = 0

    async def exchange(self, *_: object) -> Exchange:
        self.asked += 1
        return reply(503, headers={"Retry-After": "20"})


def test_the_preflight_waits_no_longer_than_half_a_minute_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("harness.suite.preflight.asyncio.sleep", sleep)
    client = Busy()
    answer = asyncio.run(_first_response(target(9), None, client))  # type: ignore[arg-type]
    assert (answer.status, client.asked, slept) == (503, 2, [20.0])


def test_the_search_for_plain_http_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may accept the connection and say nothing."""
    monkeypatch.setattr("harness.suite.preflight._PROBE_S", 0.05)

    async def job() -> bool:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            silent = Endpoint("127.0.0.1", listener.getsockname()[1])
            return await asyncio.wait_for(_speaks_plain_http(silent), 20)

    assert not asyncio.run(job())


TOKEN = "s3cret-value-that-is-long"


def message_about(response: bytes, **values: str) -> str:
    """What the preflight says about an answer, to a target with that token."""

    async def job() -> None:
        async with listening(sending(response)) as server:
            settings = target(server.port).settings.model_dump() | {"token": TOKEN, **values}
            await preflight(Target(Settings.model_validate({"target": settings})))

    with pytest.raises(PreflightError) as caught:
        bounded(job())
    return str(caught.value)


def test_a_token_is_masked_before_what_a_server_says_is_cut() -> None:
    """Half of it would not be recognized."""
    for length in range(60, 100, 4):
        location = f"https://x.test/{'a' * length}{TOKEN}"
        message = message_about(head(308, {"Location": location, "Content-Length": "0"}))
        assert "redirects" in message
        assert "s3cret" not in message


def test_a_token_in_the_settings_is_masked_too() -> None:
    message = message_about(answer(401), organization_id=TOKEN)
    assert "rejected the token for organization" in message
    assert TOKEN not in message


def test_a_token_in_the_path_is_masked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    message = message_about(answer(401), path=f"/{TOKEN}/runs")
    assert "/runs" in message
    assert TOKEN not in message

    async def no_run(*_: object) -> Exchange:
        request = replace(reply(404).request, target=f"/{TOKEN}/threads")
        raise CreationError(reply(404, request=request), "did not tell thread_id")

    monkeypatch.setattr("harness.suite.preflight._first_response", no_run)
    message = message_about(answer(404))
    assert "/threads" in message
    assert TOKEN not in message


@pytest.mark.parametrize("is_fault", [True, False])
def test_a_token_in_the_path_is_masked_where_no_run_begins(
    monkeypatch: pytest.MonkeyPatch, is_fault: bool
) -> None:
    async def nothing(*_: object) -> Exchange:
        if is_fault:
            raise LocalResourceError("no free file descriptor")
        request = replace(reply(404).request, target=f"/{TOKEN}/threads")
        raise CreationError(reply(200, request=request), "did not tell thread_id")

    monkeypatch.setattr("harness.suite.preflight._first_response", nothing)
    message = message_about(answer(404), path=f"/{TOKEN}/runs")
    assert ("no free file descriptor" if is_fault else "did not tell thread_id") in message
    assert TOKEN not in message


def test_the_path_is_the_one_that_was_asked() -> None:
    with pytest.raises(
        PreflightError, match=r"^the target http://127.0.0.1:\d+/agents/echo/runs requires a to"
    ):
        of_profile(sending(answer(401)), "agno", agent="echo")
