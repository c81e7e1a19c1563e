"""Profiles and recorded answers of strangers: one sentence and exit code 2, or an answer within time and memory."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.config.sources import settings_alone
from harness.config.target import Target
from harness.errors import SettingsError
from harness.profiles import library
from tests.strangers.results_files import Make
from tests.strangers.runner import Ended, assert_one_sentence, bounded, verb
from tests.strangers.test_text_files import not_text

SOUND = """
name = "mine"
title = "TITLE"
[run]
path = "/PATH"
headers = { "X-FIELD" = "VALUE" }
json = { prompt = "${prompt}" }
[events]
type = "data.type"
token = { is = "token", text = "data.content" }
done = "done"
"""
STREAM = b'data: {"type":"token","content":"a"}\n\ndata: {"type":"done"}\n\n'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
HOSTILE = "\x1b[31m\x9b31m\u202e\u2066"


def sound_with(old: str, new: str) -> str:
    assert old in SOUND
    return SOUND.replace(old, new)


def names(count: int, form: str = '"n{0}"') -> str:
    return ",".join(map(form.format, range(count)))


def variables(count: int) -> str:
    return "".join(f'n{number} = "x"\n' for number in range(count))


PAIR = '["a{0}", "b", ""]'
FIELD = 'n{0} = ""'
PROFILES: dict[str, Callable[[], str]] = {
    "empty": lambda: "",
    "no TOML": lambda: "[",
    "a list of tables": lambda: sound_with("[events]", "[[events]]"),
    "deep lists": lambda: sound_with('"${prompt}"', "[" * 5000 + "]" * 5000),
    "a key of 900,000 characters": lambda: SOUND + "x" * 900_000 + " = 1\n",
    "20,000 unknown fields": lambda: SOUND + "".join(f"n{number} = 1\n" for number in range(20_000)),
    "a title of 900,000 characters": lambda: sound_with("TITLE", "t" * 900_000),
    "a name of 900,000 characters": lambda: sound_with("mine", "m" * 900_000),
    "a name with control characters": lambda: sound_with("mine", "m\\u001b[31m\\u202e"),
    "an expression of 900,000 characters": lambda: sound_with("data.type", "a." * 450_000 + "a"),
    "a quote of 900,000 characters": lambda: sound_with("data.type", "'" + "x" * 900_000),
    "an expression of parentheses": lambda: sound_with("data.type", "(" * 499 + "a" + ")" * 499),
    "an expression that doubles lists": lambda: sound_with("data.type", "to_string(" + "[@,@]|" * 40 + "@)"),
    "an expression with control characters": lambda: sound_with("data.type", "\x9b31m\u202e"),
    "60,000 further types": lambda: SOUND + f"other = [{names(60_000)}]\n",
    "60,000 types of a token": lambda: sound_with('is = "token"', f"is = [{names(60_000)}]"),
    "30,000 pairs": lambda: SOUND + f"pairs = [{names(30_000, PAIR)}]\n",
    "30,000 variables": lambda: sound_with("[run]", f"[needs]\n{variables(30_000)}[run]"),
    "half a million placeholders that stay open": lambda: sound_with("/PATH", "/" + "${" * 450_000 + "{}"),
    "a placeholder of 900,000 characters": lambda: sound_with("/PATH", "/${" + "x y" * 300_000 + "}"),
    "an unknown placeholder of 900,000 characters": lambda: sound_with("/PATH", "/${" + "x" * 900_000 + "}"),
    "a second request in the path": lambda: sound_with("/PATH", "/ HTTP/1.1\\r\\nX: y\\r\\n\\r\\nGET /"),
    "a blank in the path": lambda: sound_with("/PATH", "/a b"),
    "a letter beyond ASCII in the path": lambda: sound_with("/PATH", "/\\u00e9"),
    "a path without its slash": lambda: sound_with("/PATH", "PATH"),
    "a second field in a name": lambda: sound_with("X-FIELD", "X: y\\r\\nZ"),
    "a second field in a value": lambda: sound_with("VALUE", "x\\r\\nZ: y"),
    "another host": lambda: sound_with("X-FIELD", "Host"),
    "another length": lambda: sound_with("X-FIELD", "content-length"),
    "another framing": lambda: sound_with("X-FIELD", "Transfer-Encoding"),
    "30,000 fields": lambda: sound_with('"X-FIELD" = "VALUE"', names(30_000, FIELD)),
    "a key in no field": lambda: SOUND + '[idempotency]\nheader = "a b"\n',
    "infinity in a body": lambda: sound_with('"${prompt}"', "[inf]"),
    "no number in a body": lambda: sound_with('"${prompt}"', "nan"),
    "a date in a body": lambda: sound_with('"${prompt}"', "2026-01-01"),
    "a number of 5,000 digits in a body": lambda: sound_with('"${prompt}"', "9" * 5000),
    "a status of 5,000 digits": lambda: SOUND + f"[rejects]\nmalformed = {'9' * 5000}\n",
    "60,000 statuses": lambda: SOUND + f"[rejects]\nmalformed = [{names(60_000, '400')}]\n",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("sound.toml").write_text(SOUND)
    Path("answer.txt").write_bytes(STREAM)
    return tmp_path


def check(profile: str = "sound.toml", answer: str = "answer.txt") -> Ended:
    ended = verb("profile", "check", profile, answer)
    printed = ended.stdout + ended.stderr
    assert all(character not in printed for character in HOSTILE if not character.isprintable()), printed[
        :2000
    ]
    return ended


def test_the_sound_profile_fits_the_sound_answer() -> None:
    assert check().code == 0


@pytest.mark.parametrize("make", PROFILES.values(), ids=PROFILES)
def test_profiles(make: Callable[[], str]) -> None:
    Path("stranger.toml").write_text(make())
    assert_one_sentence(check("stranger.toml"), "stranger.toml")


@pytest.mark.parametrize(("name", "make"), list(not_text()), ids=[name for name, _ in not_text()])
def test_what_is_no_text(name: str, make: Make) -> None:
    make(Path("stranger.toml"))
    assert_one_sentence(check("stranger.toml"), "stranger.toml")
    make_again = Path("stranger.bin")
    make(make_again)
    ended = check(answer="stranger.bin")
    assert ended.code == 2
    assert_one_sentence(ended, "stranger.bin")


@pytest.mark.parametrize(
    "name", ["x" * 100_000, "\x1b[31m", "\ud800", "a\0.toml", "\u202e.toml", ".toml", ""]
)
def test_names_of_profiles(name: str) -> None:
    assert_one_sentence(check(name))


def test_what_show_prints_cannot_control_the_terminal() -> None:
    Path("stranger.toml").write_text(
        "# \x9b31m \u202e\u2066\n" + sound_with("TITLE", "\\u001b[31m\\u009b\\u202e")
    )
    ended = verb("profile", "show", "stranger.toml")
    assert ended.code == 0
    assert not any(character in ended.stdout for character in "\x1b\x9b\u202e\u2066")
    assert "\\x9b31m \\u202e" in ended.stdout


def test_a_profile_of_a_stranger_is_refused_wherever_it_is_named() -> None:
    Path("stranger.toml").write_text(PROFILES["a second field in a name"]())
    document = {"target": {"base_url": "http://127.0.0.1:9", "profile": "stranger.toml"}}
    with bounded(), pytest.raises(SettingsError, match="not the name of a header field"):
        Target(settings_alone(document, "test"))


def test_types_with_stars_are_compared_in_linear_time() -> None:
    text = sound_with('is = "token"', 'is = "' + "*a" * 99 + '"')
    Path("stranger.toml").write_text(text)
    Path("answer.bin").write_bytes(b'data: {"type":"' + b"a" * 100_000 + b'b"}\n\n' * 3)
    assert check("stranger.toml", "answer.bin").code == 1


# Recorded answers.


def har(*entries: Any) -> bytes:
    return json.dumps({"log": {"entries": entries}}).encode()


def entry(
    text: Any, *, status: Any = 200, url: Any = "http://h/", media: Any = "text/event-stream", **more: str
) -> Any:
    content = {"mimeType": media, "text": text, **more}
    return {"request": {"url": url}, "response": {"status": status, "content": content}}


def bomb(block: bytes, megabytes: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = (block * (2**20 // len(block) + 1))[: 2**20]
    return b"".join(packer.compress(block) for _ in range(megabytes)) + packer.flush()


REFUSED: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "noise": lambda: bytes(range(256)) * 100,
    "blanks": lambda: b" " * 30_000_000,
    "larger than what is read": lambda: bytes(65 * 2**20),
    "two million tiny events": lambda: b"data:\n\n" * 2_000_000,
    "two million events that end with CR": lambda: b"data: 1\r\r" * 2_000_000,
    "two million comments": lambda: b":\n\n" * 2_000_000,
    "1,500,000 blank lines": lambda: b"data:\n" + b"\n" * 1_500_000,
    "an event of 20 MB": lambda: b"data: " + b"x" * 20_000_000 + b"\n\n",
    "an event of a million lines": lambda: b"data:\n" * 1_000_000 + b"\n",
    "an event of 2,600,000 objects": lambda: b"data: [" + b"{}," * 2_600_000 + b"1]\n\n",
    "a head without end": lambda: b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 2_000_000,
    "a head of HTTP/2 without end": lambda: b"HTTP/2 200\r\n" + b"a: b\r\n" * 2_000_000 + b"\r\n" + STREAM,
    "a status line without end": lambda: b"HTTP/1.1 200 " + b"x" * 20_000_000,
    "1xx answers without end": lambda: b"HTTP/1.1 100 Continue\r\n\r\n" * 100_000,
    "a gzip bomb": lambda: ANSWER + b"Content-Encoding: gzip\r\n\r\n" + bomb(b"x", 70),
    "a gzip bomb of comments": lambda: ANSWER + b"Content-Encoding: gzip\r\n\r\n" + bomb(b":\n\n", 20),
    "a gzip bomb in gzip": lambda: (
        ANSWER + b"Content-Encoding: gzip, gzip\r\n\r\n" + gzip.compress(bomb(b"x", 70))
    ),
    "200,000 gzip members": lambda: ANSWER + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"") * 200_000,
    "entries that are none": lambda: b'{"log": {"entries": null}}',
    "a number of entries": lambda: b'{"log": {"entries": 5}}',
    "entries of text": lambda: b'{"log": {"entries": "%s"}}' % (b"x" * 5_000_000),
    "an object of entries": lambda: b'{"log": {"entries": {"a": 1}}}',
    "millions of empty entries": lambda: b'{"log": {"entries": [' + b"{}," * 3_000_000 + b"1]}}",
    "millions of levels": lambda: b'{"log": {"entries": ' + b"[" * 3_000_000 + b"]" * 3_000_000 + b"}}",
    "millions of open objects": lambda: b'{"log":' + b'{"a":' * 3_000_000,
    "millions of names": lambda: b"{" + b",".join(b'"n%d":1' % number for number in range(1_500_000)) + b"}",
    "a million streams": lambda: har(*[entry("data: 1\n\n")] * 5000),
    "an infinite status": lambda: har(entry("data: 1\n\n", status=77)).replace(b"77", b"1e999"),
    "a status of 5,000 digits": lambda: har(entry("data: 1\n\n", status=77)).replace(b"77", b"9" * 5000),
    "a status of text": lambda: har(entry("data: 1\n\n", status="200")),
    "an address of lists": lambda: har(entry("data: 1\n\n", url=[[1] * 100] * 100)),
    "no base64": lambda: har(entry("!!!", encoding="base64")),
    "half a character": lambda: har(entry("data: \ud800\n\n")),
    "a type of 10 MB": lambda: har(entry("data: 1\n\n", media="a;" * 5_000_000)),
    "UTF-16": lambda: har(entry("data: 1\n\n")).decode().encode("utf-16"),
    "NaN": lambda: b'{"log": {"entries": [NaN]}}',
}

READ: dict[str, Callable[[], bytes]] = {
    "an address of 2 MB": lambda: har(entry(STREAM.decode(), url="http://h/" + "x" * 2_000_000)),
    "an address with control characters": lambda: har(entry(STREAM.decode(), url=HOSTILE + "\n1 of 1 fits")),
    "an empty stream": lambda: har(entry("")),
    "an empty body": lambda: ANSWER + b"Content-Length: 0\r\n\r\n",
    "texts with control characters": lambda: (
        b"data: " + json.dumps({"type": HOSTILE, "content": HOSTILE}).encode() + b"\n\n"
    ),
    "3,000 unknown types": lambda: b"".join(b'data: {"type":"t%d"}\n\n' % number for number in range(3000)),
    "10,000 tokens of 800 characters": lambda: (
        b'data: {"type":"token","content":"%s"}\n\n' % (b"a" * 800) * 10_000
    ),
    "3,000 events that are no JSON": lambda: b"data: {\n\n" * 3000,
    "50,000 gzip members": lambda: ANSWER + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"") * 50_000,
    "200,000 chunks": lambda: ANSWER + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n:\r\n" * 200_000,
    "a chunk's size without end": lambda: ANSWER + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 900_000,
    "ids of 4,000 digits": lambda: b"".join(b"id: %s\ndata: {}\n\n" % (b"9" * 4000) for _ in range(200)),
    "numbers beyond floats": lambda: b'data: {"type":1e999,"content":-1e999}\n\n',
    "1,000 answers": lambda: (ANSWER + b"Content-Length: %d\r\n\r\n" % len(STREAM) + STREAM) * 1000,
}


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_answers_that_are_refused(make: Callable[[], bytes]) -> None:
    Path("stranger.bin").write_bytes(make())
    assert_one_sentence(check(answer="stranger.bin"))


@pytest.mark.parametrize("make", READ.values(), ids=READ)
def test_answers_that_are_read(make: Callable[[], bytes]) -> None:
    Path("stranger.bin").write_bytes(make())
    ended = check(answer="stranger.bin")
    assert ended.code in {0, 1}
    assert len(ended.stdout) < 300_000
    assert "of 1 fit the profile mine" in ended.stdout


def test_every_shipped_profile_is_within_the_limits() -> None:
    for name in library.names():
        library.load(name)
