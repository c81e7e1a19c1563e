"""Event streams and their expected events.

They cover every parsing case of two public suites: web-platform-tests, folder ``eventsource`` (``wpt`` below; without
its cases about requests, reconnection and media types), and LaunchDarkly's sse-contract-tests (``ld``). ``ours`` marks
cases that neither has. An event is (name, data, last event id); an empty name means ``message``.
"""

from dataclasses import dataclass

Event = tuple[str, str, str]

BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Case:
    title: str
    origin: str
    stream: bytes
    events: tuple[Event, ...]
    retry_ms: int | None = None
    pending: bytes = b""


def data(*values: str) -> tuple[Event, ...]:
    """Events with only data."""
    return tuple(("", value, "") for value in values)


LINES_AND_ENDS = [
    Case("one line of data", "ld basic", b"data: one\n\n", data("one")),
    Case("two events", "ld basic", b"data: one\n\ndata: two\n\n", data("one", "two")),
    Case(
        "many events keep their order",
        "ld basic",
        b"".join(b"data: n%d\n\n" % n for n in range(120)),
        data(*(f"n{n}" for n in range(120))),
    ),
    Case(
        "mixed line ends in one block", "wpt format-newlines", b"data:a\r\ndata\ndata:b\r\n\r", data("a\n\nb")
    ),
    Case(
        "each kind of line end ends an event",
        "wpt readable-stream",
        b"data:1\r\rdata:2\n\ndata:3\r\n\r\n",
        data("1", "2", "3"),
    ),
    Case("CR then CRLF is a line end and a blank line", "ours", b"data:1\r\r\ndata:2\r\r\n", data("1", "2")),
    Case("LF then CR is a line end and a blank line", "ours", b"data:1\n\rdata:2\n\r", data("1", "2")),
    Case("LF CR LF is a line end and one blank line", "ours", b"data:1\n\r\ndata:2\n\r\n", data("1", "2")),
    Case("blank lines before the first block", "ours", b"\n\r\r\n\ndata:1\n\n", data("1")),
    Case("nothing", "ours", b"", ()),
    Case("only blank lines", "ours", b"\r\n\r\n\n\r", ()),
    Case(
        "other separators of Unicode and ASCII end no line",
        "ours",
        "data:a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\n\n".encode(),
        data("a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"),
    ),
]


def _with_line_end(name: str, end: bytes) -> list[Case]:
    def case(title: str, stream: bytes, *values: str) -> Case:
        return Case(f"{name}: {title}", "ld linefeeds", stream.replace(b"\n", end), data(*values))

    return [
        case("one line", b"data: a\n\n", "a"),
        case("one line, then two lines", b"data: a\n\ndata: b\ndata: c\n\n", "a", "b\nc"),
        case("an empty first line", b"data:\ndata: b\ndata: c\n\n", "\nb\nc"),
        case("an empty middle line", b"data: a\ndata:\ndata: c\n\n", "a\n\nc"),
        case("an empty last line", b"data: a\ndata:\n\n", "a\n"),
        case("one blank line too many", b"data: a\n\n\ndata: b\n\n", "a", "b"),
        case("two blank lines too many", b"data: a\n\n\n\ndata: b\n\n", "a", "b"),
    ]


LINE_ENDS = [*_with_line_end("LF", b"\n"), *_with_line_end("CRLF", b"\r\n"), *_with_line_end("CR", b"\r")]

FIELDS = [
    Case("no space after the colon", "ld basic", b"event:greet\ndata:x\n\n", (("greet", "x", ""),)),
    Case(
        "one space is taken, a second kept",
        "ld basic",
        b"event:  greet\ndata:  x\n\n",
        ((" greet", " x", ""),),
    ),
    Case("a tab is no space", "wpt format-leading-space", b"data:\tx\rdata: \ndata:y\n\n", data("\tx\n\ny")),
    Case("space before the colon belongs to the name", "ours", b"data : x\ndata:y\n\n", data("y")),
    Case("only the first colon counts", "ours", b"data:a: b:c\n\n", data("a: b:c")),
    Case("no colon means an empty value", "ld basic", b"data\n\ndata\ndata\n\n", data("", "\n")),
    Case(
        "data, with colon and without",
        "wpt format-field-data",
        b"data:\n\ndata\ndata\n\ndata:x\n\n",
        data("", "\n", "x"),
    ),
    Case(
        "unknown fields pass", "ld basic", b"event: greet\nshape: round\ndata: x\n\n", (("greet", "x", ""),)
    ),
    Case(
        "what looks like fields and is none",
        "wpt format-field-unknown",
        b"data:a\n data\ndata\nshape:round\nloose words\n:remark\ndata:b\n\n",
        data("a\n\nb"),
    ),
    Case(
        "names are exact: case, NUL, hyphen, underscore, leading space",
        "wpt format-field-parsing",
        b"data:\0\rDATA:no\ndata\0:no\r\n\0data:no\rda-ta:no\nda_ta\r\n data:no\rdata:  a\ndata:\rdata:b\n\n",
        data("\0\n a\n\nb"),
    ),
    Case(
        "blocks without data dispatch nothing",
        "wpt event-data",
        b"data:m\ndata:m\n\n:\nother:m\n\nother:m\nData:d\n\ndata\n\ndata:end\n\n",
        data("m\nm", "", "end"),
    ),
    Case("any order of fields", "ld basic", b"data: x\nid: i\nevent: greet\n\n", (("greet", "x", "i"),)),
    Case("NUL in data stays", "wpt format-null-character", b"data:\0\n\n", data("\0")),
]

