from __future__ import annotations

import errno
import gc
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import gevent
import gevent.monkey
import gevent.socket
import pytest

from harness.contract.exchange import Ending
from harness.contract.expectations import Budgets
from harness.protocol.request import HttpRequest
from harness.transport.endpoint import Endpoint
from harness.transport.gevent_client import GeventClient, GeventExchange
from harness.transport.receiver import Cut, CutHow, Pace
from harness.transport.timestamps import HAS_KERNEL_TIMESTAMPS
from tests.load.run_server import HEAD, read_request
from tests.transport.servers import cut_detail

BUDGETS = Budgets(first_event_s=0.4, terminal_close_s=0.3, heartbeat_s=0.2, run_s=5)
PATIENT = Budgets(first_event_s=30, terminal_close_s=30, heartbeat_s=30, run_s=60)  # for many streams at once
REQUEST = HttpRequest.post_json("/runs", (("Authorization", "Bearer t"),), {"a": "ü"})
TOKEN = b'id: 1-0\ndata: {"type":"token","content":"caf\xc3\xa9"}\n\n'
DONE = b'id: 1-1\ndata: {"type":"done","runId":"r"}\n\n'


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


WHOLE = HEAD + chunk(TOKEN) + chunk(DONE) + b"0\r\n\r\n"

Script = Callable[[socket.socket], None]


