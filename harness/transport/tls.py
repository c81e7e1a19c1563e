"""TLS without I/O (memory BIOs), so that encrypted reads have kernel timestamps too."""

from __future__ import annotations

import ssl
from collections.abc import Generator

_RECORD_BYTES = 65536
_MAX_HANDSHAKE_BYTES = 1 << 20  # OpenSSL itself reads handshake records without end


def tls_error_message(problem: ssl.SSLError) -> str:
    """Why TLS failed; for a bad certificate, what is wrong with it."""
    if isinstance(problem, ssl.SSLCertVerificationError):
        return f"TLS: certificate not trusted: {problem.verify_message}"
    return f"TLS: {tls_reason(problem)}"


def tls_reason(problem: ssl.SSLError) -> str:
    """OpenSSL's word for the problem, or the message of an error that OpenSSL did not raise."""
    return getattr(problem, "reason", None) or str(problem)


class TlsSession:
    """The encryption of one connection, on memory buffers. reads, size_bytes: received so far."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self.closed = False
        self.reads = 0
        self.size_bytes = 0

    def handshake(self) -> Generator[bytes, bytes, bytes]:
        """Drive the handshake: yields bytes to send, takes received bytes, returns the last bytes to send.

        Raises ssl.SSLError, or ssl.SSLCertVerificationError for a bad certificate.
        """
        size_bytes = 0
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                received = yield self._outgoing.read()
                size_bytes += len(received)
                if size_bytes > _MAX_HANDSHAKE_BYTES:
                    raise ssl.SSLError(
                        ssl.SSL_ERROR_SSL, "the handshake does not end (more than 1 MiB)"
                    ) from None
                if received:
                    self._receive(received)
                else:
                    self._incoming.write_eof()
            else:
                return self._outgoing.read()

    def encrypt(self, data: bytes) -> bytes:
        """The encrypted bytes to send for `data`."""
        self._tls.write(data)
        return self._outgoing.read()

    def decrypt(self, data: bytes) -> bytes:
        """The decrypted bytes; may be empty. Sets `closed` on the peer's close_notify."""
        self._receive(data)
        clear = bytearray()
        while not self.closed:
            try:
                piece = self._tls.read(_RECORD_BYTES)
            except ssl.SSLWantReadError:
                break
            if not piece:  # an SSLZeroReturnError is raised only to those who sent close_notify themselves
                self.closed = True
            clear += piece
        return bytes(clear)

    def _receive(self, data: bytes) -> None:
        self.reads += 1
        self.size_bytes += len(data)
        self._incoming.write(data)
