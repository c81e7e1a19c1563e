"""Masks secrets in whatever a server sent, before it enters the results.

Every text from a server passes here once: evidence, the sentences of findings, ids, messages of exceptions, log lines.
The rules judge the bytes as they came, never the masked ones.

A masked byte is an asterisk where the secret was as it is, and a number sign where it was in another form (see
`secret_forms`). Each form keeps its length, so chunk sizes and offsets stay correct, equal ids stay equal, and a stored
Exchange can be judged again. A secret of fewer than 6 characters, or one that is a mere word or number, is masked after
``Bearer``; a word of 6 letters or more also where it is a whole word in a server's bytes. Masking it everywhere would
rewrite our own words, and what is missing would tell the secret.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any

from harness.contract.decoding.read_log import Read, ReadLog
from harness.contract.evidence.secret_forms import SecretForm, Span, folded, forms_of, traces_of
from harness.contract.exchange import Exchange
from harness.formatting import visible
from harness.protocol.request import HttpRequest

_CHUNK_FRAMING = re.compile(rb"\r\n[0-9A-Fa-f]{1,16}(?:[ \t;][^\r\n]{0,200})?\r\n")
_JSON_MEMBER = re.compile(rb'"([^"\\\r\n]{0,100})"\s{0,9}:\s{0,9}"([^"\\]*+(?:\\.[^"\\]*+)*+)"')
_JSON_STRING = re.compile(rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"(\s{0,9}:)?')  # with a colon: a name
_END_OF_HEAD = b"\r\n\r\n"
_QUOTES_OF_TWO_STRINGS = 4
_LARGE_BYTES = 2**16
_BLOCK_BYTES = 2**12
_WITHOUT_ESCAPES = re.compile(r"[ !#$'-<>-\[\]-~]*")  # ASCII without line ends and quotes, too
_REMEMBERED_CHARS = 200
_MOST_REMEMBERED = 1000  # texts
_SEARCHED_BYTES = 4 * 2**20  # of a body without its coding


class Redactor:
    """Masks these secrets. Empty ones are ignored."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self.secrets = tuple(secrets)
        known = dict.fromkeys(secret for secret in self.secrets if secret)
        self._exact = {secret.encode() for secret in known}
        self._forms = tuple(form for secret in known for form in forms_of(secret))
        self._word_forms = tuple(form for form in self._forms if form.in_words)
        self._traces = (
            tuple(trace for secret in known for trace in traces_of(secret))
            if all(map(str.isascii, known))
            else None
        )
        self._known: dict[str, str] = {}  # header fields, for example, are those of every request

    def text(self, text: str) -> str:
        """`text`, which a server sent, with every secret masked."""
        known = self._known.get(text)
        if known is not None:
            return known
        masked = self._masked_text(text, self._forms)
        if len(text) <= _REMEMBERED_CHARS and len(self._known) < _MOST_REMEMBERED:
            self._known[text] = masked
        return masked

    def texts(self, texts: Sequence[str | None]) -> Sequence[str | None]:
        """The same for several short texts, at the cost of one if none holds a secret."""
        # What is in one of them is in all of them together.
        if not self._forms or self._is_surely_free(" ".join(filter(None, texts))):
            return texts
        return [None if text is None else self.text(text) for text in texts]

    def sentence(self, text: str) -> str:
        """A sentence of the harness, on one line, with every secret masked that a server's words in it hold.

        Control characters are shown as escapes.
        """
        return visible(self._masked_text(text, self._word_forms))

    def lines(self, text: str) -> str:
        """The same for a text of several lines, for example a traceback or a log record."""
        return visible(self._masked_text(text, self._word_forms), keep="\n\t")

    def _masked_text(self, text: str, forms: Sequence[SecretForm]) -> str:
        if not forms or not text or self._is_surely_free(text):
            return text
        data = text.encode("utf-8", "surrogatepass")
        masked = self._masked(data, forms)
        return text if masked is data else masked.decode("utf-8", "surrogatepass")

    def _is_surely_free(self, text: str) -> bool:
        """Whether a simple text, such as an id, holds no secret. False does not mean that it does."""
        if self._traces is None or _WITHOUT_ESCAPES.fullmatch(text) is None:
            return False
        compared = folded(text)
        return not any(trace in compared for trace in self._traces)

    def holds(self, data: bytes) -> bool:
        """Whether there is anything to mask."""
        return self._masked(data, self._forms) is not data

    def _masked(self, data: bytes, forms: Sequence[SecretForm]) -> bytes:
        """The data with every form masked; the same object if there is none."""
        if len(data) > _LARGE_BYTES:
            shorter = _without_repeats(data)
            if len(shorter) < len(data) and self._masked(shorter, forms) is shorter:
                return data
        exact: list[Span] = []
        other: list[Span] = []

        def is_worth_it(joined: bytes) -> bool:
            return any(form.pattern.search(joined) for form in forms)

        for view in _views(data, is_worth_it) if forms else ():
            for form in forms:
                for parts in form.find(view.data):
                    found = b"".join(view.data[start:end] for start, end in parts)
                    spans = exact if found in self._exact else other
                    spans += [origin for start, end in parts for origin in view.origins(start, end)]
        if not exact and not other:
            return data
        masked = bytearray(data)
        for mark, spans in ((b"#", other), (b"*", exact)):
            for start, end in spans:
                masked[start:end] = mark * (end - start)
        return bytes(masked)

    def pieces(self, pieces: Sequence[bytes]) -> list[bytes]:
        """Consecutive `pieces` of one message with every secret masked, each as long as before.

        A secret that is split by the end of a read, by chunk framing, or over several events is masked too.
        """
        data = b"".join(pieces)
        whole = self._masked(data, self._forms)
        return list(pieces) if whole is data else _cut_like(pieces, whole)

    def bytes(self, data: bytes) -> bytes:
        """`data` with every secret masked, as long as before."""
        return self.pieces([data])[0]

    def value(self, value: Any) -> Any:
        """A JSON value with every secret in its strings masked, as in `text`."""
        return _with_strings(value, self.text)

    def own_value(self, value: Any) -> Any:
        """The same for our values, for example settings: a secret that is a mere word stays."""
        return _with_strings(value, lambda text: self._masked_text(text, self._word_forms))

    def exchange(self, one: Exchange) -> Exchange:
        """The Exchange with every secret masked, in its request too.

        A body with a coding (gzip for example) that holds a secret cannot be masked in place; all of it is. So is one
        that is too large to be searched: a server can send a thousand of 32 MiB, and each takes seconds.
        """
        data = one.received_bytes  # not its pieces: a response may have 32 MiB, and each copy of them counts
        masked = self._masked(data, self._forms)
        if one.head is not None and one.head.body_codings and self._may_hold(one):
            masked = _without_body(masked)
        is_same = masked == data
        return replace(
            one,
            label=self.text(one.label),
            request=self.request(one.request),
            ending_detail=self.sentence(one.ending_detail),
            reads=one.reads if is_same else _with_data(one.reads, masked),
            received=one.received if is_same else None,
        )

    def _may_hold(self, one: Exchange) -> bool:
        """Whether there may be anything to mask in a body with a coding. A very large one is not searched."""
        return bool(self._forms) and (len(one.body) > _SEARCHED_BYTES or self.holds(one.body))

    def request(self, request: HttpRequest) -> HttpRequest:
        """The request with every secret masked."""
        return HttpRequest(
            request.method,
            self.text(request.target),
            tuple((self.text(name), self.text(value)) for name, value in request.headers),
            self.bytes(request.body),
            origin=request.origin,
        )


