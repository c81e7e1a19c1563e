"""A stream is freed at its end, however it ends.

In a reference cycle it would wait for a garbage collection, which a load makes rarely because it stops every stream.
"""

from __future__ import annotations

import errno
import gc
import os
import socket
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import pytest

from harness.errors import LocalResourceError
from harness.transport import gevent_client
from harness.transport.endpoint import Endpoint
from harness.transport.receiver import Cut, CutHow, Pace, Receiver
from tests.transport.test_gevent_client import (
    HEAD,
    REQUEST,
    TOKEN,
    WHOLE,
    chunk,
    client,
    listening,
    sending,
    sending_and_waiting,
)


@contextmanager
def freed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every receiver that is made in this block is gone after it, without a garbage collection."""
    receivers: list[weakref.ref[Any]] = []
    begin = Receiver.__init__

    def noted(receiver: Receiver, **options: Any) -> None:
        begin(receiver, **options)
        receivers.append(weakref.ref(receiver))

    monkeypatch.setattr(Receiver, "__init__", noted)
    gc.collect()
    gc.disable()
    try:
        yield
        assert len(receivers) == 1
        assert [reference() for reference in receivers] == [None]
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("sent", "options"),
    [
        (sending(HEAD), {}),
        (sending(b"nonsense\r\n\r\n"), {}),
        (sending_and_waiting(HEAD + chunk(TOKEN), 1.0), {}),
        (sending(WHOLE), {"cut": Cut(1, CutHow.RST)}),
        (sending(WHOLE), {"pace": Pace(0.01, 64)}),
    ],
    ids=["truncated", "malformed", "silent", "cut", "slow"],
)
def test_from_a_server(monkeypatch: pytest.MonkeyPatch, sent: Any, options: dict[str, Any]) -> None:
    with listening(sent) as endpoint, freed_at_the_end(monkeypatch):
        client(endpoint).exchange(REQUEST, "run", **options)


def test_from_a_server_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with freed_at_the_end(monkeypatch):
        client(Endpoint("127.0.0.1", port)).exchange(REQUEST, "run")


def test_from_a_server_without_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with freed_at_the_end(monkeypatch):
        client(Endpoint("no.such.host.invalid", 1)).exchange(REQUEST, "run")


def test_without_a_free_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_free(*_: Any) -> NoReturn:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(gevent_client, "new_socket", none_free)
    with freed_at_the_end(monkeypatch), suppress(LocalResourceError):
        client(Endpoint("127.0.0.1", 1)).exchange(REQUEST, "run")


def test_after_an_exception_of_the_harness(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> NoReturn:
        raise ZeroDivisionError

    monkeypatch.setattr(Receiver, "_drain", broken)
    with (
        listening(sending(WHOLE)) as endpoint,
        freed_at_the_end(monkeypatch),
        suppress(ZeroDivisionError),
    ):
        client(endpoint).exchange(REQUEST, "run")
