from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path

import pytest

from harness.transport.tls import TlsSession, tls_error_message
from tests.transport.servers import Authority, make_authority


class Peer:
    """The server side of TLS, on memory buffers."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)

    def answer(self, data: bytes) -> bytes:
        """The server's handshake bytes in response to `data`."""
        self.incoming.write(data)
        with suppress(ssl.SSLError):  # needs more data, or received an alert
            self.tls.do_handshake()
        return self.outgoing.read()

    def encrypt(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self.outgoing.read()


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.ca_file))


def shake_hands(client: TlsSession, peer: Peer) -> None:
    steps = client.handshake()
    out = next(steps)
    try:
        while True:
            out = steps.send(peer.answer(out))
    except StopIteration as last:
        tickets = peer.answer(last.value)
    assert client.decrypt(tickets) == b""


@pytest.fixture
def session(authority: Authority) -> tuple[TlsSession, Peer]:
    client, peer = TlsSession(trusting(authority), "127.0.0.1"), Peer(authority.context)
    shake_hands(client, peer)
    return client, peer


def test_encrypt_and_decrypt(session: tuple[TlsSession, Peer]) -> None:
    client, peer = session
    peer.incoming.write(client.encrypt(b"a request"))
    assert peer.tls.read() == b"a request"
    assert client.decrypt(peer.encrypt(b"an answer")) == b"an answer"
    assert not client.closed


def test_a_record_is_decrypted_once_complete(session: tuple[TlsSession, Peer]) -> None:
    client, peer = session
    record = peer.encrypt(b"an answer")
    assert [client.decrypt(record[at : at + 1]) for at in range(len(record) - 1)] == [b""] * (len(record) - 1)
    assert client.decrypt(record[-1:]) == b"an answer"


def test_many_records_in_one_read(session: tuple[TlsSession, Peer]) -> None:
    client, peer = session
    large = b"x" * 200_000
    assert (
        client.decrypt(peer.encrypt(b"a") + peer.encrypt(large) + peer.encrypt(b"b")) == b"a" + large + b"b"
    )


def test_close_notify_after_the_last_record(session: tuple[TlsSession, Peer]) -> None:
    client, peer = session
    last = peer.encrypt(b"last record")
    with pytest.raises(ssl.SSLWantReadError):
        peer.tls.unwrap()
    assert client.decrypt(last + peer.outgoing.read()) == b"last record"
    assert client.closed


def test_a_tampered_record_is_an_error(session: tuple[TlsSession, Peer]) -> None:
    client, peer = session
    record = bytearray(peer.encrypt(b"an answer"))
    record[-1] ^= 1
    with pytest.raises(ssl.SSLError) as caught:
        client.decrypt(bytes(record))
    assert tls_error_message(caught.value).startswith("TLS: ")


def test_an_untrusted_certificate_names_the_reason(authority: Authority, tmp_path: Path) -> None:
    untrusting = TlsSession(ssl.create_default_context(), "127.0.0.1")
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        shake_hands(untrusting, Peer(authority.context))
    assert tls_error_message(caught.value) == (
        "TLS: certificate not trusted: unable to get local issuer certificate"
    )
    elsewhere = make_authority(tmp_path, "DNS:elsewhere.example")
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        shake_hands(TlsSession(trusting(elsewhere), "127.0.0.1"), Peer(elsewhere.context))
    assert "IP address mismatch" in tls_error_message(caught.value)


@pytest.mark.parametrize("sent", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
def test_a_peer_without_tls(authority: Authority, sent: bytes) -> None:
    steps = TlsSession(trusting(authority), "127.0.0.1").handshake()
    assert next(steps)[:1] == b"\x16"
    with pytest.raises(ssl.SSLError) as caught:
        steps.send(sent)
    assert tls_error_message(caught.value).startswith("TLS: ")


def test_a_handshake_without_end_is_an_error() -> None:
    context = ssl.create_default_context()
    steps = TlsSession(context, "example.com").handshake()
    next(steps)
    records = b"\x16\x03\x03\x00\x04\x00\x00\x00\x00" * 7000
    for _ in range(16):
        steps.send(records)
    with pytest.raises(ssl.SSLError, match="more than 1 MiB"):
        steps.send(records)


def test_an_error_that_openssl_did_not_raise() -> None:
    assert tls_error_message(ssl.SSLError(ssl.SSL_ERROR_SSL, "it does not end")) == "TLS: it does not end"
