"""Reads the curl command that a developer has at hand, so that nobody has to spell a request a second time.

The command is read as a POSIX shell would read it, and never run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from harness.errors import SettingsError

_PIECE = re.compile(
    r"""(?P<gap>[ \t\r]+|\\\r?\n)
      | (?P<end>[\n;|&<>])
      | '(?P<single>[^']*)'
      | \$'(?P<ansi>(?:[^'\\]|\\.)*)'
      | "(?P<double>(?:[^"\\`]|\\.)*)"
      | (?P<variable>\$\{?[A-Za-z_][A-Za-z0-9_]*\}?)
      | \\(?P<escaped>.)
      | (?P<plain>[^\s'"\\$`;|&<>]+)""",
    re.VERBOSE | re.DOTALL,
)
_IN_DOUBLE = re.compile(r"\\([$`\"\\])|\\\n|\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?", re.DOTALL)
_ANSI = re.compile(
    r"\\(?:u([0-9a-fA-F]{1,4})|U([0-9a-fA-F]{1,8})|x([0-9a-fA-F]{1,2})|([0-7]{1,3})|(.))", re.DOTALL
)
_ANSI_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b"}

_BARE_LETTERS = frozenset("sSNvifgL#0123467")
_BARE = frozenset(
    (
        *("--silent", "--show-error", "--no-buffer", "--verbose", "--include", "--fail", "--globoff"),
        *("--location", "--compressed", "--http1.1", "--http2", "--fail-with-body", "--no-progress-meter"),
        *("--progress-bar", "--ipv4", "--ipv6", "--no-keepalive"),
    )
)
_PASSED_OVER = frozenset(
    (
        *("-o", "--output", "-m", "--max-time", "--connect-timeout", "-A", "--user-agent", "-e", "--referer"),
        *("-w", "--write-out", "--retry", "--retry-delay", "--retry-max-time", "-y", "-Y"),
    )
)
_BODIES = frozenset(("-d", "--data", "--data-raw", "--data-binary", "--data-ascii", "--json"))
_TAKING = _PASSED_OVER | _BODIES | {"-X", "-H", "-b", "-u", "-F", "-x", "-T", "-K"}
_OWN_HEADERS = frozenset(
    (
        *(
            "authorization",
            "content-type",
            "accept",
            "idempotency-key",
            "last-event-id",
            "host",
            "connection",
        ),
        *("user-agent", "content-length", "accept-encoding", "accept-language", "cache-control", "pragma"),
        *("origin", "referer", "dnt", "priority"),
    )
)


@dataclass(frozen=True, slots=True)
class CurlRequest:
    """What a curl command asks for.

    token: of ``Authorization: Bearer``; None without. body: the JSON object that is posted. left_out: names of
    header fields that the harness would not send.
    """

    base_url: str
    path: str
    token: str | None
    body: Mapping[str, Any]
    left_out: tuple[str, ...] = ()
    verify_tls: bool = True
    ca_file: str | None = None


def read_curl(text: str, variables: Mapping[str, str], folder: Path = Path()) -> CurlRequest:
    """The request of a curl command.

    variables: what a shell would put in for ``$NAME``. folder: where ``@file`` is looked for. Raises
    SettingsError, in a sentence, for what is no such command.
    """
    words = list(_words(text, variables))
    while words and words[0] in ("$", "%"):
        words.pop(0)
    if not words or Path(words[0]).name not in ("curl", "curl.exe"):
        raise SettingsError("the file holds no curl command; it must begin with the word curl")
    return _Command(folder).read(words[1:])


def _words(text: str, variables: Mapping[str, str]) -> Iterator[str]:
    """The words of the first command in `text`."""
    word: str | None = None
    seen = False
    at = 0
    while at < len(text):
        if text[at] == "#" and word is None:
            at = text.find("\n", at) if "\n" in text[at:] else len(text)
            continue
        piece = _PIECE.match(text, at)
        if piece is None:
            if text.startswith("$", at):  # a prompt, or a lone sign: as it stands
                word, at = (word or "") + "$", at + 1
                continue
            said = text[at : at + 20].splitlines()[0]
            raise SettingsError(
                f"the curl command cannot be read at {said!r}: a quote is not closed, or it is run"
            )
        at = piece.end()
        if piece["gap"] is None and piece["end"] is None:
            word = (word or "") + _meant(piece, variables)
            continue
        if word is not None:
            yield word
            word, seen = None, True
        if piece["end"] is not None and (seen or piece["end"] != "\n"):
            return
    if word is not None:
        yield word


def _meant(piece: re.Match[str], variables: Mapping[str, str]) -> str:
    if piece["single"] is not None:
        return piece["single"]
    if piece["ansi"] is not None:
        plain = _ANSI.sub(_ansi, piece["ansi"])
        return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if piece["double"] is not None:
        return _IN_DOUBLE.sub(lambda found: _in_double(found, variables), piece["double"])
    if piece["variable"] is not None:
        return _value_of(piece["variable"].strip("${}"), variables)
    return piece["escaped"] or piece["plain"] or ""


def _ansi(found: re.Match[str]) -> str:
    for group in (1, 2, 3):
        if found[group]:
            code = int(found[group], 16)
            return chr(code) if code <= 0x10FFFF else "\ufffd"
    return chr(int(found[4], 8)) if found[4] else _ANSI_LETTERS.get(found[5], found[5])


def _in_double(found: re.Match[str], variables: Mapping[str, str]) -> str:
    return found[1] or (_value_of(found[2], variables) if found[2] else "")


def _value_of(name: str, variables: Mapping[str, str]) -> str:
    if name not in variables:
        raise SettingsError(
            f"the curl command uses ${name}, which is not set; export it, or write its value there"
        )
    return variables[name]


class _Command:
    """Gathers what the words of one command say."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._url: str | None = None
        self._headers: list[tuple[str, str]] = []
        self._body: str | None = None
        self._verify = True
        self._ca_file: str | None = None
        self._takers: dict[str, Callable[[str], None]] = {
            **dict.fromkeys(("", "--url"), self._set_url),
            **dict.fromkeys(("-H", "--header"), self._set_header),
            **dict.fromkeys(("-X", "--request"), self._set_method),
            **dict.fromkeys(("-b", "--cookie"), lambda value: self._set_header(f"Cookie: {value}")),
            "--oauth2-bearer": lambda value: self._set_header(f"Authorization: Bearer {value}"),
            "--cacert": self._set_ca_file,
        }

    def read(self, words: list[str]) -> CurlRequest:
        rest = iter(words)
        for word in rest:
            for option, glued in _options(word):
                self._take(option, glued, rest)
        if self._url is None:
            raise SettingsError("the curl command names no URL")
        if self._body is None:
            raise SettingsError("the curl command posts no body; it must have one, as with -d '{…}'")
        base_url, path = split_url(self._url)
        return CurlRequest(
            base_url,
            path or "/",
            self._token(),
            json_object(self._body, "the body of the curl command"),
            tuple(name for name, _ in self._headers if _is_left_out(name)),
            self._verify,
            self._ca_file,
        )

    def _take(self, option: str, glued: str | None, rest: Iterator[str]) -> None:
        if option in _BARE:
            return
        if option in ("-k", "--insecure"):
            self._verify = False
            return
        value = glued if glued is not None else next(rest, None)
        if value is None:
            raise SettingsError(f"the curl command ends after {option}, which wants a value")
        take = self._takers.get(option)
        if take is not None:
            take(value)
        elif option in _BODIES:
            self._set_body(option, value)
        elif option not in _PASSED_OVER:
            raise SettingsError(
                f"the curl command's option {option} is not understood; leave it out of the file, or use "
                "--target and --action"
            )

    def _set_method(self, value: str) -> None:
        if value.upper() != "POST":
            raise SettingsError(f"the curl command sends {value}; runs are asked for with POST")

    def _set_header(self, value: str) -> None:
        name, _, said = value.partition(":")
        self._headers.append((name.strip(), said.strip()))

    def _set_ca_file(self, value: str) -> None:
        self._ca_file = str(self._folder / value)

    def _set_url(self, value: str) -> None:
        if self._url is not None:
            raise SettingsError(f"the curl command names two URLs, {self._url} and {value}")
        self._url = value

    def _set_body(self, option: str, value: str) -> None:
        if self._body is not None:
            raise SettingsError("the curl command has two bodies; leave one")
        if value.startswith("@") and option != "--data-raw":
            try:
                value = (self._folder / value[1:]).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as problem:
                raise SettingsError(f"cannot read the curl command's body {value}: {problem}") from None
        self._body = value

    def _token(self) -> str | None:
        for name, value in self._headers:
            scheme, _, token = value.partition(" ")
            if name.lower() == "authorization":
                if scheme.lower() != "bearer":
                    raise SettingsError(
                        f"the curl command's Authorization is {scheme}; only Bearer tokens are supported"
                    )
                return token.strip() or None
        return None


