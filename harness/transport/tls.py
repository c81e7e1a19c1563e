"""TLS without its own I/O, so that encrypted reads keep their kernel receive stamps too."""

from __future__ import annotations

import ssl
from collections.abc import Generator

_RECORD_BYTES = 65536


def reason(problem: ssl.SSLError) -> str:
    """Why TLS failed, in a few words: of a bad certificate what is bad about it."""
    if isinstance(problem, ssl.SSLCertVerificationError):
        return f"TLS: the certificate is refused: {problem.verify_message}"
    return f"TLS: {problem.reason or problem}"


class TlsSession:
    """One connection's encryption, between memory buffers."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self.closed = False

    def handshake(self) -> Generator[bytes, bytes, bytes]:
        """Drive the handshake: yields bytes to send, takes bytes received, returns the last to send.

        Raises ssl.SSLError when it fails, with ssl.SSLCertVerificationError for a bad certificate.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                received = yield self._outgoing.read()
                if received:
                    self._incoming.write(received)
                else:
                    self._incoming.write_eof()
            else:
                return self._outgoing.read()

    def encrypt(self, data: bytes) -> bytes:
        """What to send for `data`."""
        self._tls.write(data)
        return self._outgoing.read()

    def decrypt(self, data: bytes) -> bytes:
        """What `data` holds in clear; may be empty. Sets `closed` when the peer said goodbye."""
        self._incoming.write(data)
        clear = bytearray()
        while not self.closed:
            try:
                piece = self._tls.read(_RECORD_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                piece = b""
            if not piece:
                self.closed = True
            clear += piece
        return bytes(clear)
