"""Faults of this machine that a failed connection must not be blamed on the server for: no ports, no descriptors."""

from __future__ import annotations

import errno
import os
import resource
import socket
import ssl
from functools import cache

from harness.errors import LocalResourceError

RESERVED_DESCRIPTORS = 24
"""Descriptors that sockets leave free, for results, logs and the resolver."""

_PORTS = (
    'no free local port (EADDRNOTAVAIL): use fewer connections per second, target.connections = "reuse", or a wider '
    "net.ipv4.ip_local_port_range"
)
_MEMORY = "not enough memory for the connection"
_RESOLVER = "the resolver of this machine did not answer; check its DNS, or use an IP address as the target"
_THREADS = (
    "cannot start a thread to resolve the host name; raise ulimit -u, or use an IP address as the target"
)
_FORBIDDEN = "this machine does not permit the connection; check its firewall and sandbox"
_REASONS = {
    errno.ENFILE: "no free file descriptor on this machine (ENFILE): raise fs.file-max, or use fewer connections",
    errno.EADDRNOTAVAIL: _PORTS,
    errno.EADDRINUSE: _PORTS.replace("EADDRNOTAVAIL", "EADDRINUSE"),
    errno.EAGAIN: _PORTS.replace("EADDRNOTAVAIL", "EAGAIN"),
    errno.ENOBUFS: f"{_MEMORY} (ENOBUFS)",
    errno.ENOMEM: f"{_MEMORY} (ENOMEM)",
    errno.EPERM: f"{_FORBIDDEN} (EPERM)",
    errno.EACCES: f"{_FORBIDDEN} (EACCES)",
}
_RESOLVER_REASONS = {
    socket.EAI_AGAIN: f"{_RESOLVER} (EAI_AGAIN)",
    socket.EAI_MEMORY: f"{_MEMORY} (EAI_MEMORY)",
}


def local_fault(problem: OSError) -> LocalResourceError | None:
    """The fault of this machine behind an error of a socket or the resolver; None if it may be the server's."""
    if isinstance(problem, ssl.SSLError):  # its numbers are OpenSSL's
        return None
    if isinstance(problem, socket.gaierror):
        reason = _RESOLVER_REASONS.get(problem.errno or 0)
        if problem.errno == socket.EAI_SYSTEM:  # the resolver could not open its socket or files
            reason = f"{_RESOLVER} (EAI_SYSTEM)"
    elif problem.errno == errno.EMFILE:
        reason = no_descriptors()
    else:
        reason = _REASONS.get(problem.errno or 0)
    return None if reason is None else LocalResourceError(reason)


def no_descriptors() -> str:
    """Why no socket can be opened."""
    return (
        f"no free file descriptor (EMFILE): this process may open {descriptor_limit()}; raise ulimit -n, or use fewer "
        "connections or more processes"
    )


def no_threads() -> LocalResourceError:
    """For a resolver whose thread cannot be started."""
    return LocalResourceError(_THREADS)


def new_socket(
    family: int, kind: int, protocol: int, make: type[socket.socket] = socket.socket
) -> socket.socket:
    """A non-blocking socket. Raises OSError (EMFILE) if it would take one of the reserved descriptors.

    The kernel gives out the lowest free number, so a high number means that few are free.
    """
    sock = make(family, kind, protocol)
    limit = descriptor_limit()
    if sock.fileno() >= limit - min(RESERVED_DESCRIPTORS, limit // 4):
        sock.close()
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    sock.setblocking(False)
    return sock


@cache
def descriptor_limit() -> int:
    """The number of descriptors that this process may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 1 << 30
