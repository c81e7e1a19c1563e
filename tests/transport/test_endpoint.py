from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from harness.transport.endpoint import Endpoint
from tests.cases import all_cases


@pytest.mark.parametrize(
    ("url", "host", "port", "authority"),
    [
        ("http://agent.example.com", "agent.example.com", 80, "agent.example.com"),
        ("http://agent.example.com:80/", "agent.example.com", 80, "agent.example.com"),
        ("http://agent.example.com:8080", "agent.example.com", 8080, "agent.example.com:8080"),
        ("http://Agent.Example.com", "agent.example.com", 80, "agent.example.com"),
        ("http://b\u00fccher.example", "xn--bcher-kva.example", 80, "xn--bcher-kva.example"),
        ("http://[::1]:8080", "::1", 8080, "[::1]:8080"),
        ("http://[::1]", "::1", 80, "[::1]"),
        ("https://agent.example.com", "agent.example.com", 443, "agent.example.com"),
        ("https://agent.example.com:443", "agent.example.com", 443, "agent.example.com"),
        ("https://agent.example.com:80", "agent.example.com", 80, "agent.example.com:80"),
    ],
)
def test_host_port_and_authority(url: str, host: str, port: int, authority: str) -> None:
    endpoint = Endpoint.from_url(url)
    assert (endpoint.host, endpoint.port, endpoint.authority) == (host, port, authority)
    assert (endpoint.tls is not None) is url.startswith("https")


@all_cases(
    "url",
    [
        "",
        "agent.example.com",
        "ftp://agent.example.com",
        "http://",
        "http://:80",
        "http://h:99999",
        "http://h:port",
        "http://[::1",
        "http://a..b",
        f"http://{'a' * 64}.example",
    ],
)
def test_invalid_urls(url: str) -> None:
    with pytest.raises(ValueError, match=r"^target '.*' is not a URL of the form http\[s\]://host\[:port\]"):
        Endpoint.from_url(url)


def test_certificates_are_verified_by_default(tmp_path: Path) -> None:
    checking = Endpoint.from_url("https://h").tls
    assert checking is not None
    assert (checking.verify_mode, checking.check_hostname) == (ssl.CERT_REQUIRED, True)
    trusting = Endpoint.from_url("https://h", verify=False).tls
    assert trusting is not None
    assert (trusting.verify_mode, trusting.check_hostname) == (ssl.CERT_NONE, False)
    with pytest.raises(FileNotFoundError):
        Endpoint.from_url("https://h", ca_file=str(tmp_path / "none.pem"))
    (tmp_path / "bad.pem").write_text("not a certificate")
    with pytest.raises(OSError, match=r"(?i)cert|PEM"):
        Endpoint.from_url("https://h", ca_file=str(tmp_path / "bad.pem"))


def test_a_server_of_several_protocols_is_asked_for_http_1() -> None:
    tls = Endpoint.from_url("https://h", verify=False).tls
    assert tls is not None
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        tls.wrap_bio(incoming, outgoing, server_hostname="h").do_handshake()
    assert b"\x00\x10\x00\x0b\x00\x09\x08http/1.1" in outgoing.read()  # the extension of RFC 7301
