"""The benchmark's target, whose report is the truth for the compared clients."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import pairwise

import pytest

from harness.contract.exchange import Ending
from harness.contract.expectations import Budgets, Expectations
from harness.contract.finding import Verdict
from harness.contract.rules.stream import check_stream
from harness.profiles import library
from harness.protocol.request import HttpRequest
from harness.transport.asyncio_client import AsyncClient
from harness.transport.endpoint import Endpoint
from tests.benchmarks.target import Rhythm, Target, compiler, running_target

PATH = "/agent/workflow-actions"
PACED = Rhythm(tokens=5, first_token_us=60_000, gap_us=20_000)
KINDS = ["python", "c"] if compiler() else ["python"]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def paced(kind: str) -> Iterator[Target]:
    with running_target(PACED, kind=kind, lifetime_s=60) as target:
        yield target


@pytest.fixture
def connection(paced: Target) -> Iterator[http.client.HTTPConnection]:
    with closing(http.client.HTTPConnection("127.0.0.1", paced.port, timeout=10)) as connection:
        yield connection


def post(connection: http.client.HTTPConnection, **headers: str) -> str:
    connection.request("POST", PATH, b"{}", {"Content-Type": "application/json", **headers})
    answer = connection.getresponse()
    assert answer.status == 200
    return answer.read().decode()


def data_of(stream: str) -> list[dict[str, object]]:
    return [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: ")]


CHAT = {"api": "openai-chat"}


@pytest.mark.parametrize(
    "rhythm",
    [PACED, Rhythm(tokens=300), replace(PACED, **CHAT), Rhythm(tokens=300, **CHAT)],
    ids=["paced", "blast", "paced chat", "chat blast"],
)
def test_its_streams_pass_every_rule(kind: str, rhythm: Rhythm) -> None:
    with running_target(rhythm, kind=kind, lifetime_s=60) as target:
        profile = library.load(rhythm.api)
        client = AsyncClient(Endpoint.from_url(target.base_url), Budgets(), profile=profile)
        request = HttpRequest.post_json(profile.run.path, (("Content-Type", "application/json"),), {})
        run = asyncio.run(client.exchange(request, "a run"))
        report = target.report()
    assert run.ending is Ending.COMPLETE
    assert len(run.events) == run.summary.events == report["events"] == rhythm.events
    assert {finding.verdict for finding in check_stream(run, Expectations())} == {Verdict.PASS}


def test_it_keeps_its_schedule_and_writes_send_times(
    paced: Target, connection: http.client.HTTPConnection
) -> None:
    requested_ns = time.monotonic_ns()
    tokens = data_of(post(connection))[:-1]
    read_ns = time.monotonic_ns()
    sent_ns = [int(str(token["t"])) for token in tokens]
    assert len(sent_ns) == PACED.tokens
    assert requested_ns + 60_000_000 <= sent_ns[0]
    assert sent_ns[-1] < read_ns
    # A token may be late, which shortens the gap after it, but never early: the schedule starts at the request.
    assert all(sent >= requested_ns + 60_000_000 + number * 20_000_000 for number, sent in enumerate(sent_ns))
    assert all(later > earlier for earlier, later in pairwise(sent_ns))
    report = paced.report()
    assert report["first_token_us"]["count"] == 1
    assert report["first_token_us"]["p50"] == report["first_token_us"]["max"] >= 60_000
    assert report["lateness_us"]["count"] == PACED.tokens + 1
    assert 0 <= report["lateness_us"]["p50"] <= report["lateness_us"]["p99"] <= report["lateness_us"]["max"]


@pytest.mark.skipif(compiler() is None, reason="the target in Python has no arrival times")
def test_a_request_that_is_read_late_has_waited_since_it_arrived() -> None:
    """Or each client's TTFT would seem wrong by the time for which a busy target had not read its request."""
    with (
        running_target(PACED, kind="c", lifetime_s=60) as target,
        closing(http.client.HTTPConnection("127.0.0.1", target.port, timeout=10)) as connection,
    ):
        connection.connect()
        os.kill(target.pid, signal.SIGSTOP)
        requested_ns = time.monotonic_ns()
        connection.request("POST", PATH, b"{}", {"Content-Type": "application/json"})
        arrived_ns = time.monotonic_ns()
        time.sleep(0.3)
        os.kill(target.pid, signal.SIGCONT)
        first_ns = int(str(data_of(connection.getresponse().read().decode())[0]["t"]))
        report = target.report()
    assert first_ns - arrived_ns >= 300_000_000
    first_token_us = report["first_token_us"]["max"]
    assert (first_ns - arrived_ns) / 1e3 - 50 <= first_token_us <= (first_ns - requested_ns) / 1e3 + 50
    assert report["lateness_us"]["max"] >= 240_000


