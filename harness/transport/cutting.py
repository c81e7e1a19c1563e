"""How the harness cuts a connection, or reads it slowly."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from enum import StrEnum

from harness.formatting import counted


class CutHow(StrEnum):
    """How the harness cuts a connection."""

    FIN = "fin"  # an orderly close
    RST = "rst"  # an abortive close
    HALF_CLOSE = "half-close"  # the sending side first, the rest shortly after


CUT_NAMES = {CutHow.FIN: "FIN", CutHow.RST: "RST", CutHow.HALF_CLOSE: "half-close"}


@dataclass(frozen=True, slots=True)
class Pace:
    """A slow reader: at most `read_bytes` per read, then a pause of `pause_s` seconds."""

    pause_s: float
    read_bytes: int = 1024


@dataclass(frozen=True, slots=True)
class Cut:
    """Cut the connection after `after_events` events; 0 means before any response."""

    after_events: int
    how: CutHow = CutHow.FIN

    def described(self, *, has_head: bool) -> str:
        """That it was done, in a clause. has_head: whether the response head had arrived."""
        place = f"after {counted(self.after_events, 'event')}" if has_head else "before the response head"
        return f"the harness cut the connection ({CUT_NAMES[self.how]}) {place}"


def close_connection(sock: socket.socket, how: CutHow) -> None:
    """Close in the given way. After a half-close the caller has to close the socket.

    The FIN is sent with shutdown(), because close() with unread bytes in the buffer would send RST.
    """
    if how is CutHow.RST:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    else:
        sock.shutdown(socket.SHUT_WR)
    if how is not CutHow.HALF_CLOSE:
        sock.close()
