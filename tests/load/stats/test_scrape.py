"""Reading the server's own metrics: what is kept, and what a bad endpoint costs."""

from __future__ import annotations

import gzip
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import gevent
import pytest
from hypothesis import given, strategies
from pydantic import ValidationError

from harness.config.scrape_settings import ScrapeSettings
from harness.config.settings import Settings
from harness.load.stats import metrics_page, scrape
from harness.load.stats.metrics_page import ScrapeError, read_page
from harness.load.stats.run_recording import RunRecording
from harness.load.stats.scrape import MOST_SERIES, Scraper
from harness.reference.settings import demo_config
from harness.results.reader import Results

PAGE = """\
# HELP runs_total Runs that were started.
# TYPE runs_total counter
runs_total{tool="echo",org="a \\"b\\""} 7
runs_total{tool="long"} 3 1700000000000
# TYPE runs_in_flight gauge
runs_in_flight 2
# TYPE latency_seconds histogram
latency_seconds_bucket{le="0.1"} 4
latency_seconds_count 5
latency_seconds_sum 1.5
untyped_total 9
odd_total NaN
python_gc 4
"""


def scraper(*patterns: str, pages: list[str | ScrapeError] | None = None) -> Scraper:
    queue = list(pages or [PAGE])

    def read(_: str) -> str:
        page = queue.pop(0)
        if isinstance(page, ScrapeError):
            raise page
        return page

    settings = ScrapeSettings(url="http://h/metrics", match=patterns)
    return Scraper(settings, read=read, now_s=lambda: 1000.7)


def taken(reader: Scraper) -> dict[str, tuple[str, float]]:
    reader.scrape()
    rows = reader.take()
    assert {row.second for row in rows} <= {1000}
    return {row.series: (row.kind, row.value) for row in rows}


def test_what_matches_is_kept_with_its_kind() -> None:
    assert taken(scraper("runs_*")) == {
        r'runs_total{org="a \"b\"",tool="echo"}': ("counter", 7.0),
        'runs_total{tool="long"}': ("counter", 3.0),
        "runs_in_flight": ("gauge", 2.0),
    }
    assert taken(scraper("latency_*")) == {
        'latency_seconds_bucket{le="0.1"}': ("counter", 4.0),
        "latency_seconds_count": ("counter", 5.0),
        "latency_seconds_sum": ("counter", 1.5),
    }
    assert taken(scraper("untyped_total", "odd_total")) == {"untyped_total": ("counter", 9.0)}
    assert taken(scraper("runs")) == {}, "a pattern is of the whole name"


def test_a_failed_scrape_is_named_once_and_later_ones_count(caplog: pytest.LogCaptureFixture) -> None:
    down = ScrapeError("it was answered with status 503")
    reader = scraper("runs_*", pages=[PAGE, down, down, PAGE])
    with caplog.at_level(logging.WARNING):
        found = [len(taken(reader)) for _ in range(4)]
    assert found == [3, 0, 0, 3]
    assert len(caplog.records) == 1
    reader.stop()
    assert reader.problem == (
        "2 of 4 scrapes of http://h/metrics failed, the first because it was answered with status 503"
    )


def test_after_a_failed_scrape_it_continues_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrape, "EVERY_S", 0.0)
    reader = scraper(
        "runs_*", pages=[ScrapeError("it is down"), PAGE, *([ScrapeError("it is down")] * 10_000)]
    )
    reader.start()
    with gevent.Timeout(60):
        while not (rows := reader.take()):
            gevent.sleep(0)
    reader.stop()
    assert len(rows) == 3


def test_without_a_match_the_results_say_so() -> None:
    reader = scraper("rums_*")
    assert taken(reader) == {}
    reader.stop()
    assert reader.problem == "no metric of http://h/metrics matches scrape.match"


