"""A token is found in every form in which a server may send it back, and our own words stay."""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
from dataclasses import replace
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contract.decoding.read_log import ReadLog
from harness.contract.decoding.response import Response
from harness.contract.evidence import redaction
from harness.contract.evidence.document import document, excerpt, restore
from harness.contract.evidence.redaction import Redactor
from harness.contract.evidence.secret_forms import is_ordinary
from harness.contract.requirements import CATALOGUE
from harness.protocol.request import HttpRequest
from tests.cases import all_cases
from tests.contract.exchanges import LAST_CHUNK, STREAM, chunk, frame, head, scripted

TOKEN = "CANARY-7f3a9c2e.Zq_5/x+Y"
HALVES = TOKEN[:9], TOKEN[9:]
URL = "http://127.0.0.1:9"


def content(text: str) -> bytes:
    return frame({"type": "token", "content": text}, "1-0")


def told(masked: bytes | str) -> str:
    """What a reader puts together: without line ends, field names and JSON around strings."""
    text = masked.decode("latin-1") if isinstance(masked, bytes) else masked
    joined = "".join(re.findall(r'"content": ?"([^"]*)"', text))
    return "\n".join([text, joined, re.sub(r"[\r\n]+(?:[A-Za-z-]*: ?)?", "", text)])


FORMS = {
    "as it is": TOKEN,
    "in upper case": TOKEN.upper(),
    "in lower case": TOKEN.lower(),
    "as JSON escapes": "".join(f"\\u{ord(char):04x}" for char in TOKEN),
    "as JSON escapes in upper case": "".join(f"\\u{ord(char):04X}" for char in TOKEN),
    "with one JSON escape": f"{TOKEN[:3]}\\u{ord(TOKEN[3]):04x}{TOKEN[4:]}",
    "with escaped slashes": TOKEN.replace("/", "\\/"),
    "in JSON in JSON": json.dumps(json.dumps(json.dumps({"a": TOKEN.replace("/", "\\/")}))),
    "percent-encoded": quote(TOKEN, safe=""),
    "percent-encoded twice": quote(quote(TOKEN, safe=""), safe=""),
    "percent-encoded as a whole": "".join(f"%{ord(char):02x}" for char in TOKEN),
    "in HTML": TOKEN.replace("/", "&sol;").replace("+", "&plus;").replace("_", "&lowbar;"),
    "as decimal references": "".join(f"&#{ord(char)};" for char in TOKEN),
    "as hexadecimal references": "".join(f"&#x{ord(char):X};" for char in TOKEN),
    "as C escapes": "".join(f"\\x{ord(char):02x}" for char in TOKEN),
    "as escapes in braces": "".join(f"\\u{{{ord(char):x}}}" for char in TOKEN),
    "as references in references": "".join(f"&amp;#{ord(char)};" for char in TOKEN),
    "in quoted-printable": "".join(f"={ord(char):02X}" for char in TOKEN),
    "as octal escapes": "".join(f"\\{ord(char):03o}" for char in TOKEN),
    "in base64": base64.b64encode(TOKEN.encode()).decode(),
    "in base64 after one byte": base64.b64encode(b"u" + TOKEN.encode() + b"z").decode(),
    "in base64 after two bytes": base64.b64encode(b"u:" + TOKEN.encode() + b"zz").decode(),
    "in base64url": base64.urlsafe_b64encode(b"Bearer " + TOKEN.encode()).decode().rstrip("="),
    "in base64 in JSON": json.dumps(base64.b64encode(TOKEN.encode()).decode()).replace("Q", "\\u0051"),
    "in base64 in a URL": quote(base64.b64encode(b"a" + TOKEN.encode()).decode(), safe=""),
    "in hexadecimal": TOKEN.encode().hex(),
    "in hexadecimal with colons": TOKEN.encode().hex(":"),
    "backwards": f"Bearer {TOKEN}"[::-1],
    "in UTF-16": TOKEN.encode("utf-16-le").decode("latin-1"),
}


