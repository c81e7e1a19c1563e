"""Connections that are kept for further requests."""

from __future__ import annotations

import socket

from harness.transport.tls import TlsSession


class IdleConnections:
    """Keep-alive connections that can be reused, the most recently used one first.

    If the server closes one just as it is reused, the new stream fails. It is not silently retried: that could hide
    a server that drops requests.
    """

    def __init__(self) -> None:
        self._connections: list[tuple[socket.socket, TlsSession | None]] = []

    def take(self) -> tuple[socket.socket, TlsSession | None] | None:
        """A connection that is still open; None if there is none."""
        while self._connections:
            sock, tls = self._connections.pop()
            try:
                sock.recv(1, socket.MSG_PEEK)
            except (BlockingIOError, InterruptedError):
                return sock, tls
            except OSError:
                pass
            sock.close()  # the server closed it, or sent unexpected bytes
        return None

    def put(self, sock: socket.socket, tls: TlsSession | None) -> None:
        """Keep a connection for the next stream."""
        self._connections.append((sock, tls))

    def close(self) -> None:
        """Close all of them."""
        while self._connections:
            self._connections.pop()[0].close()
