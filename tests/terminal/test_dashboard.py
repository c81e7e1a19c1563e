from __future__ import annotations

import io
from typing import Any

from rich.console import Console
from rich.text import Text

from harness.terminal.dashboard import Dashboard
from tests.cases import all_cases
from tests.terminal.documents import live, running, with_streams

SUITE = {"done": 54, "total": 92, "verdicts": {"pass": 53, "fail": 1}, "failed": ["terminal.last"]}
BUSY = running(
    with_streams(live(ttft_p95_ms=100), failed=3, violations={f"area.rule-{at}": at + 1 for at in range(9)}),
    in_flight=6,
)


def drawn(view: Dashboard, width: int, height: int, **console: Any) -> list[str]:
    """The lines of a screen of this size."""
    file = io.StringIO()
    made = Console(file=file, width=width, height=height, force_terminal=False, **console)
    made.print(view, height=height)
    return file.getvalue().rstrip("\n").split("\n")


@all_cases("width", [20, 40, 60, 80, 132, 200])
@all_cases("height", [1, 3, 6, 14, 24, 50])
@all_cases("load", [None, live().snapshot(), BUSY])
def test_it_fits_every_screen_size(width: int, height: int, load: Any) -> None:
    lines = drawn(
        Dashboard("harness check", load, SUITE, (Text("a note"), Text("another\nof two lines"))),
        width,
        height,
    )
    assert 1 <= len(lines) <= height
    assert max(len(line) for line in lines) <= width
    assert lines[0].startswith("harness check"[:10])


def test_a_large_screen_shows_everything() -> None:
    text = "\n".join(drawn(Dashboard("harness check", BUSY, SUITE, (Text("a note"),)), 120, 50))
    for words in (
        "http://127.0.0.1:8080",
        "running  0:20  0:40 left",
        "10.0 started   10.0 ended   6 in flight   6 users",
        "120 scheduled   120 done",
        "TTFT p50          60.0",
        "TTFT p95           120",
        "limit 100",
        "ITL p95           50.0",
        "failed               3 of 120 (2.50%)   goodput 100.00%",
        "violations          45",
        "9  area.rule-8",
        "and 3 more requirements",
        "not saturated",
        "conformance      54/92",
        "tests:  53 pass  1 fail",
        "terminal.last",
        "a note",
        "Ctrl-C",
    ):
        assert words in text, f"{words!r} is not in\n{text}"


def test_on_a_small_screen_the_important_lines_stay() -> None:
    text = "\n".join(drawn(Dashboard("harness check", BUSY, SUITE), 80, 7))
    for words in ("running", "TTFT p95", "ITL p95", "failed", "violations", "conformance"):
        assert words in text, text
    assert "Ctrl-C" not in text


def test_the_last_minute_is_drawn_to_one_scale() -> None:
    lines = drawn(Dashboard("t", BUSY, None), 80, 40)
    sparks = {line[:8]: line[24:36] for line in lines if line.startswith("TTFT")}
    assert sparks == dict.fromkeys(("TTFT p50", "TTFT p95", "TTFT p99"), "▁▂▃▃▃▄▅▅▅▆▇▇")


def test_a_test_that_is_being_stopped() -> None:
    text = "\n".join(drawn(Dashboard("t", BUSY, None, stopping=True), 80, 40))
    assert "stopping  0:20" in text
    assert "waiting for the last streams" in text


def test_missing_streams_are_reported() -> None:
    ledger = {**BUSY["ledger"], "adds_up": False, "missing": 3}
    text = "\n".join(drawn(Dashboard("t", {**BUSY, "ledger": ledger, "workers_lost": ["a"]}, None), 100, 40))
    assert "3 MISSING" in text
    assert "1 worker lost" in text


def test_a_terminal_without_block_characters_gets_ascii() -> None:
    class Ascii(io.StringIO):
        encoding = "ascii"

    file = Ascii()
    Console(file=file, width=80, height=40).print(Dashboard("t", BUSY, SUITE))
    file.getvalue().encode("ascii")
    assert "####" in file.getvalue()


def test_a_test_that_cannot_write_says_so_first() -> None:
    lines = drawn(Dashboard("t", {**BUSY, "problem": "the disk is full"}, None), 80, 3)
    assert lines[1] == "the disk is full"


def test_markup_in_data_is_shown_as_text() -> None:
    document = {**BUSY, "target": "http://[red]x[/red]", "plan": "[bold]"}
    text = "\n".join(drawn(Dashboard("t", document, None), 120, 40))
    assert "http://[red]x[/red]" in text
    assert "[bold]" in text


def test_streams_with_a_harness_fault_are_reported() -> None:
    faults = {"streams": 12, "reasons": {}, "sentence": "the harness itself broke"}
    document = {**BUSY, "harness": {**BUSY["harness"], "faults": faults}}
    assert "HARNESS FAULT IN 12 STREAMS" in "\n".join(drawn(Dashboard("t", document, None), 120, 40))
    assert "HARNESS FAULT" not in "\n".join(drawn(Dashboard("t", BUSY, None), 120, 40))
