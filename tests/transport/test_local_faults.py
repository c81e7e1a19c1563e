"""What this machine lacks is not the server's fault: the request has no result, and the reason is raised."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from harness.contract.exchange import Ending
from harness.contract.expectations import Budgets
from harness.errors import LocalResourceError
from harness.transport import asyncio_client, gevent_client
from harness.transport.asyncio_client import AsyncClient
from harness.transport.endpoint import Endpoint
from harness.transport.gevent_client import GeventClient
from harness.transport.local_faults import descriptor_limit, local_fault, new_socket
from harness.transport.receiver import Receiver
from tests.contract.exchanges import POST
from tests.transport.servers import bounded

BUDGETS = Budgets(first_event_s=5)
NAMES = {
    errno.EMFILE: "EMFILE",
    errno.ENFILE: "ENFILE",
    errno.EADDRNOTAVAIL: "EADDRNOTAVAIL",
    errno.EADDRINUSE: "EADDRINUSE",
    errno.EAGAIN: "EAGAIN",
    errno.ENOBUFS: "ENOBUFS",
    errno.ENOMEM: "ENOMEM",
    errno.EPERM: "EPERM",
    errno.EACCES: "EACCES",
}


@pytest.mark.parametrize("number", NAMES, ids=NAMES.get)
def test_faults_of_this_machine(number: int) -> None:
    fault = local_fault(OSError(number, os.strerror(number)))
    assert fault is not None
    assert f"({NAMES[number]})" in str(fault)


@pytest.mark.parametrize("number", [socket.EAI_AGAIN, socket.EAI_MEMORY, socket.EAI_SYSTEM])
def test_faults_of_the_resolver(number: int) -> None:
    assert local_fault(socket.gaierror(number, "…")) is not None


@pytest.mark.parametrize(
    "problem",
    [
        OSError(errno.ECONNREFUSED, "refused"),
        OSError(errno.ECONNRESET, "reset"),
        OSError(errno.EHOSTUNREACH, "no route"),
        OSError(errno.EPIPE, "broken pipe"),
        socket.gaierror(socket.EAI_NONAME, "no such name"),
        TimeoutError(),
        ssl.SSLError(1, "a number of OpenSSL, which is EPERM's"),
    ],
    ids=repr,
)
def test_what_may_be_the_servers_fault(problem: OSError) -> None:
    assert local_fault(problem) is None


def _raising(number: int) -> Callable[..., Any]:
    def raise_it(*_: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return raise_it


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOBUFS])
def test_both_clients_raise_it_and_the_exchange_has_no_ending_of_the_server(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(asyncio_client, "new_socket", _raising(number))
    monkeypatch.setattr(gevent_client, "new_socket", _raising(number))
    endpoint = Endpoint("127.0.0.1", 9)

    async def job() -> None:
        stream = AsyncClient(endpoint, BUDGETS).open(POST, "a run")
        with pytest.raises(LocalResourceError, match=NAMES[number]):
            await stream.result()
        assert stream.exchange.ending is Ending.STOPPED
        assert NAMES[number] in stream.exchange.ending_detail

    bounded(job())
    live = GeventClient(endpoint, BUDGETS).open(POST, "a run")
    with pytest.raises(LocalResourceError, match=NAMES[number]):
        live.run()
    assert live.exchange().ending is Ending.STOPPED


def test_no_local_port_on_one_address_and_a_refusal_on_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal comes last, but the target may listen only where no port was free."""

    async def connect(_: object, sock: socket.socket, address: tuple[str, int]) -> None:
        number = errno.EADDRNOTAVAIL if sock.family is socket.AF_INET else errno.ECONNREFUSED
        raise OSError(number, os.strerror(number))

    async def job() -> None:
        monkeypatch.setattr(type(asyncio.get_running_loop()), "sock_connect", connect)
        addresses = [
            (family, socket.SOCK_STREAM, 0, "", (host, 9))
            for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
        ]
        with pytest.raises(OSError, match="annot assign requested address"):
            await AsyncClient._connect_to_first(
                addresses, Receiver(label="a run", request=POST, budgets=BUDGETS), None
            )

    bounded(job())


def test_a_resolver_that_cannot_start_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_thread(*_: Any, **__: Any) -> Any:
        raise RuntimeError("can't start new thread")

    async def job() -> None:
        monkeypatch.setattr(type(asyncio.get_running_loop()), "getaddrinfo", no_thread)
        with pytest.raises(LocalResourceError, match="cannot start a thread to resolve"):
            await AsyncClient(Endpoint("agent.test", 9), BUDGETS).exchange(POST, "a run")

    bounded(job())


_CHILD = """
import resource, socket
from harness.transport.local_faults import RESERVED_DESCRIPTORS, new_socket
sockets = []
try:
    while True:
        sockets.append(new_socket(socket.AF_INET, socket.SOCK_STREAM, 0))
except OSError as problem:
    assert problem.errno == 24, problem
left = []
try:
    while True:
        left.append(open("/dev/null"))
except OSError:
    pass
print(len(sockets), len(left), RESERVED_DESCRIPTORS)
"""


def test_sockets_leave_descriptors_for_the_results() -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (120, 120))

    done = subprocess.run(
        [sys.executable, "-c", _CHILD],
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    sockets, left, reserved = map(int, done.stdout.split())
    assert left >= reserved
    assert sockets > 50


def test_a_new_socket_does_not_block() -> None:
    with new_socket(socket.AF_INET, socket.SOCK_STREAM, 0) as sock:
        assert sock.gettimeout() == 0


def test_a_socket_that_is_refused_is_closed_and_a_low_limit_leaves_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as probe:
        number = probe.fileno()
    monkeypatch.setattr("harness.transport.local_faults.descriptor_limit", lambda: number + 1)
    before = len(list(Path("/proc/self/fd").iterdir()))
    kept = []
    for _ in range(3):
        with pytest.raises(OSError, match="Too many open files") as caught:
            new_socket(socket.AF_INET, socket.SOCK_STREAM, 0, _Kept)
        kept.append(caught.value)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    monkeypatch.setattr("harness.transport.local_faults.descriptor_limit", lambda: 2 * number + 2)
    new_socket(socket.AF_INET, socket.SOCK_STREAM, 0).close()


class _Kept(socket.socket):
    """One that something else refers to: it is closed by close() only."""

    all: ClassVar[list[socket.socket]] = []

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.all.append(self)


def test_a_process_without_a_limit_may_open_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert descriptor_limit.__wrapped__() > 1_000_000