EVENT_NAMES = [
    Case("a name", "ld basic", b"event: greet\ndata: x\n\n", (("greet", "x", ""),)),
    Case(
        "a name holds for its event only",
        "wpt format-field-event",
        b"event:e\ndata:x\n\ndata:x\n\n",
        (("e", "x", ""), ("", "x", "")),
    ),
    Case("an empty name is none", "wpt format-field-event-empty", b"event: \ndata:x\n\n", data("x")),
    Case("the last name of a block holds", "ours", b"event:a\nevent:b\ndata:x\n\n", (("b", "x", ""),)),
    Case("an empty last name takes it back", "ours", b"event:a\nevent\ndata:x\n\n", data("x")),
    Case("a name without data is gone with its block", "ours", b"event:a\n\ndata:x\n\n", data("x")),
]

IDS = [
    Case("an id", "ld basic", b"id: i\ndata: x\n\n", (("", "x", "i"),)),
    Case("name and id", "ld basic", b"event: greet\nid: i\ndata: x\n\n", (("greet", "x", "i"),)),
    Case(
        "an id stays",
        "wpt format-field-id-3",
        b"id: 1\ndata:a\n\ndata:b\n\n",
        (("", "a", "1"), ("", "b", "1")),
    ),
    Case(
        "a new id replaces it, and stays",
        "wpt format-field-id-3",
        b"id: 1\ndata:a\n\nid: 2\ndata:b\n\ndata:c\n\n",
        (("", "a", "1"), ("", "b", "2"), ("", "c", "2")),
    ),
    Case(
        "an empty id resets it",
        "wpt format-field-id-3",
        b"id: 1\ndata:a\n\nid:\ndata:b\n\ndata:c\n\n",
        (("", "a", "1"), ("", "b", ""), ("", "c", "")),
    ),
    Case(
        "an id without colon resets it",
        "ours",
        b"id: 1\ndata:a\n\nid\ndata:b\n\n",
        (("", "a", "1"), ("", "b", "")),
    ),
    Case(
        "an id beyond ASCII",
        "wpt format-field-id",
        "id: \u2026\ndata: x\n\ndata: y\n\n".encode(),
        (("", "x", "\u2026"), ("", "y", "\u2026")),
    ),
    Case("an id with NUL is ignored", "wpt format-field-id-null", b"id: \0\0\ndata: x\n\n", data("x")),
    Case("NUL within an id ignores all of it", "ld basic", b"id: a\0b\ndata: x\n\n", data("x")),
    Case(
        "an ignored id leaves the one before",
        "ours",
        b"id: 1\ndata:a\n\nid: 2\0\ndata:b\n\nid: 3\nid: 4\0\ndata:c\n\n",
        (("", "a", "1"), ("", "b", "1"), ("", "c", "3")),
    ),
    Case("an id without data counts for the next event", "ours", b"id: 1\n\ndata:a\n\n", (("", "a", "1"),)),
    Case(
        "an unfinished event's id does not count",
        "wpt format-data-before-final-empty-line",
        b"retry:9\ndata:a\n\nid:1\ndata:b",
        data("a"),
        9,
        b"id:1\ndata:b",
    ),
]

RETRY = [
    Case("milliseconds", "wpt readable-stream", b"retry: 5000\ndata: x\n\n", data("x"), 5000),
    Case("leading zeros are decimal", "wpt format-field-retry", b"retry:02000\ndata:x\n\n", data("x"), 2000),
    Case(
        "what is not all digits is ignored",
        "wpt format-field-retry-bogus",
        b"retry:2000\nretry:1000x\ndata:x\n\n",
        data("x"),
        2000,
    ),
    Case(
        "an empty value is ignored",
        "wpt format-field-retry-empty",
        b"retry\ndata:x\n\nretry:\ndata:y\n\n",
        data("x", "y"),
    ),
    *(
        Case(f"{value!r} is ignored", "ours", f"retry:{value}\ndata:x\n\n".encode(), data("x"))
        for value in ("-1", "+1", "1.5", "1e3", "1_000", "  1", "1 ", "\u0661\u0662", "\u00b2", "0x10", "1\0")
    ),
    Case("zero", "ours", b"retry:000\n\n", (), 0),
    Case("it needs no data", "ours", b"retry: 7\n\n", (), 7),
    Case("the longest true number", "ours", b"retry:999999999999999999\n\n", (), 10**18 - 1),
    Case(
        "numbers beyond any clock stay at the limit",
        "ours",
        b"retry:" + b"9" * 5000 + b"\ndata:x\n\n",
        data("x"),
        10**18,
    ),
    Case("thousands of zeros before a number", "ours", b"retry:" + b"0" * 5000 + b"12\n\n", (), 12),
]

