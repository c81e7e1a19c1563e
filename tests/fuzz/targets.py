"""What is fuzzed, each with the property that holds for any input.

Inputs are sound examples with pieces taken out, repeated and put in, because random bytes seldom get past the first
check. No target may raise anything: an error class that an interface documents is caught here, and nothing else.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
import tomllib
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import tomlkit
from hypothesis import strategies as st

from harness.config.sources import load_settings, settings_alone
from harness.config.target import Target as RequestTarget
from harness.config.trace import read_arrival_times
from harness.contract.evidence.document import document, restore
from harness.contract.expectations import Expectations
from harness.contract.rules.stream import STREAM_RULES, check_stream
from harness.errors import SettingsError
from harness.gate.evaluate import evaluate
from harness.gate.expressions import ExpressionError, parse_expression
from harness.reference.settings import demo_config
from harness.reports.html import render
from harness.reports.page import page
from harness.results.reader import Results
from harness.results.schema import ResultsError
from harness.results.summary import summarize
from harness.setup.curl import read_curl
from harness.suite.recheck import recheck
from tests.contract.exchanges import LAST_CHUNK, STREAM, chunk, done, error, head, scripted, token
from tests.protocol.cuts import at_places
from tests.strangers.results_files import sound

Text = TypeVar("Text", str, bytes)


@dataclass(frozen=True, slots=True)
class Fuzzed:
    """inputs: what is generated. check: raises if the property does not hold for an input."""

    inputs: st.SearchStrategy[Any]
    check: Callable[[Any], None]


@st.composite
def mutated(draw: st.DrawFn, seeds: Sequence[Text], pieces: Sequence[Text]) -> Text:
    """A seed with up to eight edits: a piece in place of some of its text, or a part of it repeated."""
    value = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 8))):
        start = draw(st.integers(0, len(value)))
        end = min(len(value), start + draw(st.sampled_from((0, 0, 1, 2, 5, 50))))
        if draw(st.booleans()):
            value = value[:start] + draw(st.sampled_from(pieces)) + value[end:]
        else:
            value = value[:end] + value[start:end] * draw(st.integers(0, 4)) + value[end:]
    return value


# -- HTTP and event streams

_CHUNKED = head(200, {**STREAM, "Transfer-Encoding": "chunked"})
_ANSWERS = (
    _CHUNKED + chunk(b": hi\n\n" + token(0, "caf\u00e9 ")) + chunk(token(1)) + chunk(done(2)) + LAST_CHUNK,
    head(200, STREAM) + token(0) + token(1) + done(2),
    head(200, {**STREAM, "Content-Length": str(len(token(0) + done(1)))}) + token(0) + done(1),
    head(200, STREAM) + b"\xef\xbb\xbfretry: 5\r\nid: 1-1\r\rdata: x\ndata:\n\n" + error(2),
    head(409, {"Content-Type": "application/json", "Content-Length": "16"}) + b'{"error": "busy"}',
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close\r\n\r\ndata: {}\n\n",
)
_BYTES = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\n\n",
        b"\0",
        b":",
        b" ",
        b"\t",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\x1b[31m",
        b"data: ",
        b"id: ",
    ),
    *(
        b"event: x\n",
        b"retry: 99999999999999999999\n",
        b"0\r\n\r\n",
        b"ffffffffffffffff\r\n",
        b"-1\r\n",
        b"NaN",
        b"1e999",
    ),
    *(
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/9.9 999 \r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: -1\r\n",
        b"{}",
        b"[[[[",
    ),
    *(
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Content-Encoding: gzip\r\n",
    ),
    *(
        b"Content-Encoding: br\r\n",
        b"Connection: upgrade\r\n",
        b'"\\ud800"',
        b"\xed\xa0\x80",
        b'{"type":"done"}',
        b"9" * 5000,
    ),
)


@st.composite
def _answers(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    data = draw(mutated(_ANSWERS, _BYTES))
    return data, at_places(data, draw(st.lists(st.integers(0, len(data)), max_size=8)))


_FORMAT_RULES = tuple(rule for rule in STREAM_RULES if rule.format_only)


def _check_answer(answer: tuple[bytes, list[bytes]]) -> None:
    """Every rule comes to a result, and how the bytes were cut into reads makes no difference to what they are."""
    data, pieces = answer
    whole, cut = scripted((0, data)), scripted(*((float(place), piece) for place, piece in enumerate(pieces)))
    for exchange in (whole, cut):
        check_stream(exchange, Expectations())
    assert whole.head == cut.head
    assert [received.frame for received in whole.frames] == [received.frame for received in cut.frames]
    assert whole.sequence == cut.sequence
    assert (whole.outcome, whole.run_id, whole.text) == (cut.outcome, cut.run_id, cut.text)
    verdicts = [[rule(one, expect=Expectations()).verdict for rule in _FORMAT_RULES] for one in (whole, cut)]
    assert verdicts[0] == verdicts[1]


def _check_document(answer: tuple[bytes, list[bytes]]) -> None:
    """A stored exchange is the exchange that was stored."""
    exchange = scripted(*((float(place), piece) for place, piece in enumerate(answer[1])))
    stored = json.loads(json.dumps(document(exchange, base_url="http://h")))
    again = restore(stored)
    assert list(again.reads) == list(exchange.reads)
    assert (again.request, again.timing, again.ending) == (exchange.request, exchange.timing, exchange.ending)


# -- results files


@lru_cache(maxsize=1)
def _sound_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return sound(Path(folder) / "results.sqlite").read_bytes()


@st.composite
def _damaged_files(draw: st.DrawFn) -> bytes:
    data = bytearray(_sound_file())
    for _ in range(draw(st.integers(1, 6))):
        page = draw(st.integers(0, len(data) // 4096 - 1)) * 4096
        place = page + draw(st.integers(0, 120) | st.integers(0, 4095))
        some = draw(
            st.sampled_from((b"\0", b"\xff", b"\x01", b"\x7f\xff\xff\xff", bytes(8))) | st.binary(max_size=4)
        )
        data[place : place + len(some)] = some
    return bytes(data[: draw(st.sampled_from((len(data),) * 4 + (len(data) - 1, len(data) // 2)))])


def read_everything(path: Path) -> None:
    """What the verbs read from a results file. Raises ResultsError."""
    with Results(path) as results:
        summarize(results)
        render(page(results, evaluate(results, ())))
        list(results.streams())
    recheck(path)


def _check_file(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.sqlite"
        path.write_bytes(data)
        with suppress(ResultsError):
            read_everything(path)


_CELLS = (
    ("manifest", "value"),
    ("violations", "evidence"),
    ("checks", "evidence"),
    ("rule_results", "evidence"),
)
_JSON = (
    "null",
    "-1",
    "[]",
    "{}",
    '"x"',
    "1e999",
    "NaN",
    '"\\ud800"',
    "9" * 400,
    "[" * 500,
    "true",
    ",",
    ":",
    '"',
    "0.5",
)


@lru_cache(maxsize=1)
def _cells() -> tuple[tuple[str, str, int, str], ...]:
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(sqlite3.connect(sound(Path(folder) / "r.sqlite"))) as db,
    ):
        return tuple(
            (table, column, number, text)
            for table, column in (*_CELLS, ("exchanges", "document"))
            for number, text in db.execute(f"SELECT rowid, {column} FROM {table}")
        )


@st.composite
def _other_cells(draw: st.DrawFn) -> tuple[str, str, int, str]:
    table, column, number, text = draw(st.sampled_from(_cells()))
    if draw(st.booleans()):
        return table, column, number, draw(mutated((text,), _JSON))
    value = json.loads(text)
    return table, column, number, json.dumps(_with_another_leaf(draw, value))


def _with_another_leaf(draw: st.DrawFn, value: Any) -> Any:
    """The value with something else in place of one of its parts."""
    if isinstance(value, dict | list) and value and draw(st.integers(0, 3)):
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = draw(st.sampled_from(keys))
        return (
            {**value, key: _with_another_leaf(draw, value[key])}
            if isinstance(value, dict)
            else [
                *value[:key],
                _with_another_leaf(draw, value[key]),
                *value[key + 1 :],
            ]
        )
    return draw(
        st.sampled_from((None, -1, 10**30, 1e300, "", "x", "\ud800", "\0", [], {}, [[]], {"a": None}, True))
    )


def _check_cell(cell: tuple[str, str, int, str]) -> None:
    table, column, number, text = cell
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.sqlite"
        path.write_bytes(_sound_file())
        with closing(sqlite3.connect(path)) as database:
            database.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (text, number))
            database.commit()
        with suppress(ResultsError):
            read_everything(path)


# -- what users write

_SETTINGS = (
    tomlkit.dumps(demo_config("http://127.0.0.1:9")),
    '[load]\nusers = 5\nduration = "90s"\nwarmup = 3\n[load.journeys]\nfresh = 2\n[objectives]\nttft_p95_ms = 800\n',
    '[load]\nrate = 5\nramp = "1:100:60s"\nsteps = "10:30s,20:30s"\n[gate]\nkeep = 3\n[budgets]\nrun = 5\n',
    '[objectives]\nexpressions = ["ttft_p95_ms < 800", "fresh.error_rate <= 1%"]\n',
)
_TOML = (
    *(
        "inf",
        "nan",
        "-1",
        "0",
        "1e400",
        "9" * 400,
        "[]",
        "{}",
        "''",
        '"x"',
        "true",
        "[[",
        "]]",
        "=",
        "\n",
        ".",
        "[a]\n",
    ),
    *("1979-05-27", '"\\u0000"', '"""', "#", "\t", "null", "'90 s'", "'1:2:3'", "%", "<"),
)


