"""A request as a curl command that reproduces it, without the token."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from harness.protocol.request import HttpRequest

#: Environment variables from which the harness reads the tokens, in the order of `Settings.secrets`.
TOKEN_VARIABLES = ("HARNESS_TARGET__TOKEN", "HARNESS_TARGET__SECOND_PRINCIPAL__TOKEN")


_BEARER = "Bearer "


_MAX_BODY_BYTES = 16_384


def curl(request: HttpRequest, base_url: str, secrets: Iterable[str] = ()) -> str:
    """The request as a command for a POSIX shell.

    base_url: of the target, unless the request names a replica. A configured token is replaced by its environment
    variable. secrets: in the order of TOKEN_VARIABLES.
    """
    variables = {
        f"{_BEARER}{secret}": name for secret, name in zip(secrets, TOKEN_VARIABLES, strict=False) if secret
    }
    url = (request.origin or base_url).rstrip("/") + request.target
    command = ["curl", "-sNg", "-X", request.method, shlex.quote(url)]
    for name, value in request.headers:
        if value in variables:
            command += ["-H", f'"{name}: {_BEARER}${variables[value]}"']
        else:  # curl omits a header with nothing after the colon
            command += ["-H", shlex.quote(f"{name}: {value}" if value else f"{name};")]
    if request.header("content-type") is None and request.method != "GET":
        command += ["-H", "Content-Type:"]  # curl's default is a form
    if len(request.body) > _MAX_BODY_BYTES:
        return " ".join(
            [*command, f"--data-binary @body.json  # {len(request.body)} bytes, too long to show"]
        )
    if request.body and not _is_plain(request.body):
        return " ".join([f"printf -- '{_octal(request.body)}' |", *command, "--data-binary @-"])
    if request.body or request.method != "GET":
        command += ["--data-raw", shlex.quote(request.body.decode("utf-8"))]
    return " ".join(command)


def _is_plain(data: bytes) -> bool:
    """Whether `data` is text on one line, so that it can be quoted for the shell."""
    try:
        return data.decode("utf-8").isprintable()
    except UnicodeDecodeError:
        return False


def _octal(data: bytes) -> str:
    """A printf format that prints `data`, NUL included."""
    return "".join(
        "%%" if byte == 0x25 else chr(byte) if 32 <= byte < 127 and byte not in b"'\\" else f"\\{byte:03o}"
        for byte in data
    )
