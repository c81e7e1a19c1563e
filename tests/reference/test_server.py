"""The correct server, over real sockets."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from itertools import pairwise
from typing import ClassVar

import pytest

from harness.config.settings import Settings
from harness.profiles.workflow_actions.event_id import StreamId
from harness.reference.actions import DEFAULT_TEXT
from harness.reference.api import ReferenceApi
from harness.reference.server import ServerSettings, demo_config, running, serve
from tests.cases import all_cases
from tests.reference.support import (
    PATH,
    TOKEN,
    Client,
    action,
    ask,
    body,
    http_post,
    raw_exchange,
    stalled_connection,
    until,
)

ENDLESS = action("long", tokens=900, intervalMs=50)
LONG = action("long", tokens=12, intervalMs=15)


# a run's stream


def test_a_run_streams_tokens_and_ends_with_done():
    async def scenario(client: Client) -> None:
        before_ms = time.time_ns() // 10**6
        answer = await client.post(body(action("echo", text="one\n\ndata: two ☕"), runId="run-7"))
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert answer.text == "one\n\ndata: two ☕"
        assert answer.events[-1] == {"type": "done", "runId": "run-7"}
        assert answer.raw.endswith(b'data: {"type":"done","runId":"run-7"}\n\n')
        ids = [StreamId.parse(event_id or "") for event_id in answer.ids]
        assert all(before < after for before, after in pairwise(ids))
        assert before_ms <= ids[0].ms <= ids[-1].ms <= time.time_ns() // 10**6
        assert set(answer.types) == {"token", "done"}

    ask(scenario)


@pytest.mark.parametrize(
    ("tool_id", "types"),
    [
        ("fail", ["token", "error"]),
        ("cancel", ["token", "cancelled"]),
        ("silent", ["done"]),
    ],
)
def test_other_ends_and_their_replay(tool_id, types):
    async def scenario(client: Client) -> None:
        first = await client.post(body(action(tool_id), runId="r"), key="k")
        again = await client.post(body(action(tool_id), runId="r"), key="k")
        assert first.types == types
        assert first.events[-1]["runId"] == "r"
        assert again.raw == first.raw
        assert ("code" in first.events[-1]) == ("message" in first.events[-1]) == (tool_id == "fail")

    ask(scenario)


def test_events_are_sent_immediately():
    async def scenario(client: Client) -> None:
        answer = await client.post(body(ENDLESS), cut_after=1)
        assert answer.types[0] == "token"
        assert client.server.api.registry.running, "the first event arrived only with the last"

    ask(scenario)


def test_heartbeats_during_silence():
    async def scenario(client: Client) -> None:
        start = time.monotonic()
        answer = await client.post(body(action("quiet", pauseMs=230)))
        took_s = time.monotonic() - start
        assert answer.types == ["token", "token", "done"]
        assert 1 <= answer.raw.count(b": heartbeat\n\n") <= took_s / 0.05

    ask(scenario, heartbeat_s=0.05)


def test_a_slow_target_sends_heartbeats_before_the_first_token():
    async def scenario(client: Client) -> None:
        start = time.monotonic()
        answer = await client.post()
        assert time.monotonic() - start >= 0.2
        assert answer.raw.startswith(b": heartbeat\n\n")
        assert answer.text == DEFAULT_TEXT

    ask(scenario, first_token_delay_s=0.2, heartbeat_s=0.05)


def test_the_other_route_streams_the_same_frames():
    async def scenario(client: Client) -> None:
        first = await client.post(key="k", path="/agent/runs")
        assert first.text == DEFAULT_TEXT
        assert (await client.post(key="k")).raw == first.raw

    ask(scenario)


# resume


def test_replay_join_and_every_cut_return_the_same_sequence():
    async def scenario(client: Client) -> None:
        joiner = asyncio.create_task(client.post(body(LONG), key="k"))
        await asyncio.sleep(0.05)
        second = await client.post(body(LONG), key="k")
        whole = await joiner
        assert len(whole.events) == 13
        assert second.sequence == whole.sequence
        assert (await client.post(body(LONG), key="k")).raw == whole.raw
        for seen, event_id in enumerate(whole.ids, start=1):
            rest = await client.post(body(LONG), key="k", Last_Event_ID=event_id or "")
            assert rest.sequence == whole.sequence[seen:]
            assert rest.complete

    ask(scenario)


@pytest.mark.parametrize("declared", [True, False])
def test_a_cut_in_flight_loses_nothing(declared):
    async def scenario(client: Client) -> None:
        for cut in (1, 4, 9):
            key = f"k-{cut}"
            before = await client.post(body(LONG), key=key, cut_after=cut)
            last = {"Last_Event_ID": before.ids[-1] or ""} if declared else {}
            after = await client.post(body(LONG), key=key, **last)
            whole = await client.post(body(LONG), key=key)
            assert len(before.sequence) >= cut
            assert whole.types == ["token"] * 12 + ["done"]
            assert (before.sequence if declared else []) + after.sequence == whole.sequence

    ask(scenario)


@pytest.mark.parametrize("last_id", ["1-0", "99999999999999-0", "1795505440450-7"])
def test_a_foreign_or_future_last_event_id_replays_from_the_start(last_id):
    async def scenario(client: Client) -> None:
        fresh = await client.post(key="k", Last_Event_ID=last_id)
        assert fresh.text == DEFAULT_TEXT
        assert (await client.post(key="k", Last_Event_ID=last_id)).raw == fresh.raw

    ask(scenario)


@pytest.mark.parametrize(
    "last_id", ["", "x", "1", "1-", "-1-2", "1-0 or 1=1", "9" * 301 + "-0", "\u0661-\u0662"]
)
def test_a_malformed_last_event_id_is_refused_and_starts_nothing(last_id):
    async def scenario(client: Client) -> None:
        refused = await client.post(key="k", Last_Event_ID=last_id)
        assert (refused.status, refused.problem["code"]) == (400, "bad_last_event_id")
        assert len(client.server.api.registry) == 0

    ask(scenario)


@pytest.mark.parametrize("how", ["fin", "rst", "half-close", "before the head"])
def test_a_lost_connection_never_ends_the_run(how):
    async def scenario(client: Client) -> None:
        server = client.server
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(http_post(body(LONG, runId="r"), key="k"))
        if how == "before the head":
            await writer.drain()
            writer.transport.abort()
        else:
            await reader.readuntil(b"data: ")
            if how == "half-close":
                writer.write_eof()
                await reader.read()
            elif how == "rst":
                linger = b"\x01\0\0\0\0\0\0\0"
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()
        await asyncio.sleep(0.06)
        whole = await client.post(body(LONG, runId="r"), key="k")
        assert whole.types == ["token"] * 12 + ["done"]
        assert len(server.api.registry) == 1

    ask(scenario)


def test_a_stalled_reader_and_a_closed_one_leave_the_others_whole(monkeypatch):
    class SmallBuffers(ReferenceApi):
        """Small send buffers: a few hundred kilobytes stall a connection."""

        stalled: ClassVar[list[str]] = []

        async def stream(self, http, reader):
            http.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            return await super().stream(http, reader)

        async def write(self, response, chunk):
            self.stalled.append(name := str(id(response)))
            try:
                await super().write(response, chunk)
            finally:
                self.stalled.remove(name)

    async def scenario(client: Client) -> None:
        content = body(action("echo", text="x" * 900_000 + " end"))
        async with stalled_connection(client.server, content, key="k"):
            await until(lambda: SmallBuffers.stalled)
            closed = client.post(body(LONG), key="long", cut_after=1)
            others = [client.post(body(LONG), key="long") for _ in range(3)]
            answers = await asyncio.gather(client.post(content, key="k"), closed, *others)
            assert len(SmallBuffers.stalled) == 1, "no connection was stalled"
        assert answers[0].text == "x" * 900_000 + " end"
        assert [answer.types for answer in answers[2:]] == [["token"] * 12 + ["done"]] * 3

    monkeypatch.setattr("harness.reference.server.faulty_api", lambda *_: SmallBuffers)
    ask(scenario)


# keys and run ids


@pytest.mark.parametrize("key", ["4d0a2b6e-0000-4000-8000-000000000000", '"quoted string"', "k", "~" * 255])
def test_keys_are_opaque(key):
    async def scenario(client: Client) -> None:
        first = await client.post(key=key)
        assert first.status == 200
        assert (await client.post(key=key)).raw == first.raw
        assert (await client.post(key=key[:-1] + "!")).raw != first.raw

    ask(scenario)


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "clé", "x" * 9000])
def test_bad_keys_are_refused(key):
    async def scenario(client: Client) -> None:
        refused = await client.post(key=key)
        assert refused.status == 400
        assert refused.problem["code"] in {"bad_idempotency_key", "bad_http"}
        assert len(client.server.api.registry) == 0

    ask(scenario)


@pytest.mark.parametrize("key", ["</script><b>", "'; DROP TABLE runs;--", "../../etc/passwd", "%0d%0aX: y"])
def test_a_key_is_never_echoed(key):
    async def scenario(client: Client) -> None:
        for content in (body(), body(), body(sessionId="other")):
            answer = await client.post(content, key=key)
            assert key.encode() not in answer.raw
            assert key not in str(answer.headers)
        assert answer.status == 409

    ask(scenario)


def test_equal_bodies_without_key_and_run_id_are_independent_runs():
    async def scenario(client: Client) -> None:
        first, second = await client.post(), await client.post()
        assert first.events[-1]["runId"] != second.events[-1]["runId"]
        assert len(client.server.api.registry) == 2

    ask(scenario)


def test_the_key_takes_precedence_over_the_run_id():
    async def scenario(client: Client) -> None:
        with_id = body(runId="mine")
        keyed = await client.post(with_id, key="k1")
        other_key = await client.post(with_id, key="k2")
        keyless = await client.post(with_id)
        assert {answer.events[-1]["runId"] for answer in (keyed, other_key, keyless)} == {"mine"}
        assert len({answer.raw for answer in (keyed, other_key, keyless)}) == 3
        assert (await client.post(with_id)).raw == keyless.raw
        assert (await client.post(with_id, key="k1")).raw == keyed.raw
        assert (await client.post(body(runId="else"), key="k1")).status == 409
        assert (await client.post(body(runId="mine", source="api"))).status == 409

    ask(scenario)


# conflicts


@pytest.mark.parametrize("in_flight", [True, False])
def test_a_different_body_is_a_conflict(in_flight):
    async def scenario(client: Client) -> None:
        content = body(LONG, sessionId="secret-session", previousOutputs=[{"a": {"b": [1, 2]}}])
        first = asyncio.create_task(client.post(content, key="k"))
        await (asyncio.sleep(0.03) if in_flight else asyncio.wait([first]))
        changes = [
            {"sessionId": "t"},
            {"previousOutputs": [{"a": {"b": [1, 3]}}]},
            {"previousOutputs": [{"a": {"b": [2, 1]}}]},
            {"workflowAction": {**LONG, "extra": None}},
            {"source": "api"},
            {"unknown": 1},
        ]
        for change in changes:
            conflict = await client.post({**content, **change}, key="k")
            assert conflict.status == 409
            assert conflict.headers["Content-Type"] == "text/event-stream"
            assert conflict.types == ["error"]
            assert conflict.events[0]["status"] == 409
            assert StreamId.parse(conflict.ids[0] or "")
            assert b"secret-session" not in conflict.raw
        assert len(client.server.api.registry) == 1
        assert (await first).types == ["token"] * 12 + ["done"]
        reordered = dict(reversed(content.items()))
        assert (await client.post(json.dumps(reordered, indent=3).encode(), key="k")).raw == (await first).raw

    ask(scenario)


def test_simultaneous_posts_start_one_run():
    async def scenario(client: Client) -> None:
        same = await asyncio.gather(*(client.post(body(LONG), key="same") for _ in range(20)))
        assert len({tuple(answer.sequence) for answer in same}) == 1
        assert same[0].types[-1] == "done"
        race = (client.post(body(LONG, sessionId=str(n)), key="different") for n in range(20))
        assert sorted(answer.status for answer in await asyncio.gather(*race)) == [200] + [409] * 19
        assert len(client.server.api.registry) == 2

    ask(scenario)


def test_concurrent_runs_do_not_mix():
    async def scenario(client: Client) -> None:
        texts = [" ".join([f"run-{number}"] * 30) for number in range(20)]
        answers = await asyncio.gather(*(client.post(body(action("echo", text=text))) for text in texts))
        assert [answer.text for answer in answers] == texts

    ask(scenario)


# authentication


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (None, "token_missing"),
        ("", "token_missing"),
        ("Bearer", "token_missing"),
        ("Basic ZGVtbw==", "token_missing"),
        ("Bearer wrong", "token_invalid"),
        ("Bearer demo-token demo-token", "token_invalid"),
        ("Bearer DEMO-TOKEN", "token_invalid"),
        ("demo-token", "token_missing"),
    ],
)
def test_invalid_authorization(authorization, code):
    async def scenario(client: Client) -> None:
        await client.post(key="known")
        headers = {} if authorization is None else {"Authorization": authorization}
        path = f"{PATH}?access_token={TOKEN}&token={TOKEN}"
        answers = [
            await client.post(content, key=key, token=None, path=path, **headers)
            for content, key in ((body(), "known"), (body(source="api"), "known"), (b"{", "unknown"))
        ]
        for refused in answers:
            assert (refused.status, refused.problem["code"]) == (401, code)
            assert refused.headers["WWW-Authenticate"].startswith("Bearer")
            assert refused.headers["X-Content-Type-Options"] == "nosniff"
            assert b"demo" not in refused.raw.lower()
        assert len({refused.raw for refused in answers}) == 1
        assert len(client.server.api.registry) == 1

    ask(scenario)


def test_case_of_the_scheme_and_repeated_headers():
    async def scenario(client: Client) -> None:
        assert (await client.post(token=None, Authorization=f"bearer {TOKEN}")).status == 200
        doubled = http_post(body(), extra=f"Authorization: Bearer {TOKEN}\r\nConnection: close\r\n")
        assert (await raw_exchange(client.server, doubled)).startswith(b"HTTP/1.1 401 ")

    ask(scenario)


def test_the_organization_is_checked_before_the_key():
    async def scenario(client: Client) -> None:
        await client.post(key="k")
        for key in ("k", "unknown", ""):
            refused = await client.post(body(organizationId="org-2"), key=key)
            assert (refused.status, refused.problem["code"]) == (403, "organization_mismatch")
        assert len(client.server.api.registry) == 1

    ask(scenario)


def test_keys_and_run_ids_belong_to_an_organization():
    async def scenario(client: Client) -> None:
        mine = await client.post(body(runId="r"), key="k")
        theirs = await client.post(body(runId="r", organizationId="org-2"), key="k", token="demo-token-2")
        assert theirs.status == 200
        assert theirs.raw != mine.raw
        keyless = await client.post(body(runId="r", organizationId="org-2"), token="demo-token-2")
        assert keyless.status == 200
        assert len(client.server.api.registry) == 3

    ask(scenario)


# request bodies


@all_cases(
    ("content", "status", "code"),
    [
        (b"{", 400, "not_json"),
        (b"", 400, "not_json"),
        (b"null", 400, "not_object"),
        (b"[]", 400, "not_object"),
        (b'"text"', 400, "not_object"),
        (b"\xff\xfe{}", 400, "not_unicode"),
        (b"\xef\xbb\xbf{}", 400, "not_json"),
        (json.dumps(body()).encode("utf-16"), 400, "not_unicode"),
        (b"[" * 200_000, 400, "too_deep"),
        (b'{"a":' * 100_000, 400, "too_deep"),
        (b'{"a":NaN}', 400, "not_json"),
        (b'{"a":1e400}', 400, "not_json"),
        (b'{"a":-1e400}', 400, "not_json"),
        (b'{"a":' + b"9" * 5000 + b"}", 400, "not_json"),
        (rb'{"a":"\ud800"}', 400, "not_unicode"),
        (rb'{"\udfff":1}', 400, "not_unicode"),
        (b"x" * (2**20 + 1), 413, "too_large"),
    ],
)
def test_hostile_bodies_are_refused(content, status, code):
    async def scenario(client: Client) -> None:
        refused = await client.post(content)
        assert (refused.status, refused.problem["code"]) == (status, code)
        assert len(client.server.api.registry) == 0

    ask(scenario)


@pytest.mark.parametrize("nesting", [50, 300, 900])
def test_deep_nesting(nesting):
    async def scenario(client: Client) -> None:
        deep = ("[" * nesting + "]" * nesting).encode()
        for place in (b'"extra":', b'"previousOutputs":[{"a":', b'"userTimezone":'):
            end = b"}]" if b"[{" in place else b""
            content = json.dumps(body()).encode().removesuffix(b"}") + b"," + place + deep + end + b"}"
            assert (await client.post(content)).status in {200, 400, 422}

    ask(scenario)


def test_unusual_valid_bodies():
    async def scenario(client: Client) -> None:
        content = body(
            action("echo", text="\0\u2028\U0001f600"),
            sessionId="\0",
            runId="a\nb\0",
            huge=10**300,
            source="other",
            userTimezone="America/New_York",
            fileThreadId="",
            previousOutputs=[{"x": None}, {}],
        )
        answer = await client.post(content, key="k")
        assert answer.text == "\0\u2028\U0001f600"
        assert answer.events[-1]["runId"] == "a\nb\0"

    ask(scenario)


@all_cases(
    ("fields", "name"),
    [
        ({"organizationId": ...}, "organizationId"),
        ({"sessionId": ...}, "sessionId"),
        ({"workflowAction": ...}, "workflowAction"),
        *[
            ({"workflowAction": {k: v for k, v in action().items() if k != name}}, f"workflowAction.{name}")
            for name in ("toolId", "toolName", "aiDescription", "runtimeScope")
        ],
        ({"organizationId": 1}, "organizationId"),
        ({"sessionId": None}, "sessionId"),
        ({"sessionId": True}, "sessionId"),
        ({"workflowAction": []}, "workflowAction"),
        ({"workflowAction": action() | {"toolId": 1}}, "workflowAction.toolId"),
        ({"fileThreadId": 1}, "fileThreadId"),
        ({"fileThreadId": None}, "fileThreadId"),
        ({"previousOutputs": {}}, "previousOutputs"),
        ({"previousOutputs": [1]}, "previousOutputs.0"),
        ({"userTimezone": 5}, "userTimezone"),
        ({"userTimezone": "Mars/Olympus"}, "userTimezone"),
        ({"userTimezone": "../../etc/passwd"}, "userTimezone"),
        ({"userTimezone": ""}, "userTimezone"),
        ({"runId": 5}, "runId"),
        ({"source": "robot"}, "source"),
        ({"source": ["api"]}, "source"),
        ({"workflowAction": action("nope")}, "workflowAction.toolId"),
        ({"workflowAction": action("long", tokens="x")}, "workflowAction.tokens"),
    ],
)
def test_an_invalid_field_is_named(fields, name):
    async def scenario(client: Client) -> None:
        refused = await client.post(body(**fields))
        assert (refused.status, refused.problem["code"]) == (422, "invalid_request")
        assert refused.problem["detail"].startswith(f"{name}: ")
        assert len(client.server.api.registry) == 0

    ask(scenario)


@pytest.mark.parametrize(
    ("media_type", "status"),
    [
        ("application/json", 200),
        ("Application/JSON; charset=UTF-8", 200),
        ("application/json; charset=latin-1", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("", 415),
    ],
)
def test_media_types(media_type, status):
    async def scenario(client: Client) -> None:
        answer = await client.post(Content_Type=media_type)
        assert answer.status == status
        assert status == 200 or answer.problem["code"] == "media_type"

    ask(scenario)


@all_cases("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
@all_cases("path", [PATH, "/agent/runs", "/agent/runs/x/cancel"])
def test_other_methods_get_405_with_allow(method, path):
    async def scenario(client: Client) -> None:
        answer = await client.post(method=method, path=path)
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        assert answer.headers["Cache-Control"] == "no-store"
        assert method == "HEAD" or answer.problem["code"] == "method_not_allowed"

    ask(scenario)


@pytest.mark.parametrize("path", ["/", "/agent", PATH + "/", "/agent/runs/", "/agent/runs/a/b/cancel"])
def test_unknown_paths(path):
    async def scenario(client: Client) -> None:
        answer = await client.post(path=path)
        assert (answer.status, answer.problem["code"]) == (404, "not_found")

    ask(scenario)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nIdempotency-Key: a\0b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nIdempotency-Key: a\x07b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 9000 + b"\r\n\r\n",
    ],
)
def test_invalid_http_gets_a_problem_document(request_bytes, caplog):
    async def scenario(client: Client) -> None:
        answer = await raw_exchange(client.server, request_bytes)
        head, _, document = answer.partition(b"\r\n\r\n")
        assert b" 400 Bad Request\r\n" in head
        assert b"Content-Type: application/problem+json" in head
        assert b"X-Content-Type-Options: nosniff" in head
        assert list(json.loads(document)) == ["type", "title", "status", "code", "detail"]

    ask(scenario)
    assert not caplog.records


def test_bodies_in_other_framings():
    async def scenario(client: Client) -> None:
        head = http_post(body()).partition(b"Content-Length")[0] + b"Connection: close\r\n"
        data = json.dumps(body()).encode()
        chunks = b"".join(b"%x\r\n%b\r\n" % (1, data[at : at + 1]) for at in range(len(data)))
        chunked = await raw_exchange(
            client.server, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
        )
        assert chunked.startswith(b"HTTP/1.1 200 ")
        assert chunked.endswith(b"\r\n0\r\n\r\n")
        broken = await raw_exchange(client.server, head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")
        assert b" 400 Bad Request\r\n" in broken
        asked = http_post(body(), extra="Expect: 100-continue\r\nConnection: close\r\n")
        expected = await raw_exchange(client.server, asked)
        assert expected.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")
        old = http_post(body()).replace(b"HTTP/1.1", b"HTTP/1.0")
        closed = await raw_exchange(client.server, old)
        assert b"ransfer-Encoding" not in closed
        assert closed.endswith(b'"}\n\n')

    ask(scenario)


def test_an_incomplete_request_starts_nothing(caplog):
    async def scenario(client: Client) -> None:
        reader, writer = await asyncio.open_connection(client.server.host, client.server.port)
        writer.write(http_post(body())[:-5])
        await asyncio.sleep(0.02)
        writer.transport.abort()
        await reader.read()
        await asyncio.sleep(0.02)
        assert len(client.server.api.registry) == 0

    ask(scenario)
    assert not caplog.records


# cancelling


def test_cancel_ends_a_run_in_flight_once():
    async def scenario(client: Client) -> None:
        content = body(ENDLESS, runId="a/b ü")
        readers = [asyncio.create_task(client.post(content, key="k")) for _ in range(2)]
        await until(lambda: client.server.api.registry.running)
        path = "a%2Fb%20%C3%BC"
        assert (await client.cancel(path, token=None)).status == 401
        assert (await client.cancel(path, token="demo-token-2")).problem["code"] == "no_such_run"
        assert (await client.cancel("unknown")).status == 404
        cancelled = await client.cancel(path)
        assert json.loads(cancelled.raw) == {"runId": "a/b ü", "state": "cancelled"}
        for reader in readers:
            assert (await reader).events[-1] == {"type": "cancelled", "runId": "a/b ü"}
            assert (await reader).types.count("cancelled") == 1
        assert (await client.cancel(path)).raw == cancelled.raw
        assert (await client.post(content, key="k")).raw == (await readers[0]).raw

    ask(scenario)


def test_cancel_does_not_change_a_finished_run():
    async def scenario(client: Client) -> None:
        first = await client.post(body(runId="r"), key="k")
        assert json.loads((await client.cancel("r")).raw) == {"runId": "r", "state": "done"}
        assert (await client.post(body(runId="r"), key="k")).raw == first.raw

    ask(scenario)


def test_cancel_before_the_action_starts():
    async def scenario(client: Client) -> None:
        reader = asyncio.create_task(client.post(body(action("long"), runId="r")))
        await until(lambda: client.server.api.registry.running)
        await client.cancel("r")
        assert (await reader).types == ["cancelled"]

    ask(scenario, first_token_delay_s=20)


# limits and shutdown


def test_the_limit_of_runs():
    async def scenario(client: Client) -> None:
        for number in range(10):
            await client.post(key=f"k{number}")
        assert len(client.server.api.registry) == 3
        names = ("a", "b", "c")
        readers = [asyncio.create_task(client.post(body(ENDLESS, runId=name))) for name in names]
        await until(lambda: len(client.server.api.registry.running) == 3)
        refused = await client.post(key="one too many")
        assert (refused.status, refused.problem["code"]) == (503, "no_capacity")
        assert refused.headers["Retry-After"] == "1"
        for name in names:
            await client.cancel(name)
        assert [(await reader).types[-1] for reader in readers] == ["cancelled"] * 3

    ask(scenario, max_runs=3)


def test_a_finished_run_expires():
    async def scenario(client: Client) -> None:
        first = await client.post(key="k")
        await asyncio.sleep(0.06)
        assert (await client.post(body(source="api"), key="k")).text == first.text

    ask(scenario, run_ttl_s=0.05)


def test_shutdown_ends_runs_and_frees_the_port():
    async def scenario() -> None:
        async with running(ServerSettings()) as server:
            brief = asyncio.create_task(raw_exchange(server, http_post(body(LONG))))
            endless = asyncio.create_task(raw_exchange(server, http_post(body(ENDLESS))))
            idle = asyncio.create_task(raw_exchange(server, b""))
            await until(lambda: len(server.api.registry) == 2)
            start = time.monotonic()
        assert time.monotonic() - start < 10, "the endless run, of 45 s, was not ended"
        assert (await brief).rstrip().endswith(b"0")
        assert b'"type":"done"' in await brief
        assert b'"code":"shutdown"' in await endless
        assert (await endless).endswith(b"\r\n0\r\n\r\n")
        assert await idle == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(server.host, server.port)

    asyncio.run(scenario())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_streams_and_process(number):
    program = (
        "from harness.reference.server import ServerSettings, serve\n"
        "serve(ServerSettings(), on_ready=lambda port: print(port, flush=True))"
    )
    began = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            startup_s = time.monotonic() - began  # how fast this machine is now
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(http_post(body(action("long", tokens=900))))
                assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
                start = time.monotonic()
                process.send_signal(number)
                received = b""
                while data := connection.recv(65536):
                    received += data
            assert b'"code":"shutdown"' in received
            assert received.endswith(b"\r\n0\r\n\r\n")
            assert process.wait(timeout=5) == 0
            assert time.monotonic() - start < 2.5 + startup_s
        finally:
            process.kill()


def test_serve_runs_outside_the_main_thread():
    ready: list[int] = []
    listening = threading.Event()

    def on_ready(port: int) -> None:
        ready.append(port)
        listening.set()

    threading.Thread(target=serve, kwargs={"on_ready": on_ready}, daemon=True).start()
    assert listening.wait(5)
    with socket.create_connection(("127.0.0.1", ready[0]), timeout=5) as connection:
        connection.sendall(http_post(body(action("silent")), extra="Connection: close\r\n"))
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_a_port_in_use_is_an_error():
    async def scenario() -> None:
        async with running() as server:
            with pytest.raises(OSError, match="address already in use"):
                async with running(ServerSettings(port=server.port)):
                    pass

    asyncio.run(scenario())


# the demo settings


def test_the_demo_actions_match_their_names():
    config = demo_config("http://127.0.0.1:1")
    settings = Settings(**config)
    assert settings.target.other_route is not None
    assert settings.target.second_principal is not None
    assert settings.target.second_principal.organization_id == "org-2"
    actions = config["target"]["actions"]
    assert list(actions) == ["success", "long", "failure", "cancelled", "silent", "quiet", "echo", "recall"]

    async def scenario(client: Client) -> None:
        start = time.monotonic()
        answers = dict(
            zip(
                actions,
                await asyncio.gather(*(client.post(body(content)) for content in actions.values())),
                strict=True,
            )
        )
        took_s = time.monotonic() - start
        assert took_s > 1.5, "the quiet action pauses for 1.5 s"
        ends = {name: answer.types[-1] for name, answer in answers.items()}
        assert ends == dict.fromkeys(actions, "done") | {"failure": "error", "cancelled": "cancelled"}
        assert len(answers["long"].events) == 21
        assert answers["silent"].types == ["done"]
        assert answers["echo"].text == "{text}"
        assert answers["recall"].types == ["done"], "there were no earlier outputs"
        assert 1 <= answers["quiet"].raw.count(b": heartbeat\n\n") <= took_s / 0.5

    ask(scenario)


def test_a_settings_object_is_immutable():
    with pytest.raises(AttributeError):
        ServerSettings().port = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        ServerSettings().principals["x"] = "y"  # type: ignore[index]