def test_the_number_of_series_is_bounded() -> None:
    page = "".join(f'many{{n="{number}"}} {number}\n' for number in range(3 * MOST_SERIES))
    reader = scraper("many", pages=[page, page])
    assert len(taken(reader)) == MOST_SERIES
    assert len(taken(reader)) == MOST_SERIES
    reader.stop()
    assert reader.problem == f"of the series at http://h/metrics that match, only {MOST_SERIES} were kept"


@pytest.mark.parametrize(("pattern", "turns"), [("none", 10), ("a_*", 30)])
def test_streams_have_their_turn_while_a_page_is_parsed(
    monkeypatch: pytest.MonkeyPatch, pattern: str, turns: int
) -> None:
    taken_turns: list[float] = []
    monkeypatch.setattr(scrape.gevent, "sleep", taken_turns.append)
    page = "".join(f"a_{number} 1\n" for number in range(1_000)) + "b 1\n" * 19_000
    scraper(pattern, pages=[page]).scrape()
    assert len(taken_turns) >= turns


def test_a_long_series_and_a_long_line_are_left_out() -> None:
    page = f'm{{a="{"x" * 900}"}} 1\nm{{a="{"x" * 5000}"}} 1\nm 1\nm{{a="{"é" * 500}"}} 1\n'
    assert taken(scraper("m", pages=[page])) == {"m": ("gauge", 1.0)}


@pytest.mark.parametrize("page", ["m{ 1\n", 'm{a="} 1\n', "m one\n", "m\n"])
def test_a_page_in_another_format_is_a_failed_scrape(page: str) -> None:
    reader = scraper("m", pages=[page])
    assert taken(reader) == {}
    reader.stop()
    assert "its page is not in the Prometheus text format" in (reader.problem or "")


@given(strategies.text(alphabet='m{}=",\\ 1e+-#\nN', max_size=60))
def test_no_page_raises_anything_else(rest: str) -> None:
    taken(scraper("m*", pages=[f"m{rest}"]))


class Page(BaseHTTPRequestHandler):
    status = 200
    body = b""

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(status: int = 200, body: bytes = PAGE.encode()) -> Iterator[str]:
    handler = type("OnePage", (Page,), {"status": status, "body": body})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()


def test_a_page_is_read() -> None:
    with serving() as url:
        assert read_page(url) == PAGE
    with pytest.raises(ScrapeError, match="it was not answered"):
        read_page(url)


@pytest.mark.parametrize("status", [302, 404, 503])
def test_a_redirection_is_not_followed_and_a_status_is_named(status: int) -> None:
    with serving(status) as url, pytest.raises(ScrapeError, match=f"answered with status {status}"):
        read_page(url)


def test_a_large_page_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_page, "MOST_BYTES", 1000)
    with serving(body=b"m 1\n" * 300) as url, pytest.raises(ScrapeError, match="more than 0 MiB"):
        read_page(url)


