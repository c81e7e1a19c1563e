from __future__ import annotations

import base64
import json
import shlex
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contract.evidence.curl import TOKEN_VARIABLES, curl
from harness.contract.evidence.document import document, excerpt, printable, restore
from harness.contract.evidence.redaction import Redactor
from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Expectations
from harness.contract.rules.stream import check_stream
from harness.profiles import library
from harness.protocol.request import HttpRequest
from tests.cases import all_cases
from tests.contract.exchanges import (
    LAST_CHUNK,
    POST,
    STREAM,
    asking,
    chunk,
    cut_run,
    done,
    error,
    frame,
    head,
    no_answer,
    reply,
    run,
    scripted,
    token,
    whole_run,
)

URL = "http://127.0.0.1:9"
SECRET = 's3cret/+tok"en'
PLAIN = "token-1"

EXCHANGES: dict[str, Exchange] = {
    "a whole run": whole_run(ended_ms=77),
    "a run of odd frames": run(
        b"\xef\xbb\xbf: hello\r\n\r\n",
        frame({"type": "token", "content": "caf\u00e9 \u2028 \x00"}, "1-0", extra="event: token\nretry: 7\n"),
        b"data: \xff\n\n",
        b"id: 3-3\n\n",
        done(9),
        b"data: pending",
    ),
    "a cut run": cut_run(2),
    "a cut before the head": cut_run(0),
    "a failed run": run(token(0), error(1), ending=Ending.RESET, detail="the connection broke: reset"),
    "a rejection": reply(409, {"code": "conflict"}),
    "no answer": no_answer(Ending.REFUSED, "Connection refused", sent_ms=None),
    "malformed bytes": scripted((0, b"SSH-2.0\r\n"), ending=Ending.MALFORMED, detail="not HTTP"),
    "a megabyte": run(token(0), request=POST.with_json({"x": "y" * 1_000_000})),
}


def through_json(one: Exchange, secrets: tuple[str, ...] = ()) -> Exchange:
    return restore(json.loads(json.dumps(document(one, base_url=URL, secrets=secrets))))


def test_a_stored_exchange_keeps_the_profile_that_reads_it() -> None:
    text = """
name = "mine"
run = { path = "/", json = {} }
[events]
type = "data.kind"
token = { is = "word", text = "data.word" }
done = "over"
"""
    mine = library.parse(text, "mine.toml")
    one = run(frame({"kind": "word", "word": "a"}), frame({"kind": "over"}), profile=mine)
    assert (one.text, one.outcome) == ("a", "done")
    again = through_json(one)
    assert (again.profile, again.text, again.outcome) == (mine, "a", "done")
    stored = document(one, base_url=URL)
    stored["recorded"]["profile"] = "name = 1"
    with pytest.raises(ValueError, match="the recorded profile: name"):
        restore(stored)
    assert "profile" not in document(cut_run(2), base_url=URL)["recorded"]


def test_a_stored_exchange_keeps_what_the_settings_declare() -> None:
    declared = library.with_cancellation(
        library.default_profile(), {"path": "/stop/${run_id}"}, "target.cancel"
    )
    one = run(frame({"type": "cancelled"}), profile=declared)
    again = through_json(one)
    assert again.profile.cancel == declared.cancel is not None
    assert again.outcome == "cancelled"


def test_a_stored_exchange_keeps_its_replica_and_the_command_names_it() -> None:
    one = run(token(0), request=POST.at("http://replica-2:80/"))
    assert through_json(one).request.origin == "http://replica-2:80/"
    assert "http://replica-2:80/agent/workflow-actions" in curl(one.request, URL)
    assert URL in curl(POST, URL)


@pytest.mark.parametrize("what", EXCHANGES)
def test_a_stored_exchange_is_the_one_that_was_received(what: str) -> None:
    one = EXCHANGES[what]
    again = through_json(one)
    assert again == one
    assert again.frames == one.frames
    assert again.head == one.head
    assert check_stream(again, Expectations()) != []
    assert [(finding.verdict, finding.detail) for finding in check_stream(again, Expectations())] == [
        (finding.verdict, finding.detail) for finding in check_stream(one, Expectations())
    ]


