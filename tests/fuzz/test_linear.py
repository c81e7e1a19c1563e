"""Reading takes time in proportion to the size, for inputs whose parts could be read again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from harness.config.trace import read_arrival_times
from harness.contract.evidence.redaction import Redactor
from harness.contract.expectations import Expectations
from harness.contract.rules.stream import check_stream
from harness.errors import SettingsError
from harness.gate.expressions import ExpressionError, parse_expression
from harness.input_file import read_toml
from harness.results.stored_values import bounded_json
from harness.setup.curl import read_curl
from tests.contract.exchanges import STREAM, head, scripted

TIMES = 8
LEAST_S = 0.02
"""Shorter times are mostly chance."""


def answer(body: bytes) -> None:
    check_stream(scripted((0, head(200, STREAM) + body)), Expectations())


def one_byte_at_a_time(body: bytes) -> None:
    parts = [(float(place), body[place : place + 1]) for place in range(len(body))]
    check_stream(scripted((0, head(200, STREAM)), *parts), Expectations())


def curl(text: str) -> None:
    with suppress(SettingsError):
        read_curl(text)


def toml(text: str) -> None:
    path = Path("file")
    path.write_text(text)
    with suppress(SettingsError):
        read_toml(path, "the settings file")


def trace(text: str) -> None:
    path = Path("file")
    path.write_text(text)
    with suppress(ValueError):
        read_arrival_times(str(path))


def expression(text: str) -> None:
    with suppress(ExpressionError):
        parse_expression(text)


def cell(text: str) -> None:
    with suppress(ValueError):
        bounded_json(text)


SHAPES: dict[str, Callable[[int], None]] = {
    "tiny events": lambda n: answer(b"data:x\n\n" * n),
    "one event of many lines": lambda n: answer(b"data:x\n" * (4 * n)),
    "blank lines": lambda n: answer(b"\n" * (10 * n)),
    "carriage returns": lambda n: answer(b"\r" * (10 * n)),
    "comments": lambda n: answer(b":\n\n" * n),
    "a line without an end": lambda n: one_byte_at_a_time(b"data: " + b"x" * n),
    "an event byte by byte": lambda n: one_byte_at_a_time(b"data:x\n" * (n // 7)),
    "quotes in curl": lambda n: curl("curl http://h -d " + "\"'" * (10 * n)),
    "dollars in curl": lambda n: curl("curl http://h -d " + "$(" * (10 * n)),
    "words in curl": lambda n: curl("curl " + "-s " * (10 * n)),
    "keys in TOML": lambda n: toml("".join(f"a{place} = 1\n" for place in range(n))),
    "dots in TOML": lambda n: toml("a." * (20 * n)),
    "brackets in TOML": lambda n: toml("a = " + "[{," * (20 * n)),
    "empty lines of a trace": lambda n: trace("\n" * (100 * n) + "1"),
    "signs in an expression": lambda n: expression("<" * (100 * n)),
    "letters in an expression": lambda n: expression("a" * (20 * n)),
    "quotes in JSON": lambda n: cell('["' + '\\"' * (100 * n)),
    "brackets in JSON": lambda n: cell("[" * (100 * n)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_the_time_is_linear(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shape = SHAPES[name]
    shape(100)  # imports and caches
    before_s = time.process_time()
    shape(500)
    small_s = time.process_time() - before_s
    shape(500 * TIMES)
    large_s = time.process_time() - before_s - small_s
    # Four times what is linear; of a quadratic time it would be half of what is measured.
    assert large_s <= 4 * TIMES * max(small_s, LEAST_S)


def test_line_ends_between_the_characters_of_a_secret_are_read_once() -> None:
    """Each could be one of many gaps, or of few: the ways to read n of them grow exponentially."""
    redactor = Redactor(("s3cret-value-1",))
    data = (b"s" + b"\n" * 26) * 20
    before_s = time.process_time()
    assert redactor.bytes(data) == data
    assert time.process_time() - before_s < 2  # a hundred times what it takes