def _is_left_out(name: str) -> bool:
    return name.lower() not in _OWN_HEADERS and not name.lower().startswith("sec-")


def _options(word: str) -> Iterator[tuple[str, str | None]]:
    """The options in a word, each with the value that is written onto it; a URL is an option without a name."""
    if not word.startswith("-") or word == "-":
        yield "", word
    elif word.startswith("--"):
        yield word, None
    else:
        for place, letter in enumerate(word[1:], 2):
            if letter in _BARE_LETTERS:
                continue
            if letter == "k":
                yield "-k", None
                continue
            yield f"-{letter}", (word[place:] or None) if f"-{letter}" in _TAKING else None
            return


def split_url(url: str) -> tuple[str, str]:
    """A full URL as ``http[s]://host[:port]`` and a path with its query; the path is empty where there is none.

    Raises SettingsError for another scheme or no host.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError(f"{url!r} is no URL of the form http[s]://host[:port][/path]")
    path = parts.path if parts.path != "/" else ""
    if parts.query:
        path = f"{path or '/'}?{parts.query}"
    return f"{parts.scheme}://{parts.netloc}", path


def json_object(text: str, what: str) -> dict[str, Any]:
    """The JSON object in `text`. Raises SettingsError that calls it `what`."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise SettingsError(f"{what} is not valid JSON: {problem}") from None
    if not isinstance(value, dict):
        raise SettingsError(f'{what} is no JSON object; write {{"name": value, …}}')
    return value
