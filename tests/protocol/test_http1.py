from dataclasses import dataclass

import h11
import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.protocol import http1
from harness.protocol.http1 import Delimiter, HttpSyntaxError, ResponseHead, ResponseParser, encode_request
from harness.protocol.request import HttpRequest
from tests.cases import all_cases
from tests.protocol.cuts import cuttings, everywhere_twice, in_pieces_of

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True)
class Seen:
    """The complete visible state of a parser."""

    head: ResponseHead | None
    body: bytes
    complete: bool
    surplus: bool
    error: str | None


def parse(pieces, *, fin: bool = False) -> Seen:
    parser = ResponseParser()
    body = b""
    error = None
    for piece in pieces:
        try:
            body += parser.feed(piece)
        except HttpSyntaxError as problem:
            body += problem.body
            error = str(problem)
            break
    if fin:
        parser.end_of_connection()
    return Seen(parser.head, body, parser.complete, parser.surplus, error)


@dataclass(frozen=True)
class Answer:
    """A response and its expected values. complete: without a FIN."""

    title: str
    wire: bytes
    body: bytes
    delimiter: Delimiter
    complete: bool = True
    status: int = 200
    surplus: bool = False


ANSWERS = [
    Answer("chunks", CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde", Delimiter.CHUNKED),
    Answer("no chunk but the last", CHUNKED + b"0\r\n\r\n", b"", Delimiter.CHUNKED),
    Answer(
        "chunk sizes in hex of any case",
        CHUNKED + b"a\r\n0123456789\r\n0B\r\n0123456789a\r\n00\r\n\r\n",
        b"01234567890123456789a",
        Delimiter.CHUNKED,
    ),
    Answer("chunk extensions", CHUNKED + b'2;a=1;b="c"\r\nhi\r\n0;z\r\n\r\n', b"hi", Delimiter.CHUNKED),
    Answer("trailer fields", CHUNKED + b"2\r\nhi\r\n0\r\nDigest: x\r\n\r\n", b"hi", Delimiter.CHUNKED),
    Answer(
        "line ends and chunk ends as data",
        CHUNKED + b"7\r\n0\r\n\r\n\r\n\r\n0\r\n\r\n",
        b"0\r\n\r\n\r\n",
        Delimiter.CHUNKED,
    ),
    Answer(
        "chunked in capitals",
        OK + b"TRANSFER-ENCODING: Chunked \r\n\r\n1\r\nx\r\n0\r\n\r\n",
        b"x",
        Delimiter.CHUNKED,
    ),
    Answer(
        "chunked as the last of two codings",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        b"x",
        Delimiter.CHUNKED,
    ),
    Answer(
        "chunked in a second field",
        OK + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        b"x",
        Delimiter.CHUNKED,
    ),
    Answer(
        "chunked, but not as the last coding",
        OK + b"Transfer-Encoding: chunked, gzip\r\n\r\n1\r\nx",
        b"1\r\nx",
        Delimiter.CLOSE,
        complete=False,
    ),
    Answer(
        "a coding that only sounds like it",
        OK + b"Transfer-Encoding: unchunked\r\n\r\n0\r\n\r\n",
        b"0\r\n\r\n",
        Delimiter.CLOSE,
        complete=False,
    ),
    Answer("chunks without the last", CHUNKED + b"3\r\nabc\r\n", b"abc", Delimiter.CHUNKED, complete=False),
    Answer("half a chunk", CHUNKED + b"3\r\nab", b"ab", Delimiter.CHUNKED, complete=False),
    Answer(
        "the last chunk without its line end",
        CHUNKED + b"2\r\nhi\r\n0\r\n\r",
        b"hi",
        Delimiter.CHUNKED,
        complete=False,
    ),
    Answer(
        "trailers without their end", CHUNKED + b"0\r\nDigest: x\r\n", b"", Delimiter.CHUNKED, complete=False
    ),
    Answer("a length", OK + b"Content-Length: 5\r\n\r\nhello", b"hello", Delimiter.LENGTH),
    Answer("a length of 0", OK + b"content-length: 0\r\n\r\n", b"", Delimiter.LENGTH),
    Answer(
        "less than the length",
        OK + b"Content-Length: 5\r\n\r\nhell",
        b"hell",
        Delimiter.LENGTH,
        complete=False,
    ),
    Answer(
        "a length and Connection: close",
        OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi",
        b"hi",
        Delimiter.LENGTH,
    ),
    Answer(
        "neither length nor chunks",
        OK + b"Content-Type: text/event-stream\r\n\r\ndata:x\n\n",
        b"data:x\n\n",
        Delimiter.CLOSE,
        complete=False,
    ),
    Answer("neither, on HTTP/1.0", b"HTTP/1.0 200 OK\r\n\r\nhi", b"hi", Delimiter.CLOSE, complete=False),
    Answer("neither, and no body yet", OK + b"\r\n", b"", Delimiter.CLOSE, complete=False),
    Answer("204", b"HTTP/1.1 204 No Content\r\n\r\n", b"", Delimiter.NO_BODY, status=204),
    Answer(
        "204 that speaks of a body",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n",
        b"",
        Delimiter.NO_BODY,
        status=204,
    ),
    Answer(
        "304 with the length of what it stands for",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n",
        b"",
        Delimiter.NO_BODY,
        status=304,
    ),
    Answer(
        "an error", b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno", b"no", Delimiter.LENGTH, status=503
    ),
    Answer("no reason", b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nhi", b"hi", Delimiter.LENGTH),
    Answer(
        "a status out of range",
        b"HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nhi",
        b"hi",
        Delimiter.LENGTH,
        status=99,
    ),
    Answer(
        "100 first",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nhi",
        b"hi",
        Delimiter.LENGTH,
    ),
    Answer(
        "102 and 103 first, with fields of their own",
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\nContent-Length: 9\r\n\r\n"
        + CHUNKED
        + b"2\r\nhi\r\n0\r\n\r\n",
        b"hi",
        Delimiter.CHUNKED,
    ),
    Answer("an empty line first", b"\r\n" + OK + b"Content-Length: 2\r\n\r\nhi", b"hi", Delimiter.LENGTH),
    Answer("line ends after it", OK + b"Content-Length: 2\r\n\r\nhi\r\n\r\n", b"hi", Delimiter.LENGTH),
    Answer(
        "garbage after a length",
        OK + b"Content-Length: 2\r\n\r\nhiMORE",
        b"hi",
        Delimiter.LENGTH,
        surplus=True,
    ),
    Answer(
        "one byte after a length",
        OK + b"Content-Length: 2\r\n\r\nhi\0",
        b"hi",
        Delimiter.LENGTH,
        surplus=True,
    ),
    Answer(
        "line ends and then garbage after it",
        OK + b"Content-Length: 2\r\n\r\nhi\r\nx",
        b"hi",
        Delimiter.LENGTH,
        surplus=True,
    ),
    Answer(
        "garbage after Connection: close",
        OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nhix",
        b"hi",
        Delimiter.LENGTH,
        surplus=True,
    ),
    Answer(
        "garbage after the last chunk",
        CHUNKED + b"2\r\nhi\r\n0\r\n\r\nx",
        b"hi",
        Delimiter.CHUNKED,
        surplus=True,
    ),
    Answer(
        "a body after 204",
        b"HTTP/1.1 204 No Content\r\n\r\nx",
        b"",
        Delimiter.NO_BODY,
        status=204,
        surplus=True,
    ),
    Answer(
        "a second answer after it",
        OK + b"Content-Length: 2\r\n\r\nhiHTTP/1.1 404 Not Found\r\nX: y\r\nContent-Length: 3\r\n\r\nabc",
        b"hi",
        Delimiter.LENGTH,
        surplus=True,
    ),
    Answer(
        "a switch of protocols after it",
        OK + b"Content-Length: 2\r\n\r\nhiHTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"hi",
        Delimiter.LENGTH,
        surplus=True,
    ),
]

INVALID = [
    ("garbage", b"garbage\r\n\r\n", b""),
    ("an event stream without a head", b"data: x\n\n", b""),
    ("TLS", b"\x15\x03\x03\x00\x02\x02\x28", b""),
    ("HTTP/2 frames", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", b""),
    ("another HTTP version", b"HTTP/1.9 200 OK\r\n\r\n", b""),
    ("a status that is no number", b"HTTP/1.1 OK\r\n\r\n", b""),
    ("a status of two digits", b"HTTP/1.1 20 OK\r\n\r\n", b""),
    ("a field without a colon", OK + b"Content-Length 2\r\n\r\nhi", b""),
    ("a space before the colon", OK + b"Content-Length : 2\r\n\r\nhi", b""),
    ("NUL in a field", OK + b"X: a\0b\r\n\r\n", b""),
    ("a length that is no number", OK + b"Content-Length: two\r\n\r\nhi", b""),
    ("a negative length", OK + b"Content-Length: -2\r\n\r\nhi", b""),
    ("an empty length", OK + b"Content-Length:\r\n\r\nhi", b""),
    ("two lengths", OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi", b""),
    ("a chunk size that is none", CHUNKED + b"2\r\nhi\r\nzz\r\n", b"hi"),
    ("an event where a chunk size belongs", CHUNKED + b"data: x\n\n", b""),
    ("a chunk longer than its size", CHUNKED + b"2\r\nhi\r\n2\r\nhello\r\n", b"hihe"),
    ("a chunk size beyond 64 bits", CHUNKED + b"2\r\nhi\r\nffffffffffffffffff\r\n", b"hi"),
    ("garbage after an interim answer", b"HTTP/1.1 100 Continue\r\n\r\ngarbage", b""),
]

SWITCHES = [
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Go\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\nPRI * HTTP/2.0",
]


class TestAnswers:
    @all_cases("size", [1, 2, 3, 1 << 20])
    @all_cases("answer", ANSWERS, ids=lambda answer: answer.title)
    def test_how_it_ends(self, answer: Answer, size: int):
        open_end = parse(in_pieces_of(size, answer.wire))
        assert open_end.head is not None
        assert (open_end.head.status, open_end.head.delimiter) == (answer.status, answer.delimiter)
        assert (open_end.body, open_end.complete) == (answer.body, answer.complete)
        assert (open_end.surplus, open_end.error) == (answer.surplus, None)
        after_fin = parse(in_pieces_of(size, answer.wire), fin=True)
        assert after_fin.complete == (answer.complete or answer.delimiter is Delimiter.CLOSE)

    @pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.title)
    def test_every_cut_into_three(self, answer: Answer):
        whole = parse([answer.wire])
        for pieces in everywhere_twice(answer.wire):
            assert parse(pieces) == whole, pieces

    def test_body_bytes_are_returned_immediately(self):
        parser = ResponseParser()
        returned = [
            parser.feed(piece)
            for piece in (CHUNKED + b"5\r\nhe", b"l", b"", b"lo\r\n", b"1\r\n!\r\n0\r\n\r\n")
        ]
        assert returned == [b"he", b"l", b"", b"lo", b"!"]

    def test_fin_before_the_end_of_the_head(self):
        for wire in (b"", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 100 Continue\r\n\r\n"):
            assert parse([wire], fin=True) == Seen(None, b"", complete=False, surplus=False, error=None)

    def test_bytes_after_a_complete_response(self):
        parser = ResponseParser()
        parser.feed(OK + b"Content-Length: 2\r\n\r\nhi")
        head = parser.head
        assert parser.feed(b"\r\n") == b""
        assert not parser.surplus
        assert parser.feed(b"HTTP/1.1 500 Oh\r\n\r\nbody") == b""
        assert parser.surplus
        assert parser.feed(b"\r\n") == b""
        assert (parser.surplus, parser.complete, parser.head) == (True, True, head)


#: Responses that h11 rejects and llhttp accepts, with h11's reason.
H11_REFUSES = {
    "chunked as the last of two codings": "Only Transfer-Encoding: chunked is supported",
    "chunked in a second field": "Only Transfer-Encoding: chunked is supported",
    "chunked, but not as the last coding": "Only Transfer-Encoding: chunked is supported",
    "a coding that only sounds like it": "Only Transfer-Encoding: chunked is supported",
    "a status out of range": "status_code should be in range",
    "an empty line first": "no response line received",
}


def h11_reads(wire: bytes) -> tuple[int | None, bytes, bool]:
    """Status, body, and whether the response is complete after a FIN, according to h11."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "h")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(wire)
    status, body, fin = None, b"", False
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            if fin:  # closed before the end of the message
                return status, body, False
            raise
        if isinstance(event, h11.EndOfMessage):
            return status, body, True
        if isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif event is h11.NEED_DATA:
            connection.receive_data(b"")
            fin = True


class TestSecondOpinion:
    @all_cases("answer", ANSWERS, ids=lambda answer: answer.title)
    def test_h11_reads_the_same(self, answer: Answer):
        if answer.title in H11_REFUSES:
            with pytest.raises(h11.RemoteProtocolError, match=H11_REFUSES[answer.title]):
                h11_reads(answer.wire)
            return
        seen = parse([answer.wire], fin=True)
        assert seen.head is not None
        assert h11_reads(answer.wire) == (seen.head.status, seen.body, seen.complete)


class TestHead:
    def test_names_keep_their_case(self):
        fields = b"X-A: 1\r\ncontent-TYPE:text/event-stream\r\nx-a:  2\t \r\nE:\r\nF: \xc3\xa9\r\n\r\n"
        head = parse(in_pieces_of(1, b"HTTP/1.1 418 I'm a teapot\r\n" + fields)).head
        assert head == ResponseHead(
            418,
            "I'm a teapot",
            "1.1",
            (
                ("X-A", "1"),
                ("content-TYPE", "text/event-stream"),
                ("x-a", "2"),
                ("E", ""),
                ("F", "\u00c3\u00a9"),
            ),
        )

    def test_lookup_is_case_insensitive(self):
        head = ResponseHead(200, "OK", "1.1", (("Vary", "a"), ("VARY", "b, c"), ("X", "")))
        assert head.values("vary") == ("a", "b, c")
        assert (head.value("vaRY"), head.value("x"), head.value("y")) == ("a, b, c", "", None)

    def test_fields_of_interim_responses_are_dropped(self):
        head = parse([b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK + b"X: y\r\n\r\n"]).head
        assert head is not None
        assert (head.reason, head.headers) == ("OK", (("X", "y"),))

    def test_trailer_fields_are_dropped(self):
        head = parse([CHUNKED + b"0\r\nX: y\r\n\r\n"]).head
        assert head is not None
        assert head.values("x") == ()

    def test_version(self):
        head = parse([b"HTTP/1.0 200 OK\r\n\r\n"]).head
        assert head is not None
        assert head.version == "1.0"


class TestErrors:
    @pytest.mark.parametrize(("title", "wire", "body"), INVALID, ids=[case[0] for case in INVALID])
    def test_body_bytes_before_the_error_are_kept(self, title, wire, body):
        whole = parse([wire])
        assert whole.error is not None
        assert whole.error.startswith("not an HTTP/1.1 response: ")
        assert "\n" not in whole.error
        assert (whole.body, whole.complete) == (body, False)
        for pieces in everywhere_twice(wire):
            assert parse(pieces) == whole, pieces

    @pytest.mark.parametrize("wire", SWITCHES)
    def test_switching_protocols(self, wire):
        expected = Seen(
            None, b"", False, False, "the server switched protocols (101), which was not requested"
        )
        for size in (1, 7, 1 << 20):
            assert parse(in_pieces_of(size, wire)) == expected

    @pytest.mark.parametrize("wire", [INVALID[0][1], CHUNKED + b"2\r\nhi\r\nzz\r\n", *SWITCHES])
    def test_every_later_call_raises(self, wire):
        parser = ResponseParser()
        with pytest.raises(HttpSyntaxError) as first:
            parser.feed(wire)
        for more in (OK + b"Content-Length: 2\r\n\r\nhi", b"", b"2\r\nhi\r\n"):
            with pytest.raises(HttpSyntaxError) as again:
                parser.feed(more)
            assert (str(again.value), again.value.body) == (str(first.value), b"")
        parser.end_of_connection()
        assert not parser.complete

    def test_an_invalid_close_delimited_head(self):
        seen = parse([OK + b"X: a\0b\r\n\r\nbody"], fin=True)
        assert (seen.head, seen.complete) == (None, False)


_WIRES = [answer.wire for answer in ANSWERS] + [wire for _, wire, _ in INVALID] + SWITCHES


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    """A response of the tables with a few bytes removed or inserted, or followed by a second response."""
    wire = draw(st.sampled_from(_WIRES))
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(wire)))
        end = draw(st.integers(start, min(len(wire), start + 3)))
        new = draw(
            st.sampled_from([b"", b"\r\n", b"\n", b"0\r\n\r\n", b"\0", *_WIRES]) | st.binary(max_size=3)
        )
        wire = wire[:start] + new + wire[end:]
    return wire


class TestCuts:
    @given(cuttings(_damaged()))
    def test_any_split_gives_the_same_result(self, cutting):
        wire, pieces = cutting
        whole = parse([wire], fin=True)
        assert parse(pieces, fin=True) == whole
        assert parse(in_pieces_of(1, wire), fin=True) == whole

    @given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), st.integers(1, 9))
    def test_chunks_of_any_size(self, chunks, size):
        wire = CHUNKED + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
        seen = parse(in_pieces_of(size, wire))
        assert (seen.body, seen.complete, seen.surplus) == (b"".join(chunks), True, False)
        for cut in range(1, 6):  # the last chunk and its line ends
            assert not parse(in_pieces_of(size, wire[:-cut]), fin=True).complete


class SentRequest:
    """A request as parsed by a server."""

    def __init__(self, wire: bytes) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.url = self.body = b""
        self.complete = False
        parser = httptools.HttpRequestParser(self)
        parser.feed_data(wire)
        self.method = parser.get_method()

    def on_url(self, url):
        self.url += url

    def on_header(self, name, value):
        self.headers.append((name, value))

    def on_body(self, body):
        self.body += body

    def on_message_complete(self):
        assert not self.complete
        self.complete = True


class TestEncodeRequest:
    def test_byte_for_byte(self):
        request = HttpRequest("POST", "/a?b=c", (("X-One", "1"), ("x-two", "zwei")), b'{"a":1}')
        assert encode_request(request, host="h:8080") == (
            b'POST /a?b=c HTTP/1.1\r\nHost: h:8080\r\nX-One: 1\r\nx-two: zwei\r\nContent-Length: 7\r\n\r\n{"a":1}'
        )

    def test_a_server_can_parse_it(self):
        request = HttpRequest.post_json(
            "/x", (("Accept", "text/event-stream"),), {"text": "a\r\n\r\nb \u20ac"}
        )
        sent = SentRequest(encode_request(request, host="h"))
        assert (sent.method, sent.url, sent.complete) == (b"POST", b"/x", True)
        assert sent.headers[:2] == [(b"Host", b"h"), (b"Accept", b"text/event-stream")]
        assert sent.body == request.body

    @pytest.mark.parametrize(
        ("method", "body", "length"),
        [
            ("GET", b"", None),
            ("HEAD", b"", None),
            ("GET", b"x", b"1"),
            ("POST", b"", b"0"),
            ("PUT", b"\xff\0", b"2"),
        ],
    )
    def test_content_length(self, method, body, length):
        sent = SentRequest(encode_request(HttpRequest(method, "/", (), body), host="h"))
        assert dict(sent.headers).get(b"Content-Length") == length
        assert (sent.body, sent.complete) == (body, True)

    @pytest.mark.parametrize("name", ["Host", "host", "HOST"])
    def test_a_given_host_is_kept(self, name):
        wire = encode_request(HttpRequest("GET", "/", ((name, "other"),)), host="h")
        assert wire == f"GET / HTTP/1.1\r\n{name}: other\r\n\r\n".encode()

    @pytest.mark.parametrize(
        "name", ["Content-Length", "content-length", "Transfer-Encoding", "transfer-encoding"]
    )
    def test_given_framing_is_kept(self, name):
        wire = encode_request(HttpRequest("POST", "/", ((name, "99"),), b"x"), host="h")
        assert wire == f"POST / HTTP/1.1\r\nHost: h\r\n{name}: 99\r\n\r\nx".encode()

    def test_unusual_headers_are_sent_unchanged(self):
        headers = (("Idempotency-Key", "a"), ("Idempotency-Key", "b\tc  "), ("X Y", "\0\x7f"), ("Empty", ""))
        wire = encode_request(HttpRequest("GET", "/", headers), host="h")
        assert wire == (
            b"GET / HTTP/1.1\r\nHost: h\r\n"
            b"Idempotency-Key: a\r\nIdempotency-Key: b\tc  \r\nX Y: \0\x7f\r\nEmpty: \r\n\r\n"
        )

    def test_non_ascii_is_sent_as_utf8(self):
        """WHATWG HTML 9.2.3: the last event id is sent "encoded as UTF-8"."""
        wire = encode_request(HttpRequest("GET", "/", (("Last-Event-ID", "\u00e9\u2026"),)), host="h")
        assert b"Last-Event-ID: \xc3\xa9\xe2\x80\xa6\r\n" in wire

    @all_cases("line_break", ["\r\n", "\n", "\r", "a\nb", "\r\n\r\nGET / HTTP/1.1"])
    @all_cases("place", ["method", "target", "name", "value", "host"])
    def test_line_breaks_are_refused(self, place, line_break):
        parts = {"method": "GET", "target": "/", "name": "X", "value": "y", "host": "h"}
        parts[place] += line_break
        request = HttpRequest(parts["method"], parts["target"], ((parts["name"], parts["value"]),))
        with pytest.raises(ValueError, match=r"^a request line or header field contains a line break$"):
            encode_request(request, host=parts["host"])

    def test_line_breaks_in_the_body_are_allowed(self):
        assert encode_request(HttpRequest("POST", "/", (), b"\r\n\r\n"), host="h").endswith(
            b"4\r\n\r\n\r\n\r\n"
        )


TWO = b'2\r\nhi\r\n2;name="a b"\r\nho\r\n0\r\n\r\n'
CHUNKED_FIELDS = [
    b"Transfer-Encoding: chunked\t",
    b"Transfer-Encoding:\tChunked \t ",
    b"transfer-encoding:CHUNKED",
    b"Transfer-Encoding: ,chunked",
    b"Transfer-Encoding: chunked,",
    b"Transfer-Encoding: , chunked ,\t,",
]


@all_cases("field", CHUNKED_FIELDS)
@all_cases("size", [1, 7, 1000])
def test_chunked_however_its_field_is_written(field: bytes, size: int) -> None:
    wire = OK + field + b"\r\n\r\n" + TWO
    found = parse([wire[at : at + size] for at in range(0, len(wire), size)])
    assert (found.body, found.complete, found.surplus, found.error) == (b"hiho", True, False, None)
    assert found.head is not None
    assert (found.head.delimiter, found.head.framing_fault) == (Delimiter.CHUNKED, None)


@pytest.mark.parametrize("field", CHUNKED_FIELDS)
def test_what_is_wrong_with_the_chunks_is_seen_however_the_field_is_written(field: bytes) -> None:
    head = OK + field + b"\r\n\r\n"
    assert not parse([head + TWO[:-5]]).complete
    assert parse([head + TWO + b"more"]).surplus
    assert parse([head + TWO[:-5] + b"zz\r\n"]).error is not None
    assert parse([head + TWO[:-5] + b"zz\r\n"]).body == b"hiho"


@all_cases(
    ("fields", "fault"),
    [
        (b"", None),
        (b"Transfer-Encoding: chunked", None),
        (b"Content-Length: 2", None),
        (b"Transfer-Encoding: chunked, chunked", "chunked, chunked applies chunked more than once"),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "applies chunked more than once"),
        (b"Transfer-Encoding: chunked, gzip", "does not end with chunked"),
        (b"Transfer-Encoding: gzip, chunked", "gzip was sent, but the request had no TE"),
        (b"Transfer-Encoding: gzip", "gzip was sent, but the request had no TE"),
        (b"Transfer-Encoding: identity", "identity was sent"),
        (b"Transfer-Encoding: chunked;a=1", "chunked;a=1 was sent"),
        (b"Content-Length: 2\r\nTransfer-Encoding: chunked", "next to Content-Length"),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 2", "next to Content-Length"),
    ],
)
def test_what_is_wrong_with_the_fields_that_frame_the_body(fields: bytes, fault: str | None) -> None:
    head = parse([OK + (fields + b"\r\n" if fields else b"") + b"\r\n"]).head
    assert head is not None
    assert (head.framing_fault is None) is (fault is None)
    assert (fault or "") in (head.framing_fault or "")


def test_chunks_in_http_1_0_are_a_fault() -> None:
    head = parse([b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]).head
    assert head is not None
    assert head.framing_fault is not None
    assert "HTTP/1.0" in head.framing_fault


@pytest.mark.parametrize(
    "fields", [b"Content-Length: 9\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: chunked, chunked"]
)
def test_the_chunks_decide_where_the_fields_disagree(fields: bytes) -> None:
    found = parse([OK + fields + b"\r\n\r\n" + TWO])
    assert (found.body, found.complete, found.error) == (b"hiho", True, None)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"HTTP/1.1 200 OK\r\n" + b"a:\r\n" * 2100, "more than 2,000 header fields"),
        (CHUNKED + b"2\r\nhi\r\n5;" + b"x" * 70_000, "64 KiB of chunk extensions or trailer fields"),
        (
            CHUNKED + b"2\r\nhi\r\n0\r\n" + b"a: b\r\n" * 15_000,
            "64 KiB of chunk extensions or trailer fields",
        ),
    ],
)
def test_what_surrounds_the_body_is_bounded(data: bytes, says: str) -> None:
    parser = ResponseParser()

    def feed() -> None:
        for start in range(0, len(data), 1000):
            parser.feed(data[start : start + 1000])

    with pytest.raises(HttpSyntaxError, match=says):
        feed()


@all_cases("protocol", ["HTTP/2.0", "HTTP/0.9", "RTSP/1.0", "ICE/1.0", "SIP/2.0", "ICY", "http/1.1"])
@all_cases("at_once", [True, False])
def test_other_protocols(protocol: str, at_once: bool) -> None:
    data = CHUNKED.replace(b"HTTP/1.1", protocol.encode()) + b"0\r\n\r\n"
    parser = ResponseParser()

    def feed() -> None:
        for piece in [data] if at_once else [bytes([byte]) for byte in data]:
            parser.feed(piece)

    with pytest.raises(HttpSyntaxError, match=r"not an HTTP/1\.1 response"):
        feed()
    assert parser.head is None


@pytest.mark.parametrize(
    ("fields", "is_kept"),
    [
        (b"x-kept: only in this test\r\n", True),
        (b"".join(b"x-%d: 1\r\n" % number for number in range(65)), False),
        (b"x-long: " + b"x" * 4096 + b"\r\n", False),
    ],
    ids=["small", "65 fields", "4 KB"],
)
def test_only_small_heads_are_kept_for_the_next_response(fields: bytes, is_kept: bool) -> None:
    """A server may send another large head each time."""
    http1._kept_head.cache_clear()
    before = http1._kept_head.cache_info().misses
    assert parse([OK + fields + b"Content-Length: 0\r\n\r\n"]).complete
    assert http1._kept_head.cache_info().misses - before == is_kept