def test_a_connection_is_reused(connection: http.client.HTTPConnection) -> None:
    runs = [data_of(post(connection))[-1]["runId"] for _ in range(3)]
    assert runs == ["run-1", "run-2", "run-3"]
    connection.request("GET", "/report")
    report = json.loads(connection.getresponse().read())
    assert report["accepted"] == 1
    assert (report["requests"], report["streams"], report["events"]) == (3, 3, 18)
    assert (report["open"], report["broken_off"]) == (0, 0)


def test_connection_close(paced: Target) -> None:
    with socket.create_connection(("127.0.0.1", paced.port), timeout=10) as sock:
        sock.sendall(f"POST {PATH} HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode())
        answer = b""
        while more := sock.recv(65536):
            answer += more
    assert answer.endswith(b"0\r\n\r\n")
    assert answer.count(b"data: ") == PACED.tokens + 1


def test_a_request_in_pieces_and_two_at_once(paced: Target) -> None:
    request = f"POST {PATH} HTTP/1.1\r\nContent-Length: 2\r\n\r\n{{}}".encode()
    with socket.create_connection(("127.0.0.1", paced.port), timeout=10) as sock:
        for at in range(0, len(request), 7):
            sock.sendall(request[at : at + 7])
            time.sleep(0.001)
        sock.sendall(request * 2)
        answer = b""
        while answer.count(b"0\r\n\r\n") < 3:
            answer += sock.recv(65536)
    assert [f'"run-{number}"'.encode() in answer for number in (1, 2, 3)] == [True] * 3


def test_a_disconnected_client(kind: str) -> None:
    """Of a stream that takes a minute: a busy machine may take long between its beginning and the disconnection."""
    rhythm = replace(PACED, tokens=3000)
    with running_target(rhythm, kind=kind, lifetime_s=60) as target:
        with socket.create_connection(("127.0.0.1", target.port), timeout=10) as sock:
            sock.sendall(f"POST {PATH} HTTP/1.1\r\nContent-Length: 0\r\n\r\n".encode())
            sock.recv(100)
        deadline = time.monotonic() + 30
        while target.report()["open"]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        report = target.report()
    assert (report["broken_off"], report["streams"]) == (1, 0)
    assert report["events"] < rhythm.tokens


def test_reset_clears_distributions_but_not_counts(
    paced: Target, connection: http.client.HTTPConnection
) -> None:
    post(connection)
    paced.reset()
    report = paced.report()
    assert (report["events"], report["streams"]) == (6, 1)
    assert report["lateness_us"] == {"count": 0, "p50": 0, "p99": 0, "max": 0}


def test_a_slow_reader_of_a_blast(kind: str) -> None:
    with running_target(Rhythm(tokens=60_000), kind=kind, lifetime_s=60) as target:
        with socket.create_connection(("127.0.0.1", target.port), timeout=10) as sock:
            sock.sendall(f"POST {PATH} HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode())
            time.sleep(0.2)
            answer = b"".join(iter(lambda: sock.recv(65536), b""))
        report = target.report()
    assert answer.count(b"\nid: ") == 60_001
    assert report["streams"] == 1
    assert report["events"] == 60_001


def test_not_found(connection: http.client.HTTPConnection) -> None:
    connection.request("GET", PATH)
    answer = connection.getresponse()
    assert answer.status == 404
    assert "POST /agent/workflow-actions" in answer.read().decode()


def test_its_lifetime() -> None:
    kind = KINDS[-1]
    with running_target(PACED, kind=kind, lifetime_s=1) as target:
        assert target.wait(timeout_s=30) == 0
        with pytest.raises(OSError, match="refused"):
            target.report()


def test_the_python_target_replaces_a_missing_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.benchmarks.target.compiler", lambda: None)
    with running_target(PACED, lifetime_s=60) as target:
        assert target.kind == "python"
        assert target.report()["requests"] == 0
    with (
        pytest.raises(RuntimeError, match="the C target needs Linux and a C compiler"),
        running_target(PACED, kind="c"),
    ):
        pass