class _View:
    """Parts of some data, joined. parts: their first and end, in order."""

    def __init__(self, data: bytes, parts: Sequence[Span]) -> None:
        self.data = b"".join(data[start:end] for start, end in parts)
        self._parts = parts
        self._starts = list(accumulate((end - start for start, end in parts), initial=0))

    def origins(self, start: int, end: int) -> Iterator[Span]:
        """The parts of the data that these bytes of the view are from."""
        number = bisect_right(self._starts, start) - 1
        while start < end and number < len(self._parts):
            first, last = self._parts[number]
            offset = start - self._starts[number]
            length = min(end - start, last - first - offset)
            if length > 0:
                yield first + offset, first + offset + length
            start += length
            number += 1


def _without_repeats(data: bytes) -> bytes:
    """The data without blocks of one byte that follow an equal block. It holds a secret if the data does.

    A block is longer than a gap in a secret, than what the patterns of a view repeat, and than a part of a long secret
    that is searched for alone. Its length is even, so backslashes escape the same.
    """
    repeats: list[Span] = []
    before = b""
    for start in range(0, len(data), _BLOCK_BYTES):
        block = data[start : start + _BLOCK_BYTES]
        if block == before and block.count(block[:1]) == len(block):
            repeats.append((start, start + len(block)))
        before = block
    if not repeats:
        return data
    return b"".join(data[start:end] for start, end in _between(repeats, len(data)) if start < end)


