"""Whether a read held one segment, whose kernel timestamp is then exact for all of it, or several.

The kernel's timestamp of a read is that of the last segment in it, and so is that of each smaller read, because the
kernel joins segments that wait. But it counts the segments and the bytes of a connection (tcp(7), TCP_INFO; Linux 4.6).
"""

from __future__ import annotations

import socket
import struct

_TCP_INFO = 11
_BYTES_RECEIVED = struct.Struct("@Q")  # tcpi_bytes_received of struct tcp_info (linux/tcp.h)
_DATA_SEGS_IN = struct.Struct("@I")  # tcpi_data_segs_in
_BYTES_AT, _SEGMENTS_AT = 128, 152
_NEGLIGIBLE_NS = 100_000  # a little more than timestamps are exact
_INFO_BYTES = _SEGMENTS_AT + _DATA_SEGS_IN.size


class SegmentCount:
    """Compares the segments of a new connection with the reads of it.

    Where the kernel does not count, a read may always have held several.
    """

    __slots__ = ("_bytes_before", "_extra", "_sock")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._extra = 0  # segments minus reads, when all that had come was read
        self._bytes_before = 0

    def begin_after(self, reads: int, size_bytes: int) -> None:
        """The number of reads of this connection before, and of their bytes, for example of the TLS handshake."""
        segments, total_bytes = self._received() or (0, 0)
        if total_bytes == size_bytes:
            self._extra = segments - reads

    def begin_anew(self) -> None:
        """All that has come so far was read, and does not count."""
        self._extra, self._bytes_before = self._received() or (0, 0)

    def may_be_several(self, reads: int, size_bytes: int) -> bool:
        """Whether the newest read may have held several segments. reads, size_bytes: of all reads so far."""
        received = self._received()
        if received is None:
            return True
        segments, total_bytes = received
        if total_bytes - self._bytes_before != size_bytes:  # more has come since the read, or was left by it
            return True
        before, self._extra = self._extra, segments - reads
        return self._extra > before

    def error_ns(self, most_ns: int, reads: int, size_bytes: int) -> int:
        """By how much earlier than its timestamp a part of the newest read may have arrived, `most_ns` at most.

        reads, size_bytes: of all reads so far.
        """
        return most_ns if most_ns >= _NEGLIGIBLE_NS and self.may_be_several(reads, size_bytes) else 0

    def _received(self) -> tuple[int, int] | None:
        """Segments and bytes that the connection has received; None if unknown."""
        try:
            info = self._sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _INFO_BYTES)
        except OSError:
            return None
        if len(info) < _INFO_BYTES:
            return None
        return _DATA_SEGS_IN.unpack_from(info, _SEGMENTS_AT)[0], _BYTES_RECEIVED.unpack_from(info, _BYTES_AT)[
            0
        ]