def undone(text: str) -> set[str]:
    """The text, and what it is without each encoding, as far as it has one."""
    texts = {text, text[::-1], text.replace("\0", ""), html.unescape(text), re.sub(r"\\+/", "/", text)}
    texts |= {re.sub(r"%([0-9A-Fa-f]{2})", lambda byte: chr(int(byte[1], 16)), one) for one in texts}
    texts |= {re.sub(r"%([0-9A-Fa-f]{2})", lambda byte: chr(int(byte[1], 16)), one) for one in texts}
    texts |= {
        re.sub(r"\\+u00(..)|\\x(..)", lambda code: chr(int(code[1] or code[2], 16)), one) for one in texts
    }
    texts |= {
        re.sub(r"\\u\{([0-9a-f]+)\}|=([0-9A-F]{2})", lambda code: chr(int(code[1] or code[2], 16)), text),
        html.unescape(html.unescape(text)),
    }
    texts |= {re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), text)}
    for word in re.findall(r"[A-Za-z0-9+/_-]{8,}", " ".join(texts)) + re.findall(
        "[A-Za-z0-9+/_-]{8,}", quote(text)
    ):
        for padding in ("", "=", "=="):
            try:
                texts.add(
                    base64.b64decode(word.replace("-", "+").replace("_", "/") + padding).decode("latin-1")
                )
            except ValueError:
                continue
        if re.fullmatch("(?:[0-9a-f]{2})+", word):
            texts.add(bytes.fromhex(word).decode("latin-1"))
    if re.fullmatch("(?:[0-9a-f]{2}:)+[0-9a-f]{2}", text):
        texts.add(bytes.fromhex(text.replace(":", "")).decode("latin-1"))
    return {one.lower() for one in texts}


@all_cases("spelt", FORMS.values(), ids=FORMS)
def test_a_token_is_masked_in_every_form(spelt: str) -> None:
    assert any(TOKEN.lower() in one for one in undone(spelt)), "the test does not understand its own form"
    redact = Redactor([TOKEN])
    for masked in (redact.text(spelt), redact.bytes(spelt.encode("latin-1")).decode("latin-1")):
        assert len(masked) == len(spelt)
        assert not any(TOKEN.lower()[4:-4] in one for one in undone(masked))


SPLIT = {
    "two lines of an event": f"data: {HALVES[0]}\ndata: {HALVES[1]}\n\n".encode(),
    "two events": f"data: {HALVES[0]}\n\ndata: {HALVES[1]}\n\n".encode(),
    "two events with ids": f"data: {HALVES[0]}\n\nid: 7\nevent: x\ndata: {HALVES[1]}\n\n".encode(),
    "id and data": f"id: {HALVES[0]}\ndata: {HALVES[1]}\n\n".encode(),
    "two comments": f": {HALVES[0]}\n: {HALVES[1]}\n\n".encode(),
    "CRLF": f"data: {HALVES[0]}\r\ndata: {HALVES[1]}\r\n\r\n".encode(),
    "two header fields": f"HTTP/1.1 200 OK\r\nX-A: {HALVES[0]}\r\nX-B: {HALVES[1]}\r\n\r\n".encode(),
    "the contents of two events": content(HALVES[0]) + content(HALVES[1]),
    "the contents of many events": b"".join(map(content, TOKEN)),
    "the contents of many chunks": b"".join(chunk(content(char)) for char in TOKEN),
    "two members": json.dumps({"content": HALVES[0], "more": HALVES[1]}).encode(),
    "an array": json.dumps({"content": list(TOKEN)}).encode(),
}


@all_cases("data", SPLIT.values(), ids=SPLIT)
def test_a_token_is_masked_that_two_places_share(data: bytes) -> None:
    masked = Redactor([TOKEN]).bytes(data)
    assert len(masked) == len(data)
    for part in (*HALVES, TOKEN):
        assert part not in told(masked)
    assert masked.splitlines().count(b"") == data.splitlines().count(b"")
    assert masked.count(b": ") == data.count(b": ")
    if b'"content"' in data:
        assert masked.count(b'"content"') == data.count(b'"content"')


@given(st.lists(st.integers(0, len(TOKEN) + 20), max_size=6), st.sampled_from(sorted(FORMS)))
def test_reads_may_cut_a_token_anywhere(places: list[int], form: str) -> None:
    data = f"before {FORMS[form]} after".encode("latin-1")
    cuts = [0, *sorted(places), len(data)]
    pieces = [data[a:b] for a, b in pairwise(cuts)]
    redact = Redactor([TOKEN])
    masked = redact.pieces(pieces)
    assert [len(piece) for piece in masked] == [len(piece) for piece in pieces]
    assert b"".join(masked) == redact.bytes(data)


ODD = "CANARY~~~???>>>-7f3a9c2e"
"""In base64 it has both characters that base64url writes in another way."""


