"""The forms in which a server may send a secret back, as patterns over bytes.

A form is a sequence of atoms: one pattern for each character of the secret, in every spelling of that character (JSON
and C escapes, percent encoding, HTML references, quoted-printable, other case). Between two atoms there may be a gap:
the end of a line, an empty line, or the name of the next field, so that a secret is found that two lines or events
share. Each gap is atomic, so the time to search grows with the length of the data alone, whatever a server sends.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html.entities import html5

SHORTEST = 6
"""Characters of the shortest secret that is searched for alone. A shorter one is found by chance in any text."""

_WORD = re.compile(r"[A-Za-z]{1,15}|[0-9]{1,11}")
_ANCHOR = 32  # atoms in a compiled pattern; the rest of a longer form is matched atom by atom
_WINDOW = 16  # characters of a long secret that are masked alone

# The end of a line, and the name of the field that the next line begins with.
_NEXT_LINE = rb"[\r\n]{1,4}(?:(?:[A-Za-z][A-Za-z0-9_-]{0,60})?:[ \t]?)?|(?:\\{1,8}[rn]){1,4}|\x00"
# The same, with whole lines of the other fields of an event in between.
_NEXT_DATA = (
    rb"[\r\n]{1,4}(?:(?:id|event|retry)?:[^\r\n]{0,200}[\r\n]{1,4}){0,4}"
    rb"(?:[A-Za-z][A-Za-z0-9_-]{0,60}:[ \t]?)?"
)
_HEX_GAP = b"[ :-]"
# A whole run of backslashes, so that a long one is looked at once: nested JSON doubles them with each level.
_BACKSLASHES = rb"\\(?<!\\\\)\\{0,31}"

_BASE64URL = bytes.maketrans(b"_", b"/")

Span = tuple[int, int]

_ENTITIES: dict[str, list[str]] = {}
for _name, _char in html5.items():
    if len(_char) == 1 and _char.isascii() and _name.endswith(";"):
        _ENTITIES.setdefault(_char, []).append(_name)


def is_ordinary(secret: str) -> bool:
    """Whether a secret is too short, or a mere word or number, so that it occurs where nobody meant it."""
    return len(secret) < SHORTEST or _WORD.fullmatch(secret) is not None


@dataclass(frozen=True, slots=True)
class SecretForm:
    """One form of one secret. rest: the atoms after those of the pattern. gap: what may be between two atoms.

    in_words: whether it is searched for in our own sentences too.
    """

    pattern: re.Pattern[bytes]
    gap: re.Pattern[bytes]
    rest: tuple[re.Pattern[bytes], ...] = ()
    needs_lines: bool = False
    in_words: bool = True

    def find(self, data: bytes) -> Iterator[list[Span]]:
        """The parts of each match, first and end, without the gaps between them."""
        if self.needs_lines and b"\n" not in data and b"\r" not in data:
            return
        group = self.pattern.groups  # the secret itself, if the pattern has more than it
        for match in self.pattern.finditer(data):
            start, end = match.span(group)
            for atom in self.rest:
                following = atom.match(data, end)
                if following is None:
                    break
                end = following.end()
            yield list(_without(self.gap, data, start, end))


def _without(gap: re.Pattern[bytes], data: bytes, start: int, end: int) -> Iterator[Span]:
    for match in gap.finditer(data, start, end):
        yield start, match.start()
        start = match.end()
    yield start, end


@lru_cache(maxsize=64)
def forms_of(secret: str) -> tuple[SecretForm, ...]:
    """Every form of a secret; none for an empty one."""
    if not secret:
        return ()
    if is_ordinary(secret):
        word = b"".join(map(_atom, secret))
        shown = [_after_bearer(word)]
        if (
            len(secret) >= SHORTEST and secret.isalpha()
        ):  # whole words of the server, and not in our own sentences
            whole = rb"(?<![A-Za-z0-9])" + word + rb"(?![A-Za-z0-9])"
            shown.append(SecretForm(_compiled(whole), _compiled(_NEXT_LINE), in_words=False))
        return (*shown, *_base64_forms(f"Bearer {secret}"))
    atoms = [_atom(char) for char in secret]
    return (
        _form(atoms, _NEXT_LINE),
        _form(atoms, _NEXT_DATA, needs_lines=True),
        _form(atoms[::-1], _NEXT_LINE),
        _form([_hex(byte) for byte in secret.encode()], _HEX_GAP),
        *_base64_forms(secret),
        *_windows(secret),
    )


def traces_of(secret: str) -> tuple[bytes, ...]:
    """What an ASCII text without escapes and line ends holds if it holds any form of an ASCII secret.

    Both are to be compared as `folded`. Much cheaper than the patterns: nearly no text holds a secret.
    """
    if is_ordinary(secret):
        return (folded(secret), *map(folded, _base64_cores(f"Bearer {secret}")))
    whole = (secret, secret[::-1], secret.encode().hex(), *_base64_cores(secret))
    # The first atoms are enough to find a form.
    begins = (form[: 2 * _ANCHOR if place == 2 else _ANCHOR] for place, form in enumerate(whole))
    return tuple(map(folded, (*begins, *_window_parts(secret))))


def folded(text: str) -> bytes:
    """The text without what the spellings of a form may differ in: case, base64url, and what separates hex digits."""
    return text.encode().lower().translate(_BASE64URL, b"-+ :")


@lru_cache(maxsize=512)
def _compiled(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(pattern)


def _form(atoms: Sequence[bytes], gap: bytes, *, needs_lines: bool = False) -> SecretForm:
    between = b"(?>" + gap + b")?"
    rest = tuple(_compiled(between + atom) for atom in atoms[_ANCHOR:])
    return SecretForm(_compiled(between.join(atoms[:_ANCHOR])), _compiled(gap), rest, needs_lines)


def _after_bearer(word: bytes) -> SecretForm:
    blank = rb"(?:[ \t+:]|%20|\\u0020|&#32;|&nbsp;){1,4}"
    scheme = b"".join(map(_atom, "Bearer"))
    pattern = scheme + blank + b"(" + word + rb")(?![A-Za-z0-9._~/-])"
    return SecretForm(_compiled(pattern), _compiled(_NEXT_LINE))


def _windows(secret: str) -> Iterator[SecretForm]:
    """Parts of a long secret, as they are: a text that was cut somewhere may hold one."""
    for part in _window_parts(secret):
        yield SecretForm(_compiled(re.escape(part.encode())), _compiled(_NEXT_LINE))


def _window_parts(secret: str) -> Iterator[str]:
    if len(secret) > _ANCHOR:
        starts = range(0, len(secret) - _WINDOW + 1, _WINDOW)
        for start in {*starts, len(secret) - _WINDOW}:
            yield secret[start : start + _WINDOW]


def _base64_forms(secret: str) -> Iterator[SecretForm]:
    for core in _base64_cores(secret):
        yield _form([_base64_atom(char) for char in core], _NEXT_LINE)


def _base64_cores(secret: str) -> Iterator[str]:
    """The secret inside a longer text in base64 or base64url: the characters that depend on nothing else."""
    data = secret.encode()
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + data).decode().rstrip("=")
        first = -(-before * 8 // 6)
        end = (before + len(data)) * 8 // 6
        core = encoded[first:end]
        if len(core) >= SHORTEST:
            yield core


def _base64_atom(char: str) -> bytes:
    pair = {"+": "+-", "/": "/_"}.get(char, char)
    return b"(?:" + b"|".join(_spellings(one) for one in pair) + b")"


def _atom(char: str) -> bytes:
    """One character in each of its spellings, upper and lower case."""
    chars = dict.fromkeys((char, char.lower(), char.upper()))
    return b"(?:" + b"|".join(_spellings(one) for one in chars) + b")"


def _hex(code: int) -> bytes:
    return "".join(
        digit if digit.isdigit() else f"[{digit}{digit.upper()}]" for digit in f"{code:02x}"
    ).encode()


def _spellings(char: str) -> bytes:
    # Each alternative begins with one fixed byte: the engine then skips all other bytes quickly.
    code, two = ord(char), _hex(ord(char))
    literal = re.escape(char.encode())
    escaped = rb"(?:u\{?0{0,6}%s\}?|x%s|0?%03o)" % (two, two, code)
    if not char.isalnum():
        escaped = rb"(?:%s|%s)" % (escaped[3:-1], literal)
    names = "".join(f"|{re.escape(name)}" for name in _ENTITIES.get(char, ())).encode()
    reference = rb"&(?:amp;)?(?:#(?:0{0,6}%d|[xX]0{0,6}%s);?%s)" % (code, two, names)
    alternatives = (literal, _BACKSLASHES + escaped, rb"%%(?:25){0,3}%s" % two, reference, b"=" + two)
    return b"|".join(alternatives)
