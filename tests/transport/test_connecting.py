from __future__ import annotations

import socket

import pytest

from harness.transport.connecting import Address, literal_address, request_sent_ns


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 80))),
        ("::1", (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("::1", 80))),
        ("localhost", None),
        ("127.1", None),
    ],
)
def test_literal_address(host: str, address: Address | None) -> None:
    assert literal_address(host, 80) == address


@pytest.mark.parametrize(("size_bytes", "sent_ns"), [(1, 7), (65536, 7), (65537, None)])
def test_small_requests_are_sent_when_their_write_begins(size_bytes: int, sent_ns: int | None) -> None:
    assert request_sent_ns(7, size_bytes) == sent_ns
