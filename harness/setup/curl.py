"""Parses a curl command into a request, for ``harness init --from-curl``.

Quoting and escapes follow the POSIX shell. The command is never executed. It may be from an unknown source: no
environment variable, file or command that it names is read, and init prints which they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from harness.config.parsing import masked_address
from harness.errors import SettingsError
from harness.formatting import shortened
from harness.input_file import SETTINGS_BYTES, read_text
from harness.protocol.strict_json import loads_strict
from harness.setup.curl_form import ENCODED, PARTS, FormAs, field_of, fields_of, form, is_urlencoded
from harness.setup.settings_draft import TOKEN_VARIABLE

_TOKEN = re.compile(
    r"""(?P<gap>[ \t\r]+|\\\r?\n)
      | (?P<end>[\n;|&<>])
      | '(?P<single>[^']*)'
      | \$'(?P<ansi>(?:[^'\\]|\\.)*)'
      | "(?P<double>(?:[^"\\`]|\\.)*)"
      | (?P<variable>\$\{?[A-Za-z_][A-Za-z0-9_]*\}?)
      | (?P<output>\$\([^()]*\))
      | \\(?P<escaped>.)
      | (?P<plain>[^ \t\r\n'"\\$`;|&<>]+)""",
    re.VERBOSE | re.DOTALL,
)
_IN_DOUBLE = re.compile(r"\\([$`\"\\])|\\\n|\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?|(\$\([^()]*\))", re.DOTALL)
_UNREAD = re.compile("\ufdd0([^\ufdd1]*)\ufdd1")  # noncharacters: no command contains them
_ANSI = re.compile(
    r"\\(?:u([0-9a-fA-F]{1,4})|U([0-9a-fA-F]{1,8})|x([0-9a-fA-F]{1,2})|([0-7]{1,3})|(.))", re.DOTALL
)
_OF_WINDOWS = re.compile(r"[ \t][\^`][ \t]*\r?\n|\^\"")
_SCHEME = re.compile("[A-Za-z]{1,9}(?:[-_][A-Za-z0-9]{1,9})?")
_ANSI_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b"}

_FLAG_LETTERS = frozenset("sSNvifgL#0123467")
_FLAGS = frozenset(
    (
        *("--silent", "--show-error", "--no-buffer", "--verbose", "--include", "--fail", "--globoff"),
        *("--location", "--compressed", "--http1.1", "--http2", "--fail-with-body", "--no-progress-meter"),
        *(
            "--progress-bar",
            "--ipv4",
            "--ipv6",
            "--no-keepalive",
            "--raw",
            "--http3",
            "--tlsv1.2",
            "--tlsv1.3",
        ),
    )
)
_IGNORED_WITH_VALUE = frozenset(
    (
        *("-o", "--output", "-m", "--max-time", "--connect-timeout", "-A", "--user-agent", "-e", "--referer"),
        *("-w", "--write-out", "--retry", "--retry-delay", "--retry-max-time", "-y", "-Y"),
    )
)
_BODY_OPTIONS = frozenset(("-d", "--data", "--data-raw", "--data-binary", "--data-ascii", "--json"))
_WITH_VALUE = _IGNORED_WITH_VALUE | _BODY_OPTIONS | {"-X", "-H", "-b", "-u", "-F", "-x", "-T", "-K"}
_HARNESS_HEADERS = frozenset(
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
    """The request that a curl command sends.

    token: from ``Authorization: Bearer``, None if absent. body: the JSON object it posts, or the fields of its form.
    left_out: names of header fields that the harness does not send. unread: variables and files that the command reads
    and the harness did not. token_unread: the one that has the token; empty if there is none. form_as: how the form is
    written; None for JSON.
    """

    base_url: str
    path: str
    token: str | None
    body: Mapping[str, Any]
    left_out: tuple[str, ...] = ()
    verify_tls: bool = True
    unread: tuple[str, ...] = ()
    token_unread: str = ""
    form_as: FormAs | None = None


def read_curl(text: str) -> CurlRequest:
    """Parse a curl command.

    Raises SettingsError with a one-sentence message if the command cannot be used, as one whose URL or body is in a
    variable or a file.
    """
    try:
        return _CommandParser().parse(_arguments(text))
    except SettingsError as problem:
        if _OF_WINDOWS.search(text) is None:
            raise
        raise SettingsError(
            f"{problem}; the command is for a Windows shell, with ^ or ` at the end of a line: in the browser, choose "
            '"Copy as cURL (bash)"'
        ) from None


def _arguments(text: str) -> list[str]:
    """The words after curl."""
    words = list(_words(_UNREAD.sub("", text)))
    while words and words[0] in ("$", "%"):
        words.pop(0)
    if not words or Path(words[0]).name not in ("curl", "curl.exe"):
        raise SettingsError("no curl command in the file; it must start with curl")
    return words[1:]


def read_curl_file(file: Path) -> CurlRequest:
    """The request of the curl command in a file, which may be a pipe. Raises SettingsError."""
    return read_curl(read_text(file, "the curl command in", SETTINGS_BYTES, piped=True))


def unread_token(curl: CurlRequest) -> SettingsError:
    """The error that the token of a command is not in it."""
    return SettingsError(
        f"the token of the curl command is in {curl.token_unread}, which init does not read: it reads no variable, "
        f"command or file that a command names; export {TOKEN_VARIABLE}=… or use --token-file"
    )


def _words(text: str) -> Iterator[str]:
    """The words of the first command in `text`."""
    word: list[str] = []  # the parts of the word; empty between two words
    seen = False
    at = 0
    while at < len(text):
        if text[at] == "#" and not word:
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
            continue
        token = _TOKEN.match(text, at)
        if token is None:
            if text.startswith("$", at):  # a prompt or a lone dollar sign: literal
                word.append("$")
                at += 1
                continue
            line = text.count("\n", 0, at) + 1
            raise SettingsError(
                f"cannot parse the curl command from {text[at]} in line {line}: unclosed quote or command substitution"
            )
        at = token.end()
        if token["gap"] is None and token["end"] is None:
            word.append(_unquoted(token))
            continue
        if word:
            yield "".join(word)
            word, seen = [], True
        if token["end"] is not None and (seen or token["end"] != "\n"):
            return
    if word:
        yield "".join(word)


def _unquoted(token: re.Match[str]) -> str:
    if token["single"] is not None:
        return token["single"]
    if token["ansi"] is not None:
        plain = _ANSI.sub(_ansi_character, token["ansi"])
        return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if token["double"] is not None:
        return _IN_DOUBLE.sub(_in_double, token["double"])
    if token["variable"] is not None:
        return _unread("$" + token["variable"].strip("${}"))
    if token["output"] is not None:
        return _unread(token["output"])
    return token["escaped"] or token["plain"] or ""


def _ansi_character(escape: re.Match[str]) -> str:
    for group in (1, 2, 3):
        if escape[group]:
            code = int(escape[group], 16)
            return chr(code) if code <= 0x10FFFF else "\ufffd"
    return chr(int(escape[4], 8)) if escape[4] else _ANSI_LETTERS.get(escape[5], escape[5])


def _in_double(escape: re.Match[str]) -> str:
    name, output = escape[2], escape[3]
    return escape[1] or (_unread(f"${name}") if name else _unread(output) if output else "")


def _unread(name: str) -> str:
    """A mark in place of what a variable or a command would give."""
    return f"\ufdd0{' '.join(name.split())[:60]}\ufdd1"


def _require_read(value: str, part: str) -> str:
    """The value itself. Raises SettingsError if a variable or a command would give a part of it."""
    if unread := _UNREAD.search(value):
        raise SettingsError(
            f"{part} of the curl command contains {unread[1]}, which init does not read: it reads no variable, command "
            "or file that a command names; write the value into the command"
        )
    return value


class _CommandParser:
    """Collects URL, headers, body and TLS options from the words of one command."""

    def __init__(self) -> None:
        self._url: str | None = None
        self._headers: list[tuple[str, str]] = []
        self._body: str | None = None
        self._fields: list[tuple[str, str]] = []
        self._form_as: FormAs | None = None
        self._verify = True
        self._unread: list[str] = []
        self._token_unread = ""
        self._setters: dict[str, Callable[[str], None]] = {
            **dict.fromkeys(("", "--url"), self._set_url),
            **dict.fromkeys(("-H", "--header"), self._set_header),
            **dict.fromkeys(("-X", "--request"), self._set_method),
            **dict.fromkeys(("-b", "--cookie"), lambda value: self._set_header(f"Cookie: {value}")),
            "--oauth2-bearer": lambda value: self._set_header(f"Authorization: Bearer {value}"),
            "--cacert": lambda value: self._unread.append(f"the certificate file {value} (use --ca-file)"),
        }

    def parse(self, words: list[str]) -> CurlRequest:
        rest = iter(words)
        for word in rest:
            for option, attached in _options(word):
                self._set_option(option, attached, rest)
        if self._url is None:
            raise SettingsError("the curl command has no URL")
        if self._body is None and self._form_as is None:
            raise SettingsError(
                "the curl command has no body; add one with -d '{…}', or write a profile by hand in which the "
                "request that starts the run is [create] and this one is [run] (docs/profiles.md)"
            )
        base_url, path = split_url(_require_read(self._url, "the URL"))
        token = self._token()
        return CurlRequest(
            base_url,
            path or "/",
            token,
            self._members(),
            tuple(_without_marks(name) for name, _ in self._headers if _is_left_out(name)),
            self._verify,
            tuple(map(_without_marks, self._unread)),
            self._token_unread,
            self._form_as,
        )

    def _members(self) -> dict[str, Any]:
        if self._body is None:
            return form(self._fields)
        return json_object(_require_read(self._body, "the body"), "the body of the curl command")

    def _set_option(self, option: str, attached: str | None, rest: Iterator[str]) -> None:
        if option in _FLAGS:
            return
        if option in ("-k", "--insecure"):
            self._verify = False
            return
        value = attached if attached is not None else next(rest, None)
        if value is None:
            raise SettingsError(f"the curl command ends after {option}, which needs a value")
        setter = self._setters.get(option)
        if setter is not None:
            setter(value)
        elif option in PARTS or option == ENCODED:
            field = field_of(option, _require_read(value, "the form"))
            self._add_fields([field], "multipart" if option in PARTS else "urlencoded")
        elif option in _BODY_OPTIONS and option != "--json" and is_urlencoded(value):
            self._add_fields(fields_of(_require_read(value, "the form")), "urlencoded")
        elif option in _BODY_OPTIONS:
            self._set_body(option, value)
        elif option not in _IGNORED_WITH_VALUE:
            name, equals, _ = option.partition("=")  # a value may be the token
            hint = "; write a blank in place of the equals sign" if equals else ""
            raise SettingsError(
                f"unsupported curl option {shortened(name)}{equals and '=…'}; remove it from the file, or use --target "
                f"and --action{hint}"
            )

    def _set_method(self, value: str) -> None:
        if _require_read(value, "the method").upper() != "POST":
            method = value if _SCHEME.fullmatch(value) else "a different method"
            raise SettingsError(f"the curl command sends {method}; runs are started with POST")

    def _set_header(self, value: str) -> None:
        if value.startswith("@"):
            self._unread.append(f"the header fields in the file {value[1:]}")
            return
        name, _, content = value.partition(":")
        self._headers.append((name.strip(), content.strip()))

    def _set_url(self, value: str) -> None:
        if self._url is not None:
            raise SettingsError(
                f"the curl command has two URLs, {masked_address(_without_marks(self._url))} and "
                f"{masked_address(_without_marks(value))}"
            )
        self._url = value

    def _add_fields(self, fields: list[tuple[str, str]], form_as: FormAs) -> None:
        if self._body is not None or self._form_as not in {None, form_as}:
            raise SettingsError("the curl command has two bodies; remove one")
        self._form_as = form_as
        self._fields += fields

    def _set_body(self, option: str, value: str) -> None:
        if self._body is not None or self._form_as is not None:
            raise SettingsError("the curl command has two bodies; remove one")
        if value.startswith("@") and option != "--data-raw":
            raise SettingsError(
                f"the body of the curl command is in the file {_without_marks(value[1:])}, which init does not read: "
                "it reads no file that a command names; write the body into the command"
            )
        self._body = value

    def _token(self) -> str | None:
        for name, value in self._headers:
            scheme, _, token = value.partition(" ")
            if name.lower() == "authorization":
                if unread := _UNREAD.search(value):
                    self._token_unread = unread[1]
                    return None
                if scheme.lower() != "bearer":
                    # Without one of the known forms, what takes the place of the scheme may be the token.
                    shown = f" {scheme}" if token and _SCHEME.fullmatch(scheme) else ""
                    raise SettingsError(
                        f"unsupported Authorization scheme{shown} in the curl command; use a Bearer token: "
                        "-H 'Authorization: Bearer …'"
                    )
                return token.strip() or None
        return None


def _without_marks(value: str) -> str:
    return _UNREAD.sub(r"\1", value)


def _is_left_out(name: str) -> bool:
    return name.lower() not in _HARNESS_HEADERS and not name.lower().startswith("sec-")


def _options(word: str) -> Iterator[tuple[str, str | None]]:
    """The options in a word, each with an attached value if any; the URL is an option with an empty name."""
    if not word.startswith("-") or word == "-":
        yield "", word
    elif word.startswith("--"):
        yield word, None
    else:
        for place, letter in enumerate(word[1:], 2):
            if letter in _FLAG_LETTERS:
                continue
            if letter == "k":
                yield "-k", None
                continue
            yield f"-{letter}", (word[place:] or None) if f"-{letter}" in _WITH_VALUE else None
            return


def split_url(url: str) -> tuple[str, str]:
    """Split a URL into ``http[s]://host[:port]`` and path with query; the path may be empty.

    Raises SettingsError for a different scheme or a missing host.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    # urlsplit removes line breaks and tabs, and with them the request would go elsewhere.
    if not usable or re.search(r"[\x00-\x20\x7f]", url):
        raise SettingsError(f"{masked_address(url)} is not a URL of the form http[s]://host[:port][/path]")
    if "@" in parts.netloc:
        raise SettingsError(
            f"{masked_address(url)}: a URL with a user name is not supported; set the token separately"
        )
    path = parts.path if parts.path != "/" else ""
    if parts.query:
        path = f"{path or '/'}?{parts.query}"
    return f"{parts.scheme}://{parts.netloc}", path


def json_object(text: str, what: str) -> dict[str, Any]:
    """The JSON object in `text`. Raises SettingsError; `what` names it in the message."""
    try:
        value = loads_strict(text)
    except ValueError as problem:
        raise SettingsError(f"{what} is not valid JSON: {problem}") from None
    if not isinstance(value, dict):
        raise SettingsError(f'{what} is not a JSON object; write {{"name": value, …}}')
    return value
