"""An API of comments that attacks: `harness comment` ends in one sentence, in bounded time, and keeps its token."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

import pytest

from harness.ci.pull_request import PostError
from harness.commands.comment import run_comment
from harness.errors import SettingsError

TOKEN = "forge-t0ken-Zx81"

Answer = Callable[[socket.socket, Event], None]


@contextmanager
def answering(answer: Answer) -> Iterator[tuple[str, list[bytes]]]:
    """An API that reads a request and answers it; yields its address, and the requests."""
    asked: list[bytes] = []
    stop = Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):  # closed
                while True:
                    connection = server.accept()[0]
                    with connection, suppress(OSError):
                        asked.append(connection.recv(65536))
                        answer(connection, stop)

        thread = Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/api", asked
        finally:
            stop.set()
            server.shutdown(socket.SHUT_RDWR)
    thread.join(5)
    assert not thread.is_alive()


def job(url: str, token: str = TOKEN) -> dict[str, str]:
    return {
        "GITLAB_CI": "true",
        "CI_API_V4_URL": url,
        "CI_MERGE_REQUEST_IID": "5",
        "CI_MERGE_REQUEST_PROJECT_ID": "9",
        "GITLAB_TOKEN": token,
    }


def problem_of(url: str) -> str:
    with pytest.raises(PostError) as raised:
        run_comment(Path("missing.md"), job(url))
    text = str(raised.value)
    assert text.startswith("cannot post the comment: http")
    assert text.isprintable()
    assert len(text) < 600
    assert TOKEN not in text
    return text


def sends(data: bytes) -> Answer:
    return lambda connection, _: connection.sendall(data)


def test_a_redirect_is_not_followed() -> None:
    with answering(sends(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")) as (other, asked):
        redirect = f"HTTP/1.1 307 X\r\nLocation: {other}\r\nContent-Length: 0\r\n\r\n".encode()
        with answering(sends(redirect)) as (url, _):
            assert "answered 307 to GET" in problem_of(url)
    assert asked == []


def test_a_refusal_that_repeats_the_token_and_controls_the_terminal() -> None:
    body = f"no \x1b]0;x\x07 {TOKEN} \u202e\n Bearer {TOKEN}".encode()
    with answering(sends(b"HTTP/1.1 403 No\r\nConnection: close\r\n\r\n" + body)) as (url, asked):
        text = problem_of(url)
    assert "answered 403 to GET: no \\x1b]0;x\\x07 ****************" in text
    assert TOKEN.encode() in asked[0]


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b" "),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    ],
    ids=["interim answers", "a head", "a body", "chunks"],
)
def test_an_answer_that_trickles_in_is_given_up(
    monkeypatch: pytest.MonkeyPatch, begin: bytes, piece: bytes
) -> None:
    monkeypatch.setattr("harness.ci.pull_request._LONGEST_S", 0.5)

    def answer(connection: socket.socket, stop: Event) -> None:
        connection.sendall(begin)
        while not stop.wait(0.02):
            connection.sendall(piece)

    with answering(answer) as (url, _):
        assert "took longer than 0.5 s" in problem_of(url)


@pytest.mark.parametrize("head", [b"", b"Transfer-Encoding: chunked\r\n"])
def test_an_answer_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch, head: bytes) -> None:
    monkeypatch.setattr("harness.ci.pull_request._MOST_BYTES", 3 * 2**20)

    def answer(connection: socket.socket, stop: Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n")
        while not stop.is_set():
            connection.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n" if head else b" " * 65536)

    with answering(answer) as (url, _):
        assert "more than 3 MiB" in problem_of(url)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00\x1b garbage \r\n",
        b"HTTP/9.9 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\x1b[2J\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n[][]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n[",
    ],
)
def test_an_answer_that_is_none(data: bytes) -> None:
    with answering(sends(data)) as (url, _):
        problem_of(url)


@pytest.mark.parametrize(
    "address", ["http://[::1", "http://127.0.0.1:99999", "http://\n\x1b", "ftp://127.0.0.1:1"]
)
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(PostError, match=r"^cannot post the comment: ") as raised:
        run_comment(Path("missing.md"), job(address))
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("token", [f"{TOKEN}\nX: y", f"{TOKEN} ", f"{TOKEN}ü", f"{TOKEN}\x1b"])
def test_a_token_that_no_header_field_can_have(token: str) -> None:
    with (
        answering(sends(b"")) as (url, asked),
        pytest.raises(SettingsError, match="is not a token") as raised,
    ):
        run_comment(Path("missing.md"), job(url, token))
    assert asked == []
    assert TOKEN not in str(raised.value)