@pytest.mark.parametrize("what", EXCHANGES)
def test_masking_changes_no_verdict(what: str) -> None:
    one = EXCHANGES[what]
    again = through_json(one, (PLAIN,))
    assert again.request.header("authorization") in {None, "Bearer *******"}
    assert [(finding.verdict, finding.detail) for finding in check_stream(again, Expectations())] == [
        (finding.verdict, finding.detail) for finding in check_stream(one, Expectations())
    ]


def test_a_large_request_body_is_kept_small() -> None:
    stored = json.dumps(document(EXCHANGES["a megabyte"], base_url=URL))
    assert len(stored) < 10_000


@pytest.mark.parametrize(("of", "problem"), [(lambda data: data[:-5], "cut off"), (bytes, "larger than")])
def test_a_request_body_that_does_not_unpack_within_bounds_is_refused(
    monkeypatch: pytest.MonkeyPatch, of: Callable[[bytes], bytes], problem: str
) -> None:
    stored = document(EXCHANGES["a megabyte"], base_url=URL)
    if problem == "larger than":
        monkeypatch.setattr("harness.contract.evidence.document._UNPACKED_BYTES", 500_000)
    packed = stored["recorded"]["request"]["body"]
    packed["deflated"] = base64.b64encode(of(base64.b64decode(packed["deflated"]))).decode()
    with pytest.raises(ValueError, match=problem):
        restore(stored)


def test_all_that_an_excerpt_shows_is_bounded() -> None:
    """Rows of moderate size, of which there are many, and a large head."""
    frames = [token(place, "x" * 1900) for place in range(200)]
    shown = excerpt(run(*frames, done(200)), base_url=URL)
    for rows, text in (("wire", "bytes"), ("events", "data")):
        assert 100_000 < sum(len(row[text]) for row in shown[rows]) < 170_000
        assert len(shown[rows][-2][text]) < 300
    large_head = excerpt(run(token(0), headers={"X-Large": "y" * 30_000}), base_url=URL)["head"]
    assert len(large_head) < 17_000
    assert large_head.endswith("more characters)")