def _check_settings(text: str) -> None:
    """A settings file is refused with a sentence, or gives settings that are the same once written and read again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "harness.toml"
        path.write_text(text, encoding="utf-8", errors="replace")
        try:
            settings = load_settings(path)
            with suppress(SettingsError):
                RequestTarget(settings)
        except SettingsError:
            return
    written = tomlkit.dumps(settings.model_dump(mode="json", exclude_none=True))
    again = settings_alone(tomllib.loads(written), "what was written")
    assert again.load == settings.load
    assert again.objectives == settings.objectives


_EXPRESSIONS = (
    *(
        "ttft_p95_ms < 800",
        "resume.resume_p99_ms < 1.5s",
        "error_rate <= 1%",
        "goodput >= 99%",
        "violations == 0",
    ),
)
_SIGNS = (
    "<",
    "<=",
    ">",
    "≥",
    "==",
    ".",
    "%",
    "ms",
    "s",
    "m",
    "1e999",
    "nan",
    "inf",
    "-1",
    "9" * 400,
    "\u0663",
    " ",
    "\0",
    "\ud800",
)


def _check_expression(text: str) -> None:
    """An expression is refused with a sentence, or an objective whose own expression is the same objective."""
    try:
        objective = parse_expression(text)
    except ExpressionError:
        return
    again = parse_expression(objective.expression)
    assert (again.key, again.journey, again.expression) == (
        objective.key,
        objective.journey,
        objective.expression,
    )


_CURLS = (
    """curl -sN -X POST "https://h:8443/v2?x=1" -H "Authorization: Bearer $T" -d '{"a": {"b": "it'\\''s"}}' | jq""",
    r"""curl 'http://h/' -H 'authorization: Bearer a.b.c' --data-raw $'{"a":"it\'s \u00e9 \ud83d\ude80"}' -k""",
)
_SHELL = (
    "'",
    '"',
    "\\",
    "$",
    "$(",
    "`",
    "$'",
    "-d",
    "-H",
    "@",
    "@-",
    "\n",
    "#",
    ";",
    "{",
    "\0",
    "\ufdd0",
    "\\u",
    "[" * 300,
    "é",
)