def _views(data: bytes, is_worth_it: Callable[[bytes], bool]) -> Iterator[_View]:
    """The data as it is, and as a client puts it together: without chunk framing; the strings of its JSON in order,
    all of them and those of one name. is_worth_it: whether joined strings are to be yielded.
    """
    body = _View(data, [(0, len(data))])
    yield body
    framing = [match.span() for match in _CHUNK_FRAMING.finditer(data)]
    if framing:
        body = _View(data, list(_between(framing, len(data))))
        yield body
    if body.data.count(b'"') < _QUOTES_OF_TWO_STRINGS:
        return
    by_name: dict[bytes, list[bytes]] = {}
    for name, value in _JSON_MEMBER.findall(body.data):
        by_name.setdefault(name, []).append(value)
    names = {
        name for name, values in by_name.items() if len(values) > 1 and is_worth_it(_near_the_joins(values))
    }
    members: dict[bytes, list[Span]] = {name: [] for name in names}
    for match in _JSON_MEMBER.finditer(body.data) if names else ():
        if match[1] in names:
            members[match[1]].append(match.span(2))
    strings: list[Span] = []
    texts = [text for text, colon in _JSON_STRING.findall(body.data) if not colon]
    if len(texts) > 1 and is_worth_it(_near_the_joins(texts)):
        strings = [match.span(1) for match in _JSON_STRING.finditer(body.data) if not match[2]]
    for spans in (*members.values(), strings):
        yield _View(data, [origin for span in spans for origin in body.origins(*span)])


def _near_the_joins(texts: Sequence[bytes]) -> bytes:
    """The texts joined, long ones without their middle: a secret there is in the data as it is."""
    most = 2 * _BLOCK_BYTES
    return b"".join(
        text if len(text) <= most else text[:_BLOCK_BYTES] + text[-_BLOCK_BYTES:] for text in texts
    )


def _between(spans: Sequence[Span], length: int) -> Iterator[Span]:
    start = 0
    for first, end in spans:
        yield start, first
        start = end
    yield start, length


def _without_body(data: bytes) -> bytes:
    """The data with an asterisk for each byte of the body; chunk framing and line ends stay."""
    head = data.find(_END_OF_HEAD) + len(_END_OF_HEAD)
    framing = [match.span() for match in _CHUNK_FRAMING.finditer(data, head - 2)]
    masked = bytearray(data)
    for start, end in _between([(0, head), *framing], len(data)):
        if start >= head:
            masked[start:end] = b"*" * (end - start)
    return bytes(masked)


def _cut_like(pieces: Sequence[bytes], whole: bytes) -> list[bytes]:
    ends = list(accumulate(map(len, pieces), initial=0))
    return [whole[start:end] for start, end in pairwise(ends)]


def _with_strings(value: Any, shown: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, Mapping):
        return {shown(key): _with_strings(member, shown) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_with_strings(item, shown) for item in value]
    return value


def _with_data(reads: Iterable[Read], data: bytes) -> ReadLog:
    log, start = ReadLog(), 0
    for read in reads:
        end = start + len(read.data)
        log.append(read.arrival_ns, read.lag_ns, data[start:end], error_ns=read.error_ns)
        start = end
    if isinstance(reads, ReadLog) and reads.packed_bytes:  # a rule may need a hundred such copies at a time
        log.pack()
    return log
