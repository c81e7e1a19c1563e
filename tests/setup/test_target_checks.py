"""What the doctor says of servers, and of what stands before them."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web

from harness.config.settings import Settings
from harness.setup.connection import Connection, connect
from harness.setup.finding import SetupFinding
from harness.setup.target_checks import connection_rows, target_rows
from harness.transport.endpoint import Endpoint
from tests.setup.acme_server import ORGANIZATION, PATH, TOKEN, Acme
from tests.setup.servers import Handler, acme, answering
from tests.transport.servers import Authority, authority  # noqa: F401 - a fixture

NO_HEADERS: Mapping[str, str] = {}
ACTION = {"toolId": "t", "toolName": "T", "aiDescription": "…", "runtimeScope": "test"}


def rows(url: str, **target: Any) -> dict[str, SetupFinding]:
    values = {"base_url": url, "token": "s3cret", "actions": {"success": ACTION, "long": ACTION}, **target}
    settings = Settings.model_validate({"target": values, "budgets": {"first_event": 3, "heartbeat": 3}})
    return {row.name: row for row in target_rows(settings)}


def standings(found: Mapping[str, SetupFinding]) -> dict[str, str]:
    return {name: str(row.standing) for name, row in found.items() if row.standing != "ok"}


def event(at: int, **payload: Any) -> bytes:
    return f"id: {time.time_ns() // 1_000_000}-{at}\ndata: {json.dumps(payload)}\n\n".encode()


def streaming(
    count: int = 12,
    gap_s: float = 0.1,
    *,
    gathered: bool = False,
    stranger: int = 401,
    headers: Mapping[str, str] = NO_HEADERS,
) -> Handler:
    """A server whose long action is as it should be, or is gathered by something until it is whole."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if "Authorization" not in request.headers:
            return web.json_response({"detail": "who are you?"}, status=stranger)
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", **headers})
        await answer.prepare(request)
        held = b""
        for at in range(count):
            one = event(at, type="token", content=f"{at} ")
            held += one
            if not gathered:
                await answer.write(one)
            await asyncio.sleep(gap_s)
        last = event(count, type="done", runId="r")
        await answer.write(held + last if gathered else last)
        await answer.write_eof()
        return answer

    return handle


def test_a_server_that_is_fine() -> None:
    with answering(streaming()) as url:
        found = rows(url)
    assert standings(found) == {}
    assert list(found) == [
        *("name", "connection", "tls", "token", "rate limit", "stream", "buffering", "compression"),
        *("clock skew", "keep-alive"),
    ]
    assert found["token"].found == "works; without it the target says 401"
    assert found["stream"].found.endswith("then done")
    assert "can be used again" in found["keep-alive"].found
    assert found["clock skew"].found == "the target's clock is within a second of ours"


def test_somebody_elses_server_is_asked_for_two_things() -> None:
    with acme() as (server, url):
        tools = {"success": {**ACTION, "toolId": "summarise"}, "long": {**ACTION, "toolId": "crawl"}}
        found = rows(url, path=PATH, organization_id=ORGANIZATION, token=TOKEN, actions=tools)
    assert standings(found) == {}
    assert (server.requests, server.started) == (2, 1)


def test_a_proxy_that_gathers_the_stream() -> None:
    with answering(streaming(gathered=True, headers={"Via": "1.1 proxy-7"})) as url:
        found = rows(url)
    assert standings(found)["buffering"] == "fail"
    assert "1.1 proxy-7" in found["buffering"].found
    assert "X-Accel-Buffering" in found["buffering"].advice


def test_too_short_to_tell() -> None:
    with answering(streaming(count=2, gap_s=0)) as url:
        found = rows(url)
    assert standings(found) == {"long action": "warn", "buffering": "warn"}
    assert "not decided" in found["buffering"].found


def test_a_compressed_stream() -> None:
    with answering(streaming(headers={"Content-Encoding": "gzip"})) as url:
        assert standings(rows(url))["compression"] == "fail"


@pytest.mark.parametrize(
    ("date", "standing", "said"),
    [
        (format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True), "warn", "ahead by 3"),
        (format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True), "warn", "behind by 86"),
        ("yesterday", "warn", "cannot be read: 'yesterday'"),
    ],
    ids=["ahead", "behind", "unreadable"],  # xdist wants the same names in all its processes
)
def test_a_clock_that_goes_wrong(date: str, standing: str, said: str) -> None:
    with answering(streaming(headers={"Date": date})) as url:
        row = rows(url)["clock skew"]
    assert row.standing == standing
    assert said in row.found