def _check_curl(text: str) -> None:
    with suppress(SettingsError):
        read_curl(text)


_TRACES = ("0\n0.5\n1\n2.25\n", 'seconds,x\n"0",a\n1,b\r\n3,c\n')
_TIMES = (
    "nan",
    "inf",
    "-1",
    "1e400",
    "9" * 400,
    "\n",
    "\r",
    ",",
    '"',
    "\0",
    "x",
    "1_0",
    "\u0663",
    " ",
    "\ufeff",
)


def _check_trace(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace"
        path.write_text(text, encoding="utf-8", errors="replace", newline="")
        try:
            times_s = read_arrival_times(str(path))
        except ValueError:
            return
    assert list(times_s) == sorted(times_s)
    assert times_s[0] >= 0


TARGETS: dict[str, Fuzzed] = {
    "answers": Fuzzed(_answers(), _check_answer),
    "documents": Fuzzed(_answers(), _check_document),
    "results files": Fuzzed(_damaged_files(), _check_file),
    "results cells": Fuzzed(_other_cells(), _check_cell),
    "settings": Fuzzed(mutated(_SETTINGS, _TOML), _check_settings),
    "expressions": Fuzzed(mutated(_EXPRESSIONS, _SIGNS), _check_expression),
    "curl commands": Fuzzed(mutated(_CURLS, _SHELL), _check_curl),
    "traces": Fuzzed(mutated(_TRACES, _TIMES), _check_trace),
}