@contextmanager
def listening(script: Script, context: ssl.SSLContext | None = None) -> Iterator[Endpoint]:
    """A server that reads the request and runs `script` on every connection."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:

        def follow(sock: socket.socket) -> None:
            with sock:
                try:
                    if context is not None:
                        sock = context.wrap_socket(sock, server_side=True)
                    with sock:
                        read_request(sock)
                        script(sock)
                except OSError:
                    return

        def accept() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=follow, args=(sock,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield Endpoint("127.0.0.1", listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def sending(*parts: bytes, pause_s: float = 0.0) -> Script:
    def script(sock: socket.socket) -> None:
        for part in parts:
            sock.sendall(part)
            time.sleep(pause_s)

    return script


def sending_and_waiting(data: bytes, seconds: float = 2.0) -> Script:
    def script(sock: socket.socket) -> None:
        sock.sendall(data)
        time.sleep(seconds)

    return script


def client(endpoint: Endpoint) -> GeventClient:
    return GeventClient(endpoint, BUDGETS)


def test_the_standard_library_is_not_patched() -> None:
    assert not gevent.monkey.is_module_patched("socket")


def test_a_whole_stream() -> None:
    with listening(sending(WHOLE)) as endpoint:
        exchange = client(endpoint).exchange(REQUEST, "run")
    assert exchange.ending is Ending.COMPLETE
    assert exchange.label == "run"
    assert (exchange.status, exchange.outcome, exchange.text) == (200, "done", "café")
    timing = exchange.timing
    assert timing.intended_ns == timing.started_ns
    assert timing.connected_ns is not None
    assert timing.sent_ns is not None
    assert timing.started_ns < timing.connected_ns < timing.sent_ns < timing.ended_ns


def test_one_byte_a_packet() -> None:
    with listening(sending(*(WHOLE[place : place + 1] for place in range(len(WHOLE))))) as endpoint:
        exchange = client(endpoint).exchange(REQUEST, "run")
    assert exchange.ending is Ending.COMPLETE
    assert [(event.frame.id, event.frame.data) for event in exchange.events] == [
        ("1-0", '{"type":"token","content":"café"}'),
        ("1-1", '{"type":"done","runId":"r"}'),
    ]


@pytest.mark.skipif(not HAS_KERNEL_TIMESTAMPS, reason="no kernel timestamps on this system")
def test_a_busy_hub_does_not_delay_arrivals() -> None:
    responded = threading.Event()

    def script(sock: socket.socket) -> None:
        sock.sendall(WHOLE)
        responded.set()

    with listening(script) as endpoint:
        live = client(endpoint).open(REQUEST, "run")
        running = gevent.spawn(live.run)
        while live._receiver.sent_ns is None:
            gevent.sleep(0)
        assert responded.wait(5)  # blocks the hub
        responded_ns = time.monotonic_ns()
        time.sleep(0.2)
        exchange = running.get()
    assert exchange.events[0].arrival_ns < responded_ns + 100e6  # and the hub was busy for 200 ms
    assert exchange.timing.ended_ns > responded_ns + 195e6
    assert max(exchange.stamps_ns()[1]) > 195e6


def test_latency_counts_from_the_intended_start() -> None:
    due_ns = time.monotonic_ns() - 50_000_000
    with listening(sending(WHOLE)) as endpoint:
        exchange = client(endpoint).exchange(REQUEST, "run", intended_ns=due_ns)
    assert exchange.timing.intended_ns == due_ns
    assert exchange.timing.started_ns - due_ns >= 50_000_000


@pytest.mark.parametrize(
    ("sent", "ending", "detail"),
    [
        (b"", Ending.TRUNCATED, "the server closed the connection before a response"),
        (
            HEAD + chunk(TOKEN),
            Ending.TRUNCATED,
            "the server closed the connection before the end of the response",
        ),
        (
            HEAD + b"5\r\nab",
            Ending.TRUNCATED,
            "the server closed the connection before the end of the response",
        ),
        (b"SSH-2.0-x\r\n", Ending.MALFORMED, "not an HTTP/1.1 response"),
    ],
)
def test_a_server_that_closes_early(sent: bytes, ending: Ending, detail: str) -> None:
    with listening(sending(sent)) as endpoint:
        exchange = client(endpoint).exchange(REQUEST, "run")
    assert exchange.ending is ending
    assert exchange.ending_detail.startswith(detail)


def test_a_reset() -> None:
    def script(sock: socket.socket) -> None:
        sock.sendall(HEAD + chunk(TOKEN))
        time.sleep(0.05)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with listening(script) as endpoint:
        exchange = client(endpoint).exchange(REQUEST, "run")
    assert exchange.ending is Ending.RESET
    assert len(exchange.events) == 1


def test_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    exchange = client(Endpoint("127.0.0.1", port)).exchange(REQUEST, "run")
    assert exchange.ending is Ending.REFUSED
    assert exchange.ending_detail == "Connection refused"
    assert exchange.timing.sent_ns is None


def test_a_name_that_does_not_resolve() -> None:
    exchange = client(Endpoint("no-such-host.invalid", 80)).exchange(REQUEST, "run")
    assert exchange.ending in {Ending.REFUSED, Ending.TIMED_OUT}
    assert exchange.timing.connected_ns is None


def test_a_name_is_resolved() -> None:
    with listening(sending(WHOLE)) as endpoint:
        exchange = client(Endpoint("localhost", endpoint.port)).exchange(REQUEST, "run")
    assert exchange.ending is Ending.COMPLETE


@pytest.mark.parametrize(
    ("sent", "detail", "at_least_s"),
    [
        (b"", "no event within 0.8 s", 0.79),
        (HEAD, "no event within 0.8 s", 0.79),
        (HEAD + chunk(TOKEN), "silent for 0.4 s", 0.39),
        (HEAD + chunk(DONE), "the stream was still open 0.3 s after its terminal event", 0.29),
    ],
)
def test_deadlines(sent: bytes, detail: str, at_least_s: float) -> None:
    with listening(sending_and_waiting(sent)) as endpoint:
        begun = time.monotonic()
        exchange = client(endpoint).exchange(REQUEST, "run")
        took_s = time.monotonic() - begun
    assert (exchange.ending, exchange.ending_detail) == (Ending.TIMED_OUT, detail)
    assert at_least_s < took_s < BUDGETS.run_s


def test_a_full_backlog_times_out() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        time.sleep(0.05)
        exchange = client(Endpoint("127.0.0.1", listener.getsockname()[1])).exchange(REQUEST, "run")
        for filler in fillers:
            filler.close()
    assert exchange.ending is Ending.TIMED_OUT
    assert exchange.ending_detail == "could not connect and send within 0.4 s"


@pytest.mark.parametrize("how", [CutHow.FIN, CutHow.RST, CutHow.HALF_CLOSE])
def test_a_cut_after_an_event(how: CutHow) -> None:
    closes: list[str] = []

    def script(sock: socket.socket) -> None:
        sock.sendall(HEAD + chunk(TOKEN))
        sock.settimeout(2)
        try:
            closes.append("fin" if sock.recv(1) == b"" else "data")
        except ConnectionResetError:
            closes.append("rst")

    with listening(script) as endpoint:
        exchange = client(endpoint).exchange(REQUEST, "run", cut=Cut(1, how))
        deadline = time.monotonic() + 2
        while not closes and time.monotonic() < deadline:
            time.sleep(0.01)
    assert exchange.ending is Ending.CUT
    assert exchange.ending_detail == cut_detail(how, 1)
    assert closes == ["rst" if how is CutHow.RST else "fin"]


def test_a_cut_before_the_head() -> None:
    with listening(sending_and_waiting(b"", 0.1)) as endpoint:
        exchange = client(endpoint).exchange(REQUEST, "run", cut=Cut(0))
    assert (exchange.ending, exchange.status) == (Ending.CUT, None)


@pytest.mark.parametrize("tail", [b"", b"x" * 10])
def test_a_response_before_the_request_is_read(tail: bytes) -> None:
    huge = HttpRequest("POST", "/runs", (), b"y" * 20_000_000)
    answer = b"HTTP/1.1 413 Too Large\r\nContent-Length: %d\r\n\r\n%s" % (len(tail), tail)

    def accept_and_refuse(listener: socket.socket) -> None:
        sock, _ = listener.accept()
        with sock:
            sock.recv(1000)
            sock.sendall(answer)
            time.sleep(0.1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=accept_and_refuse, args=(listener,))
        server.start()
        exchange = client(Endpoint("127.0.0.1", listener.getsockname()[1])).exchange(huge, "run")
        server.join()
    assert (exchange.ending, exchange.status, exchange.body) == (Ending.COMPLETE, 413, tail)


@pytest.mark.parametrize(("wait_s", "responds"), [(20.0, True), (0.01, False)])
def test_a_response_that_comes_after_sending_failed_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, wait_s: float, responds: bool
) -> None:
    """The server's reset may be seen before the response that it sent."""
    failed, ended = threading.Event(), threading.Event()

    def fail(*_: object) -> None:
        failed.set()
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    def answer(listener: socket.socket) -> None:
        sock, _ = listener.accept()
        with sock:
            assert failed.wait(20)
            if responds:
                sock.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            ended.wait(30)

    monkeypatch.setattr(GeventExchange, "_send", fail)
    monkeypatch.setattr("harness.transport.gevent_client.EARLY_RESPONSE_S", wait_s)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=answer, args=(listener,))
        server.start()
        exchange = GeventClient(Endpoint(*listener.getsockname()), PATIENT).exchange(REQUEST, "run")
        ended.set()
        server.join()
    expected = (Ending.COMPLETE, 413) if responds else (Ending.RESET, None)
    assert (exchange.ending, exchange.status) == expected