def test_limits_that_are_announced_and_those_that_are_met() -> None:
    with answering(streaming(headers={"X-RateLimit-Remaining": "3"})) as url:
        announced = rows(url)["rate limit"]
    assert (announced.standing, announced.found) == ("warn", "x-ratelimit-remaining: 3")
    asked = []

    async def limited(request: web.Request) -> web.StreamResponse:
        asked.append(1)
        if len(asked) == 2:
            return web.Response(status=429, headers={"Retry-After": "0"})
        return await streaming()(request)

    with answering(limited) as url:
        found = rows(url)
    assert standings(found) == {"rate limit": "warn"}
    assert "429" in found["rate limit"].found


def test_a_connection_that_is_closed_each_time() -> None:
    with answering(streaming(headers={"Connection": "close"})) as url:
        row = rows(url)["keep-alive"]
    assert row.found.startswith("no: ")


def test_tokens() -> None:
    async def strict(request: web.Request) -> web.StreamResponse:
        return web.json_response(
            {"detail": f"no such token as {request.headers.get('Authorization')}"}, status=401
        )

    with answering(strict) as url:
        refused, none = rows(url), rows(url, token=None)
    assert standings(refused) == standings(none) == {"token": "fail"}
    assert "refused with 401 Unauthorized: 'no such token as Bearer ******'" in refused["token"].found
    assert "none is configured" in none["token"].found
    assert "s3cret" not in str(refused)
    assert list(refused)[-1] == "rate limit"
    with answering(streaming(stranger=200)) as url:
        assert rows(url)["token"].standing == "warn"


@pytest.mark.parametrize(
    ("status", "said"),
    [(403, "organization_id"), (404, "target.path"), (422, "harness init"), (503, "server's log")],
)
def test_a_run_that_is_refused_names_the_setting(status: int, said: str) -> None:
    async def refusing(request: web.Request) -> web.StreamResponse:
        return web.json_response({"message": "no"}, status=status)

    with answering(refusing) as url:
        found = rows(url)
    assert found["run"].standing == "fail"
    assert said in found["run"].advice
    assert f"{status}" in found["run"].found


def test_what_is_no_stream() -> None:
    async def page(request: web.Request) -> web.StreamResponse:
        return web.Response(text="<p>hello</p>", content_type="text/html")

    with answering(page) as url:
        found = rows(url)
    assert found["stream"].standing == "fail"
    assert "text/event-stream" in found["stream"].found


def test_nobody_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        found = rows(f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert standings(found) == {"connection": "fail"}
    assert "Connection refused" in found["connection"].found


def test_a_name_that_nobody_has() -> None:
    endpoint = Endpoint("nowhere.invalid", 80)
    nothing = Connection((), 1.0, None, None, None, None, "Name or service not known")
    (row,) = connection_rows(endpoint, nothing, verify=True)
    assert (row.name, row.standing) == ("name", "fail")
    assert "nowhere.invalid cannot be looked up: Name or service not known" in row.found


def test_certificates(authority: Authority) -> None:  # noqa: F811
    with answering(Acme().handle, authority.context) as url:
        unknown = rows(url)
        trusted = rows(url, ca_file=str(authority.ca_file))
        unchecked = rows(url, verify_tls=False)
    assert standings(unknown) == {"tls": "fail"}
    assert "self-signed" in unknown["tls"].found or "unable to get" in unknown["tls"].found
    assert trusted["tls"].standing == "warn"  # it was made for two days
    assert trusted["tls"].found.endswith("the certificate is trusted, for 1 days more")
    assert unchecked["tls"].standing == "warn"
    assert "not checked" in unchecked["tls"].found


def test_what_speaks_no_tls(authority: Authority) -> None:  # noqa: F811
    with acme() as (_, url):
        found = connect(Endpoint.from_url(url.replace("http:", "https:"), ca_file=str(authority.ca_file)))
    assert found.problem is not None
    assert found.problem.startswith("TLS: ")


def test_a_name_that_is_in_the_open_without_tls() -> None:
    endpoint = Endpoint("agent.example.com", 80)
    found = Connection(("192.0.2.1",), 1.0, 2.0, None, None, None, None)
    assert [str(row.standing) for row in connection_rows(endpoint, found, verify=True)] == [
        "ok",
        "ok",
        "warn",
    ]
