"""The doctor's checks of servers, and of proxies in front of them."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web

from harness.config.settings import Settings
from harness.setup.connection import ConnectionAttempt, connect
from harness.setup.finding import SetupFinding
from harness.setup.target_checks import check_clock_skew, check_connection, check_target
from harness.transport.endpoint import Endpoint
from tests.contract.exchanges import scripted
from tests.setup.acme_server import ORGANIZATION, PATH, TOKEN, Acme
from tests.setup.servers import Handler, acme, answering
from tests.transport.servers import Authority, authority  # noqa: F401 - a fixture

NO_HEADERS: Mapping[str, str] = {}
ACTION = {"toolId": "t", "toolName": "T", "aiDescription": "…", "runtimeScope": "test"}


def findings(url: str, **target: Any) -> dict[str, SetupFinding]:
    values = {
        "base_url": url,
        "token": "s3cret",
        "organization_id": "org-1",
        "actions": {"success": ACTION, "long": ACTION},
        **target,
    }
    settings = Settings.model_validate({"target": values, "budgets": {"first_event": 3, "heartbeat": 3}})
    return {finding.name: finding for finding in check_target(settings)}


def not_ok(found: Mapping[str, SetupFinding]) -> dict[str, str]:
    return {name: str(finding.status) for name, finding in found.items() if finding.status != "ok"}


def event(at: int, **payload: Any) -> bytes:
    return f"id: {time.time_ns() // 1_000_000}-{at}\ndata: {json.dumps(payload)}\n\n".encode()


def streaming(
    count: int = 12,
    gap_s: float = 0.1,
    *,
    buffered: bool = False,
    anonymous_status: int = 401,
    headers: Mapping[str, str] = NO_HEADERS,
) -> Handler:
    """A conforming server, or one behind a buffer that releases the stream at its end."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if "Authorization" not in request.headers:
            return web.json_response({"detail": "who are you?"}, status=anonymous_status)
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", **headers})
        await answer.prepare(request)
        body = b""
        for at in range(count):
            frame = event(at, type="token", content=f"{at} ")
            body += frame
            if not buffered:
                await answer.write(frame)
            await asyncio.sleep(gap_s)
        last = event(count, type="done", runId="r")
        await answer.write(body + last if buffered else last)
        await answer.write_eof()
        return answer

    return handle


def test_a_conforming_server() -> None:
    with answering(streaming()) as url:
        found = findings(url)
    assert not_ok(found) == {}
    assert list(found) == [
        *("name", "connection", "tls", "token", "rate limit", "stream", "buffering", "compression"),
        *("clock skew", "keep-alive"),
    ]
    assert found["token"].detail == "works; without it the target answers 401"
    assert found["stream"].detail.endswith("then done")
    assert found["keep-alive"].detail.startswith("yes (HTTP/1.1")
    assert found["clock skew"].detail == "none: the target's Date fits this machine's clock"


def test_the_doctor_sends_two_requests() -> None:
    with acme() as (server, url):
        tools = {"success": {**ACTION, "toolId": "summarise"}, "long": {**ACTION, "toolId": "crawl"}}
        found = findings(url, path=PATH, organization_id=ORGANIZATION, token=TOKEN, actions=tools)
    assert not_ok(found) == {}
    assert (server.requests, server.started) == (2, 1)


def test_a_buffering_proxy() -> None:
    with answering(streaming(buffered=True, headers={"Via": "1.1 proxy-7"})) as url:
        found = findings(url)
    assert not_ok(found)["buffering"] == "fail"
    assert "1.1 proxy-7" in found["buffering"].detail
    assert "X-Accel-Buffering" in found["buffering"].advice


def test_too_short_to_tell() -> None:
    with answering(streaming(count=2, gap_s=0)) as url:
        found = findings(url)
    assert not_ok(found) == {"long action": "warn", "buffering": "warn"}
    assert "undecided" in found["buffering"].detail


def test_a_compressed_stream() -> None:
    with answering(streaming(headers={"Content-Encoding": "gzip"})) as url:
        assert not_ok(findings(url))["compression"] == "fail"


@pytest.mark.parametrize(
    ("date", "detail"),
    [
        (lambda now: format_datetime(now + timedelta(hours=1), usegmt=True), r"\b3[56]\d\d s ahead"),
        (lambda now: format_datetime(now - timedelta(days=1), usegmt=True), r"\b86[345]\d\d s behind"),
        (lambda _: "yesterday", "invalid Date from the target: 'yesterday'"),
    ],
    ids=["ahead", "behind", "unreadable"],
)
def test_clock_skew(date: Callable[[datetime], str], detail: str) -> None:
    async def skewed(request: web.Request) -> web.StreamResponse:
        return await streaming(headers={"Date": date(datetime.now(UTC))})(request)

    with answering(skewed) as url:
        finding = findings(url)["clock skew"]
    assert finding.status == "warn"
    assert re.search(detail, finding.detail), finding.detail


