"""The header fields of every response of the page: content security policies and what else limits a browser."""

from __future__ import annotations

import re
from collections.abc import Iterable

Headers = list[tuple[str, str]]

_NOT_FRAMED = "base-uri 'none'; frame-ancestors 'none'"
OUR_PAGE = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    f"form-action 'self'; {_NOT_FRAMED}"
)
"""The policy of the charts and the login: own files only, nothing inline."""

_NOTHING = f"default-src 'none'; form-action 'none'; {_NOT_FRAMED}; sandbox"
_OTHER_PAGE = "object-src 'none'; base-uri 'self'; frame-ancestors 'none'"
"""For a page of the user's locustfile, of which nothing is known."""

_POLICY = "Content-Security-Policy"
_META_POLICY = re.compile(
    r'<meta http-equiv="Content-Security-Policy" content="([^"<>\r\n]*)">'  # the quotes in it are escaped
)
_ALWAYS = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "same-origin"),  # with no-referrer, a form would be sent with the Origin "null"
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
_FILE_NAME = re.compile(r"""filename=(?:"([^"]*)"|([^;]*))""")
_ERROR = 400


def locust_page(nonce: str) -> str:
    """The policy of Locust's page: its scripts are files, but for one with the nonce; it sets styles inline."""
    return (
        f"default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; "
        f"img-src 'self' data:; font-src 'self' data:; connect-src 'self'; form-action 'self'; {_NOT_FRAMED}"
    )


def locust_report(nonce: str) -> str:
    """The policy of Locust's own report, whose scripts and styles are inline."""
    return (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'unsafe-inline'; img-src 'self' data:; "
        f"font-src data:; form-action 'none'; {_NOT_FRAMED}"
    )


def our_report(html: str) -> str:
    """The policy of the harness's report, which the page itself contains; frames are forbidden in addition."""
    found = _META_POLICY.search(html, 0, 4096)
    if found is None:
        return _NOTHING
    return f"{found[1].replace('&#39;', chr(39))}; frame-ancestors 'none'"


def secured(status: str, headers: Iterable[tuple[str, str]], *, is_file: bool) -> Headers:
    """The header fields of a response, without permissions for other origins, and with limits for the browser.

    is_file: whether it is a script, style sheet or picture, which a browser may keep.
    """
    kept = [(name, value) for name, value in headers if not name.lower().startswith("access-control-")]
    names = {name.lower() for name, _ in kept}
    kept = [
        (name, _attachment(value) if name.lower() == "content-disposition" else value) for name, value in kept
    ]
    kept += [(name, value) for name, value in _ALWAYS if name.lower() not in names]
    if _POLICY.lower() not in names:
        content_type = next((value for name, value in kept if name.lower() == "content-type"), "")
        is_page = content_type.startswith("text/html") and int(status[:3]) < _ERROR
        kept.append((_POLICY, _OTHER_PAGE if is_page else _NOTHING))
    if not is_file:
        kept = [(name, value) for name, value in kept if name.lower() != "cache-control"]
        kept.append(("Cache-Control", "no-store"))
    return kept


def _attachment(value: str) -> str:
    """The field with a file name of plain characters; Locust puts the target's URL into it."""

    def plain(found: re.Match[str]) -> str:
        return f'filename="{re.sub(r"[^A-Za-z0-9._-]+", "_", found[1] or found[2] or "")}"'

    return _FILE_NAME.sub(plain, value, count=1)