@pytest.mark.parametrize("before", ["", "u", "u:"])
def test_both_alphabets_of_base64(before: str) -> None:
    plain = base64.b64encode(f"{before}{ODD}".encode()).decode()
    url = base64.urlsafe_b64encode(f"{before}{ODD}".encode()).decode()
    assert plain != url
    for spelt in (plain, url):
        masked = Redactor([ODD]).text(spelt)
        assert len(masked) == len(spelt)
        assert masked.strip("=")[4:-4].strip("#") == ""


def test_a_word_is_masked_in_a_header_field_in_base64() -> None:
    spelt = base64.b64encode(b"x-Bearer password!").decode()
    masked = Redactor(["password"]).text(f"it sent {spelt}")
    assert base64.b64encode(b"Bearer password").decode()[4:12] not in masked
    assert "#########" in masked


def test_the_name_of_a_header_field_is_masked() -> None:
    request = HttpRequest("POST", "/", ((f"X-{TOKEN}", TOKEN),), b"{}")
    assert Redactor([TOKEN]).request(request).headers == ((f"X-{'*' * len(TOKEN)}", "*" * len(TOKEN)),)


def test_an_exchange_forgets_what_was_decoded_with_the_token() -> None:
    one = scripted((0, head(200, STREAM) + content(TOKEN)))
    received = Response.from_reads(one.reads, connection_ended=True)
    masked = Redactor([TOKEN]).exchange(replace(one, received=received))
    assert masked.text == "*" * len(TOKEN)


def test_the_command_of_an_excerpt_is_masked() -> None:
    request = HttpRequest("POST", "/", (("X-Also", quote(TOKEN, safe="")),), b"{}")
    shown = excerpt(scripted((0, head(200, STREAM)), request=request), base_url=URL, secrets=[TOKEN])
    assert not any(TOKEN.lower() in one for one in undone(shown["curl"]))


def test_the_events_of_a_document_show_no_part_of_a_split_token() -> None:
    contents = [content(char) for char in TOKEN]
    one = scripted(
        (0, head(200, {**STREAM, "Transfer-Encoding": "chunked"})),
        *((1, chunk(one)) for one in contents),
        (2, LAST_CHUNK),
    )
    for shown in (document(one, base_url=URL, secrets=[TOKEN]), excerpt(one, base_url=URL, secrets=[TOKEN])):
        assert "".join(json.loads(event["data"])["content"] for event in shown["events"]) == "*" * len(TOKEN)
    again = restore(document(one, base_url=URL, secrets=[TOKEN]))
    assert again.text == "*" * len(TOKEN)
    assert len(again.frames) == len(one.frames)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_compressed_body_with_a_token_is_not_kept(chunked: bool) -> None:
    body = gzip.compress(content(f"your token is {TOKEN}") * 3)
    fields = {**STREAM, "Content-Encoding": "gzip"}
    if chunked:
        parts = [chunk(body[:30]), chunk(body[30:]), LAST_CHUNK]
        one = scripted(
            (0, head(200, {**fields, "Transfer-Encoding": "chunked"})), *((1, part) for part in parts)
        )
    else:
        one = scripted((0, head(200, {**fields, "Content-Length": str(len(body))})), (1, body))
    assert TOKEN in one.body.decode()
    masked = Redactor([TOKEN]).exchange(one)
    assert masked.head == one.head
    assert masked.size_bytes == one.size_bytes
    assert not masked.frames
    assert body[10:20] not in b"".join(read.data for read in masked.reads)
    harmless = Redactor(["another-token-4711"]).exchange(one)
    assert harmless.reads is one.reads


def test_a_very_large_compressed_body_is_not_searched_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    body = gzip.compress(content("x") * 300_000)
    one = scripted((0, head(200, {**STREAM, "Content-Encoding": "gzip"})), (1, body))
    assert Redactor([]).exchange(one).reads is one.reads
    monkeypatch.setattr(Redactor, "holds", lambda *_: pytest.fail("it was searched"))
    masked = Redactor([TOKEN]).exchange(one)
    assert masked.size_bytes == one.size_bytes
    assert body[10:20] not in b"".join(read.data for read in masked.reads)


@pytest.mark.parametrize("names", [("content", "content"), ("a", "b")])
def test_a_token_is_masked_that_two_long_strings_share(names: tuple[str, str]) -> None:
    """Of long strings only what is near a join is searched once more."""
    long = "y" * 20_000
    values = {names[0]: long + HALVES[0]}, {names[1]: HALVES[1] + long}
    data = b"".join(frame(value, f"{number}-0") for number, value in enumerate(values))
    masked = Redactor([TOKEN]).bytes(data)
    assert len(masked) == len(data)
    assert not any(half.encode() in masked for half in HALVES)
    assert masked.count(b"y") >= 40_000