@pytest.mark.parametrize(
    "stored", [{}, {"recorded": {}}, {"label": "x", "recorded": {"request": None}}, {"recorded": 7}]
)
def test_what_is_no_such_document_is_refused(stored: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        restore(stored)


def test_a_time_of_a_stored_exchange_is_a_number() -> None:
    stored = json.loads(json.dumps(document(run(token(0), done(1)), base_url=URL)))
    for change in (
        {"timing": {**stored["recorded"]["timing"], "ended_ns": True}},
        {"timing": {**stored["recorded"]["timing"], "sent_ns": "1"}},
        {"reads": [[True, *row[1:]] for row in stored["recorded"]["reads"]]},
        {"reads": [[row[0], False, row[2]] for row in stored["recorded"]["reads"]]},
        {"reads": [[*row[:3], True] for row in stored["recorded"]["reads"]]},
    ):
        with pytest.raises(ValueError, match="is not a time in nanoseconds"):
            restore({**stored, "recorded": {**stored["recorded"], **change}})


def test_what_a_reader_is_shown() -> None:
    shown = document(whole_run(label="a fine run"), base_url="http://h:1/")
    assert shown["label"] == "a fine run"
    assert shown["started_at"] == "2024-05-29T16:26:40+00:00"
    assert (shown["ending"], shown["ending_detail"], shown["status"]) == ("complete", "", 200)
    assert shown["head"].splitlines()[:2] == ["HTTP/1.1 200 Because", "Content-Type: text/event-stream"]
    assert shown["wire"][2] == {
        "index": 2,
        "at_ms": 10.0,
        "lag_ms": 0.001,
        "size": len(chunk(token(1))),
        "bytes": shown["wire"][2]["bytes"],
    }
    assert shown["wire"][2]["bytes"].startswith("42\\r\\nid: 1717000000010-0\\ndata: {")
    assert shown["events"][3] == {
        "at_ms": 30.0,
        "index": 3,
        "id": "1717000000030-0",
        "data": '{"type": "done", "runId": "run-1"}',
    }
    assert shown["curl"].startswith("curl -sNg -X POST http://h:1/agent/workflow-actions -H ")
    assert json.loads(json.dumps(shown)) == shown


def test_an_excerpt_is_bounded_and_says_what_it_leaves_out() -> None:
    frames = [token(place) for place in range(300)]
    frames[1] = token(1, "x" * 5_000_000)
    shown = excerpt(run(*frames, done(300)), base_url=URL)
    assert (len(shown["wire"]), shown["wire_left_out"]) == (120, 183)  # head and last chunk are reads too
    assert (len(shown["events"]), shown["events_left_out"]) == (120, 181)
    assert [one["index"] for one in shown["events"]] == [*range(60), *range(241, 301)]
    assert len(shown["events"][1]["data"]) == 2000
    assert shown["wire"][2]["bytes"].endswith("more bytes)")
    assert shown["wire"][2]["size"] > 5_000_000
    assert "recorded" not in shown
    assert len(json.dumps(shown)) < 100_000


def test_an_excerpt_of_what_is_short_is_all_of_it() -> None:
    one = whole_run()
    shown, whole = excerpt(one, base_url=URL), document(one, base_url=URL)
    assert (shown.pop("wire_left_out"), shown.pop("events_left_out")) == (0, 0)
    assert shown == {name: value for name, value in whole.items() if name != "recorded"}


@pytest.mark.parametrize("place", [1955, 1960, 1966, 1970])
def test_an_excerpt_does_not_cut_a_secret_open(place: int) -> None:
    one = run(frame({"type": "token", "content": "x" * place + "s3cret-token"}, "1-0"))
    assert "s3c" not in json.dumps(excerpt(one, base_url=URL, secrets=["s3cret-token"]))


def test_nothing_is_shown_of_what_did_not_happen() -> None:
    shown = document(no_answer(Ending.REFUSED, "Connection refused", sent_ms=None), base_url=URL)
    assert (shown["status"], shown["head"], shown["started_at"]) == (None, "", None)
    assert (shown["wire"], shown["events"], shown["ending"]) == ([], [], "refused")


# Secrets


SPELT = {
    "as it is": SECRET,
    "in a URL": "s3cret%2F%2Btok%22en",
    "in a URL, in lower case": "s3cret%2f%2btok%22en",
    "in a path": "s3cret/%2Btok%22en",
    "in JSON": 's3cret/+tok\\"en',
    "in JSON of PHP": 's3cret\\/+tok\\"en',
    "in HTML": "s3cret/+tok&quot;en",
}


def mark_of(spelt: str) -> str:
    return "*" if spelt == SECRET else "#"


@pytest.mark.parametrize("spelt", SPELT.values(), ids=SPELT)
def test_a_secret_is_masked_however_it_is_spelt(spelt: str) -> None:
    redact = Redactor([SECRET])
    masked = mark_of(spelt) * len(spelt)
    assert redact.text(f"a {spelt} b") == f"a {masked} b"
    assert redact.bytes(f"a {spelt} b".encode()) == f"a {masked} b".encode()
    assert redact.value({"a": [spelt, 7, None], spelt: True}) == {"a": [masked, 7, None], masked: True}


def test_the_longer_secret_is_masked_first() -> None:
    redact = Redactor(["secret-1", "secret-1234", ""])
    assert redact.text("secret-1234 secret-1") == "*********** ********"
    assert redact.bytes(b"secret-1234 secret-1") == b"*********** ********"
    assert Redactor([]).bytes(b"abc") == b"abc"
    assert Redactor([""]).text("abc") == "abc"


@given(st.lists(st.integers(0, 30), max_size=6))
def test_a_secret_that_the_reads_cut_is_masked(places: list[int]) -> None:
    data = b"before s3cret-token after, end"
    cuts = [0, *sorted(places), len(data)]
    pieces = [data[a:b] for a, b in pairwise(cuts)]
    masked = Redactor(["s3cret-token"]).pieces(pieces)
    assert [len(piece) for piece in masked] == [len(piece) for piece in pieces]
    assert b"".join(masked) == b"before ************ after, end"


def test_a_secret_that_chunks_cut_is_masked_and_the_chunks_stay() -> None:
    body = frame({"type": "token", "content": "your token is s3cret-token"}, "1-0")
    place = body.index(b"s3cret")
    parts = [body[: place + 1], body[place + 1 : place + 5], body[place + 5 :]]
    one = scripted(
        (0, head(200, {**STREAM, "Transfer-Encoding": "chunked"})),
        *((1, chunk(part)) for part in parts),
        (1, LAST_CHUNK),
    )
    again = through_json(one, ("s3cret-token",))
    assert again.text == "your token is ************"
    assert [len(read.data) for read in again.reads] == [len(read.data) for read in one.reads]
    assert Redactor(["s3cret-token"]).bytes(b"s3\r\n4;x=1\r\ncret-\r\nzz\r\ntoken") == (
        b"s3\r\n4;x=1\r\ncret-\r\nzz\r\ntoken"  # zz is no chunk size
    )


def everything_in(stored: Any) -> str:
    """All texts of a document, what is base64 decoded, joined."""
    if isinstance(stored, dict):
        return "\n".join([*stored, *map(everything_in, stored.values())])
    if isinstance(stored, list):
        return "\n".join(map(everything_in, stored))
    text = str(stored)
    try:
        return f"{text}\n{base64.b64decode(text, validate=True).decode('latin-1')}"
    except ValueError:
        return text


@pytest.mark.parametrize("spelt", SPELT.values(), ids=SPELT)
def test_no_field_of_a_document_holds_a_secret(spelt: str) -> None:
    request = HttpRequest(
        "POST",
        f"/runs?access_token={spelt}",
        (("Authorization", f"Bearer {SECRET}"), ("X-Also", spelt), ("Idempotency-Key", spelt)),
        json.dumps({"token": spelt}).encode() + spelt.encode(),
    )
    said = frame({"type": "token", "content": spelt}, spelt)
    one = run(
        said,
        said[:40],
        said[40:],
        headers={"X-Token": spelt},
        request=request,
        label=f"a run of {spelt}",
        ending=Ending.RESET,
        detail=f"broken: {spelt}",
    )
    stored = document(one, base_url=f"http://{spelt}", secrets=[SECRET, "other"])
    told = everything_in(stored)
    assert SECRET not in told
    assert spelt not in told
    assert told.count(mark_of(spelt) * len(spelt)) >= 10
    assert f"Bearer ${TOKEN_VARIABLES[0]}" in stored["curl"]


# curl


class Recorder(BaseHTTPRequestHandler):
    seen: list[tuple[str, str, dict[str, str], bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.command, self.path, dict(self.headers), body))  # type: ignore[attr-defined]
        self.send_response(204)
        self.end_headers()

    do_GET = do_OPTIONS = do_POST  # noqa: N815 - the library's names

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def recorder() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as server:
        server.seen = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


BODIES: dict[str, bytes] = {
    "JSON": b'{"a": 1}',
    "single quotes": b"it's {\"a\": 'b'} '' \\' ",
    "double quotes and dollars": b'"$HOME" `id` $(id) !! \\$ "\\"',
    "line breaks": b"a\nb\r\nc\td\n",
    "backslashes": b"\\n \\\\ \\x41 \\101 %s %% %d\n",
    "unicode": "caf\u00e9 \u65e5\u672c \U0001f600".encode(),
    "unicode and line breaks": "caf\u00e9\n\u65e5\u672c\u2028\u2029".encode(),
    "not UTF-8": b'{"a": "\xff\xfe\x80"}',
    "NUL": b'a\x00b\x001\x7f"',
    "an escape before a digit": b"\x011\x0012\n7",
    "an at sign": b"@/etc/passwd",
    "a dash": b"-n\n",
    "blanks": b"  ",
    "nothing": b"",
    "every byte": bytes(range(256)),
}
SHELLS = [shell for shell in ("bash", "sh") if shutil.which(shell)]
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@all_cases("body", BODIES.values(), ids=BODIES)
@all_cases("shell", SHELLS)
def test_the_command_is_valid_in_a_shell(shell: str, body: bytes) -> None:
    command = curl(HttpRequest("POST", "/it's?a=b&c", POST.headers, body), URL)
    checked = subprocess.run([shell, "-n"], input=command.encode(), capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, b"")
    assert "\n" not in command


@needs_curl
@pytest.mark.parametrize("shell", SHELLS)
def test_the_command_sends_what_the_harness_sent(shell: str) -> None:
    headers = (
        ("Authorization", f"Bearer {SECRET}"),
        ("Content-Type", "application/json"),
        ("Idempotency-Key", 'it\'s "quoted" $HOME `id` \\'),
    )
    with recorder() as server:
        url = f"http://127.0.0.1:{server.server_port}/"
        commands = [
            curl(HttpRequest("POST", "/runs?x=[1]&y={a,b}", headers, body), url, [SECRET])
            for body in BODIES.values()
        ]
        ran = subprocess.run(
            [shell, "-c", "\n".join(commands)],
            env={"PATH": "/usr/bin:/bin", TOKEN_VARIABLES[0]: SECRET},
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert (ran.returncode, ran.stderr) == (0, b"")
        seen = server.seen  # type: ignore[attr-defined]
    assert [body for *_, body in seen] == list(BODIES.values())
    assert {(method, path) for method, path, *_ in seen} == {("POST", "/runs?x=[1]&y={a,b}")}
    for _, _, sent, body in seen:
        assert {name: sent[name] for name, _ in headers} == dict(headers)
        assert sent["Content-Length"] == str(len(body))


@needs_curl
def test_the_command_sends_odd_header_fields_and_methods() -> None:
    requests = [
        asking(Idempotency_Key="").with_header("Content-Type", None),
        HttpRequest("GET", "/runs", (("Accept", "text/event-stream"),)),
        HttpRequest("OPTIONS", "/runs", (("Origin", "https://elsewhere.example"),)),
        asking(Authorization="Bearer second"),
    ]
    with recorder() as server:
        url = f"http://127.0.0.1:{server.server_port}"
        commands = [curl(request, url, ["first", "second"]) for request in requests]
        subprocess.run(
            ["sh", "-c", "\n".join(commands)],
            env={"PATH": "/usr/bin:/bin", TOKEN_VARIABLES[1]: "second"},
            timeout=60,
            check=True,
        )
        seen = server.seen  # type: ignore[attr-defined]
    assert [method for method, *_ in seen] == ["POST", "GET", "OPTIONS", "POST"]
    assert seen[0][2]["Idempotency-Key"] == ""
    assert "Content-Type" not in seen[0][2]
    assert "Content-Type" not in seen[2][2]
    assert "Content-Length" not in seen[1][2]
    assert seen[3][2]["Authorization"] == "Bearer second"


def test_the_token_is_taken_from_the_environment() -> None:
    command = curl(POST, URL, [PLAIN])
    assert PLAIN not in command
    assert '-H "Authorization: Bearer $HARNESS_TARGET__TOKEN"' in command
    assert PLAIN in curl(POST, URL, ["another"])  # a garbage token is shown as it was sent


def test_a_long_body_is_named_and_not_shown() -> None:
    command = curl(POST.with_json({"x": "y" * 20_000}), URL)
    assert command.endswith("--data-binary @body.json  # 20009 bytes, too long to show")
    assert len(command) < 500
    assert shlex.split(command, comments=True)[-1] == "@body.json"


# printable


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"data: a\n\n", "data: a\\n\\n"),
        (b"a\r\nb\\n\t\x00\x1b[31m", "a\\r\\nb\\\\n\\t\\x00\\x1b[31m"),
        ("caf\u00e9 \u65e5".encode(), "caf\u00e9 \u65e5"),
        ("\u2028\u202e\u200b".encode(), "\\u2028\\u202e\\u200b"),
        (b"\xff\xe9", "\\xff\\xe9"),
        (b"\\xff", "\\\\xff"),
        (b"", ""),
    ],
)
def test_bytes_as_readable_text_on_one_line(data: bytes, text: str) -> None:
    assert printable(data) == text


def test_what_is_cut_off_is_counted() -> None:
    assert printable(b"abcdef", 4) == "abcd… (2 more bytes)"
    assert printable(b"abcd", 4) == "abcd"


@pytest.mark.parametrize(
    "exchange",
    [run(*(token(number) for number in range(2001)), done(2001)), run(frame("x" * 270_000), done(1))],
    ids=["many events", "a large event"],
)
def test_of_a_large_response_the_document_shows_an_excerpt_and_records_all(exchange: Exchange) -> None:
    stored = document(exchange, base_url=URL)
    shown = json.dumps({**stored, "recorded": None})
    assert len(shown) < 200_000
    assert stored["events_left_out"] == max(0, len(exchange.frames) - 120)
    restored = restore(stored)
    assert [read.data for read in restored.reads] == [read.data for read in exchange.reads]