@pytest.mark.parametrize(
    ("date_s", "round_trip_s", "detail"),
    [
        (0, 0.002, "none"),
        (-1, 0.002, "none"),  # of the second before, from a cache
        (1, 0.002, "1 s ahead"),
        (-2, 0.002, "2 s behind"),
        (-4, 0.002, "4 s behind"),
        (1, 0.9, "none"),  # written before the head arrived
        (3, 2.5, "none"),
        (-1, 2.5, "none"),
    ],
)
def test_a_date_of_whole_seconds_is_no_skew(date_s: int, round_trip_s: float, detail: str) -> None:
    at_s = 1_790_000_000
    date = format_datetime(datetime.fromtimestamp(at_s + date_s, UTC), usegmt=True)
    text = f"HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: 0\r\n\r\n"
    answer = scripted((round_trip_s * 1000, text.encode()))
    answer = replace(answer, timing=replace(answer.timing, sent_wall_ns=int((at_s + 0.4) * 1e9)))
    finding = check_clock_skew(answer)
    assert finding.status == "ok"
    assert detail in finding.detail


def test_rate_limits_announced_and_reached() -> None:
    with answering(streaming(headers={"X-RateLimit-Remaining": "3"})) as url:
        announced = findings(url)["rate limit"]
    assert (announced.status, announced.detail) == ("warn", "x-ratelimit-remaining: 3")
    requests = []

    async def limited(request: web.Request) -> web.StreamResponse:
        requests.append(request)
        if len(requests) == 2:
            return web.Response(status=429, headers={"Retry-After": "0"})
        return await streaming()(request)

    with answering(limited) as url:
        found = findings(url)
    assert not_ok(found) == {"rate limit": "warn"}
    assert "429" in found["rate limit"].detail


def test_a_closed_connection() -> None:
    with answering(streaming(headers={"Connection": "close"})) as url:
        finding = findings(url)["keep-alive"]
    assert finding.detail.startswith("no: ")


def test_tokens() -> None:
    async def strict(request: web.Request) -> web.StreamResponse:
        return web.json_response(
            {"detail": f"no such token as {request.headers.get('Authorization')}"}, status=401
        )

    with answering(strict) as url:
        refused, without = findings(url), findings(url, token=None)
    assert not_ok(refused) == not_ok(without) == {"token": "fail"}
    assert "refused with 401 Unauthorized: 'no such token as Bearer ******'" in refused["token"].detail
    assert "not configured" in without["token"].detail
    assert "s3cret" not in str(refused)
    assert list(refused)[-1] == "rate limit"
    with answering(streaming(anonymous_status=200)) as url:
        assert findings(url)["token"].status == "warn"


@pytest.mark.parametrize(
    ("status", "advice"),
    [(403, "organization_id"), (404, "target.path"), (422, "harness init"), (503, "server's log")],
)
def test_a_refused_run_names_the_setting(status: int, advice: str) -> None:
    async def refusing(request: web.Request) -> web.StreamResponse:
        return web.json_response({"message": "no"}, status=status)

    with answering(refusing) as url:
        found = findings(url)
    assert found["run"].status == "fail"
    assert advice in found["run"].advice
    assert f"{status}" in found["run"].detail


def test_not_an_event_stream() -> None:
    async def page(request: web.Request) -> web.StreamResponse:
        return web.Response(text="<p>hello</p>", content_type="text/html")

    with answering(page) as url:
        found = findings(url)
    assert found["stream"].status == "fail"
    assert "text/event-stream" in found["stream"].detail


def test_connection_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        found = findings(f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert not_ok(found) == {"connection": "fail"}
    assert "Connection refused" in found["connection"].detail


def test_an_unknown_host() -> None:
    endpoint = Endpoint("nowhere.invalid", 80)
    unresolved = ConnectionAttempt((), 1.0, None, None, None, None, "Name or service not known")
    (finding,) = check_connection(endpoint, unresolved, verify=True)
    assert (finding.name, finding.status) == ("name", "fail")
    assert finding.detail == "cannot resolve nowhere.invalid: Name or service not known"


def test_certificates(authority: Authority) -> None:  # noqa: F811
    with answering(Acme().handle, authority.context) as url:
        unknown = findings(url)
        trusted = findings(url, ca_file=str(authority.ca_file))
        unverified = findings(url, verify_tls=False)
    assert not_ok(unknown) == {"tls": "fail"}
    assert "self-signed" in unknown["tls"].detail or "unable to get" in unknown["tls"].detail
    assert trusted["tls"].status == "warn"  # valid for two days
    assert trusted["tls"].detail.endswith("the certificate is trusted and expires in 1 day")
    assert unverified["tls"].status == "warn"
    assert "not verified" in unverified["tls"].detail


def test_a_server_without_tls(authority: Authority) -> None:  # noqa: F811
    with acme() as (_, url):
        found = connect(Endpoint.from_url(url.replace("http:", "https:"), ca_file=str(authority.ca_file)))
    assert found.problem is not None
    assert found.problem.startswith("TLS: ")


def test_a_remote_host_without_tls() -> None:
    endpoint = Endpoint("agent.example.com", 80)
    connection = ConnectionAttempt(("192.0.2.1",), 1.0, 2.0, None, None, None, None)
    found = check_connection(endpoint, connection, verify=True)
    assert [str(finding.status) for finding in found] == ["ok", "ok", "warn"]