COMMENTS = [
    Case("before an event", "ld comments", b":hello\ndata: x\n\n", data("x")),
    Case("after an event", "ld comments", b"data: x\n\n:hello\n", data("x"), pending=b":hello\n"),
    Case("several, and none of them an event", "ld comments", b":a\n:b\n\n:\n\n", ()),
    Case(
        "long, empty, and like fields, between data",
        "wpt format-comments",
        b"data:a\n:" + b"long " * 1000 + b"\r:\r\ndata:b\r:id:no\n:\0data:no\r\ndata:c\n:: \n\n",
        data("a\nb\nc"),
    ),
]

BOMS = [
    Case("at the start, dropped", "ld bom", BOM + b"data: x\n\n", data("x")),
    Case("before name and id", "ld bom", BOM + b"event: e\nid: i\ndata: x\n\n", (("e", "x", "i"),)),
    Case("before several events", "ld bom", BOM + b"data: x\n\ndata: y\n\n", data("x", "y")),
    Case("before several lines", "ld bom", BOM + b"data: x\ndata: y\n\n", data("x\ny")),
    Case("before a comment", "ld bom", BOM + b":c\ndata: x\n\n", data("x")),
    Case("before empty data", "ld bom", BOM + b"data:\n\n", data("")),
    Case("before a blank line", "ours", BOM + b"\ndata:x\n\n", data("x")),
    Case("in a value, kept", "ld bom", b"data: x\n\ndata: " + BOM + b"y\n\n", data("x", "\ufeffy")),
    Case(
        "one dropped, the one in the value kept", "ld bom", BOM + b"data: " + BOM + b"y\n\n", data("\ufeffy")
    ),
    Case(
        "at a later line, part of the name",
        "wpt format-bom",
        BOM + b"data:1\n\n" + BOM + b"data:2\n\ndata:3\n\n",
        data("1", "3"),
    ),
    Case(
        "a second one is part of the name",
        "wpt format-bom-2",
        BOM * 2 + b"data:1\n\ndata:2\n\ndata:3\n\n",
        data("2", "3"),
    ),
    Case("after a blank line, part of the name", "ours", b"\n" + BOM + b"data:1\n\ndata:2\n\n", data("2")),
    Case("half a BOM is a broken character", "ours", b"\xef\xbbdata:1\n\ndata:2\n\n", data("2")),
    Case("a stream that is a BOM alone", "ours", BOM, ()),
    Case("a stream that is half a BOM", "ours", b"\xef\xbb", (), pending=b"\xef\xbb"),
]

ENCODING = [
    Case(
        "characters of three bytes",
        "ld basic",
        "data: \u2713\u4e16\u754c\n\n".encode(),
        data("\u2713\u4e16\u754c"),
    ),
    Case("always UTF-8", "wpt format-utf-8", b"data:ok\xe2\x80\xa6\n\n", data("ok\u2026")),
    Case("characters of four bytes", "ours", "data:\U0001f680\n\n".encode(), data("\U0001f680")),
    Case("a stray byte", "ours", b"data:a\xffb\n\n", data("a\ufffdb")),
    Case(
        "a character cut off by the line end",
        "ours",
        b"data:a\xe2\x82\ndata:\xac\n\n",
        data("a\ufffd\n\ufffd"),
    ),
    Case(
        "a surrogate in UTF-8 is three broken bytes",
        "ours",
        b"data:\xed\xa0\x80\n\n",
        data("\ufffd\ufffd\ufffd"),
    ),
    Case("an overlong slash", "ours", b"data:\xc0\xaf\n\n", data("\ufffd\ufffd")),
    Case("a broken byte in the name", "ours", b"data\xff:a\ndata:b\n\n", data("b")),
]

ENDINGS = [
    Case("no line end", "ours", b"data:a\n\ndata:b", data("a"), pending=b"data:b"),
    Case("no blank line", "ours", b"data:a\n\ndata:b\n", data("a"), pending=b"data:b\n"),
    Case("no blank line after CRLF", "ours", b"data:a\r\n\r\ndata:b\r\n", data("a"), pending=b"data:b\r\n"),
    Case("a CR is a blank line already", "ours", b"data:a\r\n\r", data("a")),
    Case("an LF that may follow a CR leaves nothing", "ours", b"data:a\r\r\n", data("a")),
]

CASES = [
    *LINES_AND_ENDS,
    *LINE_ENDS,
    *FIELDS,
    *EVENT_NAMES,
    *IDS,
    *RETRY,
    *COMMENTS,
    *BOMS,
    *ENCODING,
    *ENDINGS,
]