def test_a_killed_greenlet_keeps_its_exchange() -> None:
    with listening(sending_and_waiting(HEAD + chunk(TOKEN))) as endpoint:
        live = client(endpoint).open(REQUEST, "run")
        running = gevent.spawn(live.run)
        assert live.wait_for_events(1)
        with pytest.raises(RuntimeError, match="has not ended"):
            live.exchange()
        running.kill()
    assert isinstance(running.value, gevent.GreenletExit)
    exchange = live.exchange()
    assert exchange.ending is Ending.STOPPED
    assert [event.frame.id for event in exchange.events] == ["1-0"]


def test_waiting_for_events_that_never_come() -> None:
    with listening(sending(WHOLE)) as endpoint:
        live = client(endpoint).open(REQUEST, "run")
        running = gevent.spawn(live.run)
        assert live.wait_for_events(2)
        assert not live.wait_for_events(3)
        assert running.get().ending is Ending.COMPLETE
    assert live.finished


def test_an_exception_of_the_harness_is_raised_by_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("decoder")

    monkeypatch.setattr("harness.transport.receiver.Receiver._decode", broken)
    with listening(sending(WHOLE)) as endpoint:
        live = client(endpoint).open(REQUEST, "run")
        with pytest.raises(ZeroDivisionError, match="decoder"):
            live.run()
    assert live.exchange().ending is Ending.STOPPED


def open_descriptors() -> int:
    """Number of open file descriptors; 0 on systems without /proc."""
    listing = Path("/proc/self/fd")
    return len(list(listing.iterdir())) if listing.is_dir() else 0


