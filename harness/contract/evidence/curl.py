"""A request as a curl command that reproduces it, without the token."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from harness.protocol.request import HttpRequest

#: Where the harness itself takes the tokens from, in the order of `Settings.secrets`.
TOKEN_VARIABLES = ("HARNESS_TARGET__TOKEN", "HARNESS_TARGET__SECOND_PRINCIPAL__TOKEN")


_BEARER = "Bearer "


_CURL_BODY_BYTES = 16_384  # a longer body is named, not shown


def curl(request: HttpRequest, base_url: str, secrets: Iterable[str] = ()) -> str:
    """The request as a command for a POSIX shell.

    A configured token is taken from the environment, as the harness takes it: `secrets` are in the order
    of TOKEN_VARIABLES.
    """
    known = {
        f"{_BEARER}{secret}": name for secret, name in zip(secrets, TOKEN_VARIABLES, strict=False) if secret
    }
    words = ["curl", "-sNg", "-X", request.method, shlex.quote(base_url.rstrip("/") + request.target)]
    for name, value in request.headers:
        if value in known:
            words += ["-H", f'"{name}: {_BEARER}${known[value]}"']
        else:  # curl leaves a field out that has nothing after its colon
            words += ["-H", shlex.quote(f"{name}: {value}" if value else f"{name};")]
    if request.header("content-type") is None and request.method != "GET":
        words += ["-H", "Content-Type:"]  # curl would call it a form
    if len(request.body) > _CURL_BODY_BYTES:
        return " ".join([*words, f"--data-binary @body.json  # {len(request.body)} bytes, too many to show"])
    if request.body and not _is_plain(request.body):
        return " ".join([f"printf -- '{_octal(request.body)}' |", *words, "--data-binary @-"])
    if request.body or request.method != "GET":
        words += ["--data-raw", shlex.quote(request.body.decode("utf-8"))]
    return " ".join(words)


def _is_plain(data: bytes) -> bool:
    """Whether `data` is text on one line, which a quoted shell word can hold."""
    try:
        return data.decode("utf-8").isprintable()
    except UnicodeDecodeError:
        return False


def _octal(data: bytes) -> str:
    """A format of printf that prints `data`, whatever it is, NUL too."""
    return "".join(
        "%%" if byte == 0x25 else chr(byte) if 32 <= byte < 127 and byte not in b"'\\" else f"\\{byte:03o}"
        for byte in data
    )
