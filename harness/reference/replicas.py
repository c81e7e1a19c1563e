"""Several processes of the embedded server on one store, and their restart.

Each replica has its own port, which it keeps when it is restarted. On SIGUSR1 all of them are killed and started again:
what they had only in memory is lost, as in a crash.
"""

from __future__ import annotations

import _thread
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from harness.parent_process import exit_with
from harness.reference.faults.base import FAULTS
from harness.reference.server import serve
from harness.reference.settings import ServerSettings
from harness.reference.store import kind_of_store

_STOPPING = frozenset({signal.SIGINT, signal.SIGTERM})
RESTART = signal.SIGUSR1
_SIGNALS = _STOPPING | {RESTART, signal.SIGCHLD}
_READY = b"+"


def restart_command(pid: int) -> str:
    """The shell command that restarts the replicas of the process with this id."""
    return f"kill -{RESTART.name.removeprefix('SIG')} {pid}"


class ReplicaError(OSError):
    """A replica ended on its own, or did not start."""


def serve_replicas(
    settings: ServerSettings,
    count: int,
    faults: Iterable[str] = (),
    *,
    on_ready: Callable[..., None] | None = None,
) -> None:
    """Serve with `count` processes on ``settings.store`` until SIGINT or SIGTERM; SIGUSR1 restarts them.

    The first has ``settings.port``, the next ones have the ports after it, or free ones if it is 0. on_ready: called
    with the ports once all listen. Call it in the main thread of a process
    that has no other one: the replicas are forked. Raises ValueError for an unknown fault or a wrong store, OSError for
    a port or store that cannot be used, and ReplicaError if a replica ends on its own.
    """
    names = tuple(faults)
    if settings.store is not None:
        kind_of_store(settings.store)  # imported once, so that a restart takes less time
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        with ExitStack() as held:
            ports = [held.enter_context(_held_port(settings, number)) for number in range(count)]
            group = _Group(settings, names, ports)
            held.callback(group.stop)
            group.start()
            if on_ready is not None:
                on_ready(*ports)
            while (number := signal.sigwait(_SIGNALS)) not in _STOPPING:
                if number == RESTART:
                    group.kill()
                    group.start()
                elif group.lost_one():
                    raise ReplicaError("a replica of the embedded server ended on its own")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _held_port(settings: ServerSettings, number: int) -> Iterator[int]:
    """A port that nobody else gets while its replica is restarted. Nothing listens on it by this."""
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((settings.host, settings.port + number if settings.port else 0))
        yield holder.getsockname()[1]


class _Group:
    """The processes of the replicas. Its caller has blocked the signals."""

    def __init__(self, settings: ServerSettings, faults: Sequence[str], ports: Sequence[int]) -> None:
        self._settings = settings
        self._faults = faults
        self._ports = ports
        self._pids: list[int] = []

    def start(self) -> None:
        """Start all, and wait until they listen. Raises ReplicaError if one does not."""
        generation, parent = time.time_ns(), os.getpid()
        ready = []
        for number, port in enumerate(self._ports, 1):
            own = replace(
                self._settings,
                port=port,
                replica=str(number),
                generation=generation,
                shares_port=True,
            )
            reader, writer = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(reader)
                _serve_one(own, self._faults, writer, parent)
            os.close(writer)
            self._pids.append(pid)
            ready.append(reader)
        answers = [_read_and_close(reader) for reader in ready]
        if _READY * len(ready) != b"".join(answers):
            raise ReplicaError("a replica of the embedded server did not start")

    def lost_one(self) -> bool:
        """Whether a process has ended."""
        ended = [pid for pid in self._pids if os.waitpid(pid, os.WNOHANG)[0]]
        self._pids = [pid for pid in self._pids if pid not in ended]
        return bool(ended)

    def kill(self) -> None:
        """Kill all, or stop them if a fault shows only then."""
        in_order = any(FAULTS[name].stops_in_order for name in self._faults if name in FAULTS)
        self._end(signal.SIGTERM if in_order else signal.SIGKILL)

    def stop(self) -> None:
        """Let all end."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        for pid in self._pids:
            os.kill(pid, number)
        for pid in self._pids:
            os.waitpid(pid, 0)
        self._pids = []


def _read_and_close(reader: int) -> bytes:
    try:
        return os.read(reader, 1)
    finally:
        os.close(reader)


def _serve_one(settings: ServerSettings, faults: Sequence[str], ready: int, parent: int) -> None:
    """What a replica's process does; it ends here. `ready` gets a byte when it listens."""
    code = 1

    def listens(_: int) -> None:
        os.write(ready, _READY)
        os.close(ready)

    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        exit_with(parent, start_thread=_thread.start_new_thread, sleep=time.sleep, exit_code=1)
        serve(settings, faults, on_ready=listens)
        code = 0
    except (OSError, ValueError) as problem:
        print(f"harness: replica {settings.replica}: {problem}", file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(code)