def test_many_streams_leak_no_descriptor() -> None:
    with listening(sending(WHOLE)) as endpoint:
        client(endpoint).exchange(REQUEST, "warm-up: the hub opens its own descriptors")
    before = open_descriptors()
    with listening(sending(HEAD + chunk(TOKEN), chunk(DONE), b"0\r\n\r\n", pause_s=0.02)) as endpoint:
        exchange = GeventClient(endpoint, PATIENT).exchange
        running = [gevent.spawn(exchange, REQUEST, f"run {number}") for number in range(100)]
        exchanges = [greenlet.get() for greenlet in running]
    assert [exchange.label for exchange in exchanges] == [f"run {number}" for number in range(100)]
    assert {exchange.ending for exchange in exchanges} == {Ending.COMPLETE}
    assert {exchange.outcome for exchange in exchanges} == {"done"}
    deadline = time.monotonic() + 2
    while open_descriptors() > before and time.monotonic() < deadline:
        time.sleep(0.02)  # the server's threads close their sockets
    assert open_descriptors() <= before


def test_a_stream_is_freed_without_garbage_collection() -> None:
    gc.collect()
    gc.disable()
    try:
        with listening(sending(WHOLE)) as endpoint:
            live = client(endpoint).open(REQUEST, "run")
            exchange = live.run()
        references = [weakref.ref(exchange), weakref.ref(live), weakref.ref(live._receiver)]
        del exchange, live
        assert [reference() for reference in references] == [None, None, None]
    finally:
        gc.enable()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    where = tmp_path_factory.mktemp("tls")
    cert, key = where / "cert.pem", where / "key.pem"
    command = [
        openssl,
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=localhost",
    ]
    command += [
        "-addext",
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-keyout",
        str(key),
        "-out",
        str(cert),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


def _server_context(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


def test_tls(certificate: tuple[Path, Path]) -> None:
    with listening(sending(WHOLE, pause_s=0.05), _server_context(certificate)) as plain:
        endpoint = Endpoint.from_url(f"https://127.0.0.1:{plain.port}", ca_file=str(certificate[0]))
        exchange = client(endpoint).exchange(REQUEST, "run")
    assert (exchange.ending, exchange.outcome, exchange.text) == (Ending.COMPLETE, "done", "café")
    if HAS_KERNEL_TIMESTAMPS:
        assert len(list(exchange.stamps_ns()[1])) == len(exchange.reads)


def test_an_unknown_ca(certificate: tuple[Path, Path]) -> None:
    with listening(sending(WHOLE), _server_context(certificate)) as plain:
        exchange = client(Endpoint.from_url(f"https://127.0.0.1:{plain.port}")).exchange(REQUEST, "run")
    assert exchange.ending is Ending.REFUSED
    assert exchange.ending_detail.startswith("TLS: ")


def test_https_to_a_plain_http_server() -> None:
    with listening(sending(WHOLE)) as plain:
        exchange = client(Endpoint.from_url(f"https://127.0.0.1:{plain.port}")).exchange(REQUEST, "run")
    assert exchange.ending in {Ending.REFUSED, Ending.TIMED_OUT}
    assert exchange.timing.sent_ns is None


# Connection reuse


def serving(connections: list[int], *, close_after: int = 1000, farewell: bytes = b"") -> Script:
    """Answers requests one after the other; `connections` counts them per connection."""

    def script(sock: socket.socket) -> None:
        connections.append(0)
        place = len(connections) - 1
        while True:
            connections[place] += 1
            sock.sendall(WHOLE)
            if connections[place] == close_after:
                sock.sendall(farewell)
                return
            read_request(sock)

    return script


def test_connections_are_reused_if_configured() -> None:
    connections: list[int] = []
    with listening(serving(connections)) as endpoint:
        reusing = GeventClient(endpoint, BUDGETS, reuse=True)
        runs = [reusing.exchange(REQUEST, "a run") for _ in range(3)]
        reusing.close()
        assert connections == [3]
        assert [run.outcome for run in runs] == ["done"] * 3
        assert [run.timing.connected_ns is None for run in runs] == [False, True, True]
        client(endpoint).exchange(REQUEST, "a run")
        assert connections == [3, 1]


@pytest.mark.parametrize("farewell", [b"", b"HTTP/1.1 408 Request Timeout\r\n\r\n"])
def test_a_closed_connection_is_not_reused(farewell: bytes) -> None:
    connections: list[int] = []
    with listening(serving(connections, close_after=1, farewell=farewell)) as endpoint:
        reusing = GeventClient(endpoint, BUDGETS, reuse=True)
        for _ in range(3):
            assert reusing.exchange(REQUEST, "a run").ending is Ending.COMPLETE
            gevent.sleep(0.05)
        reusing.close()
    assert connections == [1, 1, 1]


@pytest.mark.parametrize(
    "answer",
    [
        HEAD.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive, Close\r\n\r\n") + chunk(DONE) + b"0\r\n\r\n",
        WHOLE + b"surplus",
        HEAD + chunk(TOKEN),
    ],
)
def test_connections_that_must_not_be_reused(answer: bytes) -> None:
    with listening(sending_and_waiting(answer, 0.05)) as endpoint:
        reusing = GeventClient(endpoint, BUDGETS, reuse=True)
        reusing.exchange(REQUEST, "a run", cut=Cut(after_events=2))
        assert reusing._idle is not None
        assert reusing._idle.take() is None


def test_a_slow_reader_blocks_the_server() -> None:
    large = b"".join(chunk(b": %d" % number + b"x" * 1000 + b"\n\n") for number in range(400))
    took_s: list[float] = []

    def script(sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        began = time.monotonic()
        sock.sendall(HEAD + chunk(TOKEN) + large + chunk(DONE) + b"0\r\n\r\n")
        took_s.append(time.monotonic() - began)

    with listening(script) as endpoint:
        run = client(endpoint).exchange(REQUEST, "a run", pace=Pace(0.005, 4096))
    assert (run.ending, run.outcome) == (Ending.COMPLETE, "done")
    assert max(len(read.data) for read in run.reads) <= 4096
    assert took_s[0] > 0.005 * 400_000 / 4096 / 2  # half of the reading time


@contextmanager
def silent() -> Iterator[Endpoint]:
    """A server that accepts connections and neither reads nor sends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Endpoint("127.0.0.1", listener.getsockname()[1])


def test_a_server_that_reads_nothing_times_out() -> None:
    large = HttpRequest.post_json("/runs", (), {"a": "x" * 20_000_000})
    with silent() as endpoint, gevent.Timeout(60):
        exchange = client(endpoint).exchange(large, "run")
    assert exchange.ending is Ending.TIMED_OUT
    assert exchange.ending_detail == "could not connect and send within 0.4 s"


def test_a_tls_handshake_that_does_not_begin_times_out() -> None:
    with silent() as endpoint, gevent.Timeout(60):
        with_tls = replace(endpoint, tls=ssl.create_default_context())
        exchange = client(with_tls).exchange(REQUEST, "run")
    assert exchange.ending is Ending.TIMED_OUT


def test_a_name_that_nobody_resolves_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gevent.socket, "getaddrinfo", lambda *_, **__: gevent.sleep(60))
    with gevent.Timeout(50):
        exchange = client(Endpoint("slow.example", 80)).exchange(REQUEST, "run")
    assert exchange.ending is Ending.TIMED_OUT


def test_a_request_that_was_answered_early_is_not_sent_to_its_end() -> None:
    large = HttpRequest.post_json("/runs", (), {"a": "x" * 30_000_000})
    received: list[int] = []

    def answer(listener: socket.socket) -> None:
        sock, _ = listener.accept()
        with sock:
            sock.recv(1000)
            sock.sendall(HEAD.replace(b"200 OK", b"413 Too Large") + b"0\r\n\r\n")
            while data := sock.recv(1_000_000):
                received.append(len(data))
                time.sleep(0.02)  # the client reads the response meanwhile

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,), daemon=True)
        thread.start()
        patient = Budgets(first_event_s=40, terminal_close_s=40, heartbeat_s=40, run_s=40)
        endpoint = Endpoint("127.0.0.1", listener.getsockname()[1])
        with gevent.Timeout(60):
            exchange = GeventClient(endpoint, patient).exchange(large, "run")
        thread.join()
    assert (exchange.ending, exchange.status) == (Ending.COMPLETE, 413)
    assert sum(received) < 30_000_000


def test_a_request_is_sent_no_further_after_the_end_of_the_response(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may answer a large request at once, and read the rest of it as slowly as it likes."""
    live = GeventClient(Endpoint("127.0.0.1", 9), BUDGETS).open(REQUEST, "early")
    sent = []

    class OneByteAtATime:
        def send(self, data: memoryview) -> int:
            sent.append(bytes(data[:1]))
            return 1

    monkeypatch.setattr(type(live), "finished", property(lambda _: len(sent) >= 3))
    with pytest.raises(BrokenPipeError):
        live._send_all(OneByteAtATime(), b"request")  # type: ignore[arg-type]
    assert b"".join(sent) == b"req"