def test_the_copy_of_a_packed_response_is_packed() -> None:
    """A suite may need a hundred such copies at a time: of large bodies they took 800 MB."""
    one = scripted((0, head(200, STREAM) + content(TOKEN + "x" * 5000)))
    log = ReadLog(one.reads)
    log.pack()
    masked = Redactor([TOKEN]).exchange(replace(one, reads=log)).reads
    assert isinstance(masked, ReadLog)
    assert masked.packed_bytes == log.packed_bytes
    assert TOKEN.encode() not in masked.data


def test_a_masked_token_and_another_form_of_it_stay_different() -> None:
    # A rule that searches for the token must find in the stored bytes what it found in those that were received.
    redact = Redactor([TOKEN])
    stored_token = redact.text(TOKEN)
    assert stored_token in redact.text(f"a {TOKEN} b")
    assert [form for form, spelt in FORMS.items() if stored_token in redact.text(spelt)] == ["as it is"]


def test_equal_ids_stay_equal_and_different_ones_differ() -> None:
    redact = Redactor([TOKEN])
    assert redact.text(f"run-{TOKEN}-1") == redact.text(f"run-{TOKEN}-1") != redact.text(f"run-{TOKEN}-2")


@pytest.mark.parametrize(
    "token", ["a", "test", "pass", "token", "fail", "password", "inconclusive", "12345", "stream"]
)
def test_a_token_that_is_a_word_rewrites_none_of_our_own(token: str) -> None:
    redact = Redactor([token])
    for row in CATALOGUE.values():
        for text in (row.id, row.text, row.fix, row.why):
            assert redact.sentence(text) == text
    assert redact.own_value({"token": {"test": ["pass", token]}}) == {"token": {"test": ["pass", token]}}
    for scheme in ("Bearer ", "bearer ", "Bearer%20", "BEARER  "):
        masked = redact.sentence(f"it sent {scheme}{token}, in vain")
        assert masked == f"it sent {scheme}{'*' * len(token)}, in vain"


def test_a_word_is_masked_where_it_is_a_whole_word_of_the_server() -> None:
    redact = Redactor(["password"])
    assert redact.bytes(b'{"a": "password", "passwords": 1}') == b'{"a": "********", "passwords": 1}'
    assert Redactor(["pass"]).bytes(b'{"a": "pass"}') == b'{"a": "pass"}'


@pytest.mark.parametrize(
    ("token", "ordinary"),
    [
        ("a", True),
        ("s3cr", True),
        ("s3cret", False),
        ("password", True),
        ("demo-token", False),
        ("1234567", True),
    ],
)
def test_which_tokens_are_ordinary(token: str, ordinary: bool) -> None:
    assert is_ordinary(token) is ordinary


def test_a_part_of_a_long_token_is_masked() -> None:
    token = "eyJhbGciOiJIUzI1NiJ9." + "".join(f"{number:04x}" for number in range(0x1000, 0x1100))
    redact = Redactor([token])
    assert redact.text(f"<{token}>") == f"<{'*' * len(token)}>"
    assert token[40:56] not in redact.text(f"cut here: {token[:200]}…")
    assert token[40:56] not in redact.text(f"…{token[16:]}")