@contextmanager
def sending(*pieces: bytes, for_ever: bytes = b"", pause_s: float = 0.0) -> Iterator[str]:
    """A server that answers with these bytes, then with others without end, one piece after each pause."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            sock, _ = listener.accept()
            with sock:
                sock.recv(65_536)
                for piece in pieces:
                    sock.sendall(piece)
                while for_ever:
                    sock.sendall(for_ever)
                    time.sleep(pause_s)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/metrics"
    finally:
        listener.close()
        thread.join()


_OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("pieces", "for_ever", "says"),
    [
        ((), b"HTTP/1.1 100 Continue\r\n\r\n" * 100, "more than 0 MiB"),
        ((_OK,), b"X: y\r\n" * 100, "more than"),
        ((_OK + b"\r\n",), b"m 1\n" * 100, "more than 0 MiB"),
        ((_OK + b"Transfer-Encoding: chunked\r\n\r\n",), b"1\r\nm\r\n" * 100, "more than"),
        ((_OK + b"Transfer-Encoding: chunked\r\n\r\n5;",), b"x" * 1000, "more than"),
        ((b"SSH-2.0-OpenSSH\r\n",), b"", "not an HTTP/1.1 response"),
        ((_OK + b"Content-Length: 9\r\n\r\nm 1",), b"", "no end"),
        ((_OK + b"Content-Encoding: gzip\r\n\r\n", gzip.compress(b"m 1\n" * 10_000)), b"", "a coding"),
        ((b"",), b"", "no end"),
    ],
)
def test_a_hostile_page_ends_with_a_clause(
    monkeypatch: pytest.MonkeyPatch, pieces: tuple[bytes, ...], for_ever: bytes, says: str
) -> None:
    monkeypatch.setattr(metrics_page, "MOST_BYTES", 20_000)
    monkeypatch.setattr(metrics_page, "_HEAD_BYTES", 1000)
    with sending(*pieces, for_ever=for_ever) as url, pytest.raises(ScrapeError, match=says):
        read_page(url)


@pytest.mark.parametrize("begun", [_OK[:-2], _OK, _OK + b"\r\nm 1\n"])
def test_a_page_that_comes_byte_by_byte_ends_in_time(monkeypatch: pytest.MonkeyPatch, begun: bytes) -> None:
    monkeypatch.setattr(metrics_page, "_LONGEST_S", 0.1)
    with (
        sending(begun, for_ever=b"H", pause_s=0.03) as url,
        pytest.raises(ScrapeError, match=r"longer than 0\.1 s"),
    ):
        read_page(url)


def test_other_greenlets_have_their_turn_while_a_page_is_read() -> None:
    turns = []
    other = gevent.spawn(lambda: [turns.append(gevent.sleep(0)) for _ in range(3)])
    with serving(body=b"m 1\n" * 100_000) as url:
        read_page(url)
    other.kill()
    assert len(turns) == 3


@pytest.mark.parametrize("host", ["h" * 70, "h..h", "[::1", "h:99999"])
def test_an_address_that_names_no_server(host: str) -> None:
    with pytest.raises(ScrapeError, match="it was not answered"):
        read_page(f"http://{host}/metrics")


def test_the_results_have_the_values(tmp_path: Path) -> None:
    with serving() as url:
        settings = Settings.model_validate(
            {**demo_config("http://127.0.0.1:1"), "scrape": {"url": url, "match": ["runs_in_flight"]}}
        )
        recording = RunRecording(settings, tmp_path / "results.sqlite", list)
        assert recording._scraper is not None
        recording._scraper.scrape()
        assert recording.close("finished", []) is None
    with Results(tmp_path / "results.sqlite") as results:
        ((series, rows),) = results.scrapes().items()
        assert series == "runs_in_flight"
        assert [(row.kind, row.value) for row in rows] == [("gauge", 2.0)]
        assert "load_notes" not in results.manifest


def test_a_failed_scrape_changes_nothing_but_a_note(tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {**demo_config("http://127.0.0.1:1"), "scrape": {"url": "http://127.0.0.1:1/metrics", "match": ["m"]}}
    )
    recording = RunRecording(settings, tmp_path / "results.sqlite", list)
    assert recording._scraper is not None
    recording._scraper.scrape()
    assert recording.close("finished", []) is None
    with Results(tmp_path / "results.sqlite") as results:
        assert results.scrapes() == {}
        (note,) = results.manifest["load_notes"]
        assert note.startswith("1 of 1 scrapes of http://127.0.0.1:1/metrics failed")


@pytest.mark.parametrize(
    ("given_settings", "says"),
    [
        ({"url": "localhost:8000", "match": ["m"]}, "not of the form"),
        ({"url": "http://user:word@h/metrics", "match": ["m"]}, "not of the form"),
        ({"url": "http://h/metrics?key=secret", "match": ["m"]}, "not of the form"),
        ({"url": "http://h/metrics"}, "match is missing"),
        ({"match": ["m"]}, "url is missing"),
        ({"url": "http://h/metrics", "match": ["m{a='b'}"]}, "is not the name of a metric"),
    ],
)
def test_wrong_settings(given_settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says) as caught:
        ScrapeSettings.model_validate(given_settings)
    assert "word" not in caught.value.errors(include_input=False)[0]["msg"]
