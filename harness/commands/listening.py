"""Checks that a port is free before a test begins, so that what cannot listen is one sentence and nothing is lost."""

from __future__ import annotations

import socket

from harness.errors import SettingsError
from harness.load.web.origin import is_loopback

EVERY_ADDRESS = "*"


def ensure_free(host: str, port: int, *, what: str, option: str) -> None:
    """Raises SettingsError if nothing can listen on this address.

    host: EVERY_ADDRESS for all of them. what: listens there, for example "the page". option: that chooses the port.
    """
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            None if host == EVERY_ADDRESS else host,
            port,
            socket.AF_INET if host == EVERY_ADDRESS else socket.AF_UNSPEC,
            socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as problem:
        is_own = host == EVERY_ADDRESS or is_loopback(host)
        where = f"port {port}" if is_own else f"{host}, port {port}"
        reason = problem.strerror or problem
        raise SettingsError(f"{what} cannot listen on {where}: {reason}; choose one with {option}") from None