HOSTILE = {
    "nearly a token": TOKEN[:-1].encode(),
    "nearly a token on lines": "\n".join(TOKEN[:-1]).encode(),
    "nearly a token in fields": "\nid: ".join(TOKEN[:-1]).encode(),
    "backslashes": b"\\" * 24,
    "ampersands": b"&amp;#00000",
    "quotes": b'"a":"',
    "half a chunk": b"\r\n5;" + b"x" * 190,
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_the_work_grows_with_the_length_alone(data: bytes) -> None:
    # Backtracking over the gaps would take years; the bound of the test run would end it.
    redact = Redactor([TOKEN])
    assert len(redact.bytes(data * (200_000 // len(data)))) == len(data) * (200_000 // len(data))


def test_a_sentence_stays_on_one_line_and_shows_control_characters() -> None:
    redact = Redactor([TOKEN])
    told_by_server = f"\x1b[31m{TOKEN}\n::error::\x9b2J\u202eevil\u200b\ud800"
    assert redact.sentence(told_by_server) == (
        f"\\x1b[31m{'*' * len(TOKEN)}\\n::error::\\x9b2J\\u202eevil\\u200b\\ud800"
    )
    assert redact.lines("a\n\tb\x1b") == "a\n\tb\\x1b"


@pytest.mark.parametrize("byte", [b"x", b"\\", b"\n", b'"'])
def test_repeated_bytes_hide_no_token(byte: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    token, repeated = TOKEN.encode(), byte * 12_001
    first, second = (half.encode() for half in HALVES)
    texts = [
        token + repeated,
        repeated + token,
        repeated + first + b"\r\ndata: " + second + repeated,
        b'{"a": "' + repeated + b'", "content": "' + first + b'", "b": "x", "content": "' + second + b'"}',
        repeated + json.dumps(json.dumps(TOKEN)).encode() + repeated,
    ]
    redact = Redactor([TOKEN])
    monkeypatch.setattr(redaction, "_LARGE_BYTES", 10_000)
    quick = [redact.bytes(text) for text in texts]
    monkeypatch.setattr(redaction, "_LARGE_BYTES", 10**9)
    assert quick == [redact.bytes(text) for text in texts]
    assert not any(shown == text for shown, text in zip(quick[:3], texts, strict=False))


def test_an_oversized_body_of_the_suite_is_searched_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    searched = []
    views = redaction._views

    def recorded(data: bytes, *rest: Any) -> Any:
        searched.append(len(data))
        return views(data, *rest)

    monkeypatch.setattr(redaction, "_views", recorded)
    body = b'{"fileThreadId": "' + b"x" * 24_000_000 + b'"}'
    assert Redactor([TOKEN]).bytes(body) is body
    assert sum(searched) < 100_000


SECRETS = (TOKEN, "demo-token", "a-b+c_d/e:f g", "swordfish", "x" * 20 + TOKEN, "-+ :-+", "kÄfer-token")


@pytest.mark.parametrize("secret", SECRETS)
def test_the_quick_look_at_simple_texts_misses_no_form(secret: str) -> None:
    """It decides only that a text is free, and never where the patterns find something."""
    encoded = [base64.b64encode(b"\0" * place + secret.encode()).decode() for place in range(3)]
    bearer = base64.b64encode(f"Bearer {secret}".encode()).decode()
    urlsafe = [text.replace("+", "-").replace("/", "_") for text in (*encoded, bearer)]
    spaced = ["".join(f"{byte:02X}{gap}" for byte in secret.encode()) for gap in ("", " ", ":", "-")]
    windows = [secret[:16], secret[16:32], secret[-16:]]
    plain, quick = Redactor([secret]), Redactor([secret])
    plain._traces = None
    found = 0
    for text in (
        secret,
        secret.swapcase(),
        secret[::-1],
        f"Bearer {secret}",
        *encoded,
        bearer,
        *urlsafe,
        *spaced,
    ):
        for shown in (text, f"run-{text}.1", text[:-1], text.upper()):
            assert quick.text(shown) == plain.text(shown)
            found += plain.text(shown) != shown
    for text in windows:
        assert quick.text(text) == plain.text(text)
    assert found
    if secret.isascii() and secret.strip("-+ :"):
        assert quick._is_surely_free("0af7651916cd43dd8448eb211c80319c")


def test_a_short_text_is_searched_once_and_few_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[bytes] = []
    search = Redactor._masked

    def counted(self: Redactor, data: bytes, forms: Any) -> bytes:
        searched.append(data)
        return search(self, data, forms)

    monkeypatch.setattr(Redactor, "_masked", counted)
    one, other = Redactor(["secret-token"]), Redactor(["another-token"])
    for _ in range(3):
        assert one.text("Bearer secret-token") == "Bearer ************"
        assert other.text("Bearer secret-token") == "Bearer secret-token"
    assert len(searched) == 1  # that the other holds none shows without a search
    for number in range(redaction._MOST_REMEMBERED + 10):
        one.text(f"'{number}'")
    assert len(one._known) == redaction._MOST_REMEMBERED
    one.text("x" * 10_000)
    assert max(map(len, one._known)) <= redaction._REMEMBERED_CHARS


def test_several_texts_are_masked_as_each_alone() -> None:
    redact = Redactor([TOKEN])
    texts = ["run-1", None, f"run {TOKEN}", "", TOKEN[:9], TOKEN[9:]]
    assert list(redact.texts(texts)) == [None if text is None else redact.text(text) for text in texts]
    assert TOKEN not in str(redact.texts(texts))
    assert list(redact.texts(["a", None])) == ["a", None]
