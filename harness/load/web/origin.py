"""Tells the page's own requests from those that another web page makes a browser send.

A foreign page can reach the server in two ways. It can send requests to the server's address; then the browser names
the foreign page in Origin or in Sec-Fetch-Site. Or its own name can be made to point to the server's address (DNS
rebinding); then the foreign name is in Host. Programs other than browsers send neither Origin nor Sec-Fetch-Site.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from typing import Any

LOOPBACK = "127.0.0.1"
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::[0-9]{1,5})?")
_FOREIGN = frozenset({"cross-site", "same-site"})
"""Values of Sec-Fetch-Site. Another port of this machine is the same site, and another origin."""

WsgiEnvironment = dict[str, Any]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`, an address or a name."""
    if not host:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return bool(found) and all(ipaddress.ip_address(entry[4][0]).is_loopback for entry in found)


class OwnOrigin:
    """The names under which the page answers.

    bound: where it listens; empty means every address. names: further names. An address is always accepted if the
    server listens beyond loopback: DNS rebinding needs a name.
    """

    def __init__(self, bound: str, names: Iterable[str] = ()) -> None:
        self._is_local = is_loopback(bound)
        self._names = {"localhost", bound.lower(), *(name.lower() for name in names if name)}
        if not self._is_local:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
        self._names.discard("")

    def refusal(self, environment: WsgiEnvironment, open_pages: Iterable[str]) -> str | None:
        """Why a request is refused, as one sentence; None unless it comes from a foreign page.

        open_pages: paths that a link on a foreign page may lead to.
        """
        host = environment.get("HTTP_HOST", "").lower()
        if not self._accepts(host):
            return f"this page does not answer to the Host {host[:100]!r}; open it by its address"
        origin = environment.get("HTTP_ORIGIN")
        if origin is not None and origin.lower() != f"{environment['wsgi.url_scheme']}://{host}":
            return "a page of another origin must not use this one"
        if environment.get("HTTP_SEC_FETCH_SITE", "").lower() in _FOREIGN and not (
            environment["REQUEST_METHOD"] == "GET"
            and environment.get("HTTP_SEC_FETCH_MODE") == "navigate"
            and environment.get("HTTP_SEC_FETCH_DEST") == "document"
            and environment["PATH_INFO"] in open_pages
        ):
            return "a page of another site must not use this one"
        return None

    def _accepts(self, host: str) -> bool:
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = found["v6"] or found["name"]
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not self._is_local
