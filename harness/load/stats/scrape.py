"""Reads the server's own metrics once a second, from a page in the Prometheus text format.

It must not disturb the load: size, time, lines and series are bounded, and what does not match is dropped before it is
parsed. A scrape that fails is named once, and the load continues.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from fnmatch import translate

import gevent
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from harness.config.scrape_settings import ScrapeSettings
from harness.formatting import visible
from harness.load.stats.metrics_page import ScrapeError, read_page
from harness.results.records import ScrapeRecord
from harness.results.stored_values import SCRAPED
from harness.run_clock import RUN_CLOCK

EVERY_S = 1.0
MOST_SERIES = 100
"""Series that are kept; further ones are left out."""
SERIES_BYTES = 800
_MOST_LINES = 1_000  # that match, of one scrape
_LINE_CHARACTERS = 1_200  # with its value; the time to parse a line grows with the square of its length
_LINES_AT_ONCE = 2_000
_SAMPLES_AT_ONCE = 50
"""Streams are read between so many lines: a page of short lines alone takes half a second."""

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_TYPE = re.compile(r"#\s+TYPE\s+(\S+)\s+(\w+)")
_COUNTING = ("_total", "_count", "_sum", "_bucket")
_COUNTING_TYPES = ("counter", "histogram", "summary")

logger = logging.getLogger(__name__)


class Scraper:
    """Reads an endpoint until it is stopped. Its greenlet only waits for the network most of the time.

    problem: after `stop`, what is missing in the results, in a sentence; None if nothing is.
    """

    def __init__(
        self,
        settings: ScrapeSettings,
        *,
        read: Callable[[str], str] | None = None,
        now_s: Callable[[], float] = RUN_CLOCK.now_s,
    ) -> None:
        self.problem: str | None = None
        self._url = settings.url or ""
        self._wanted = re.compile("|".join(translate(pattern) for pattern in settings.match))
        self._read = read or read_page
        self._now_s = now_s
        self._taken: list[ScrapeRecord] = []
        self._series: set[str] = set()
        self._scrapes = self._failed = 0
        self._first_failure = ""
        self._left_out = False
        self._greenlet: gevent.Greenlet | None = None

    def start(self) -> None:
        """Begin to read."""
        self._greenlet = gevent.spawn(self._read_regularly)

    def stop(self) -> None:
        """End reading."""
        if self._greenlet is not None:
            self._greenlet.kill()
        notes = []
        if self._failed:
            notes.append(
                f"{self._failed} of {self._scrapes} scrapes of {self._url} failed, the first because "
                f"{self._first_failure}"
            )
        elif self._scrapes and not self._series:
            notes.append(f"no metric of {self._url} matches scrape.match")
        if self._left_out:
            notes.append(f"of the series at {self._url} that match, only {MOST_SERIES} were kept")
        self.problem = "; ".join(notes) or None

    def take(self) -> list[ScrapeRecord]:
        """The values since the previous call."""
        taken, self._taken = self._taken, []
        return taken

    def scrape(self) -> None:
        """Read the endpoint once. What goes wrong is named once."""
        self._scrapes += 1
        try:
            values = list(self._values(self._read(self._url)))
        except ScrapeError as problem:
            self._failed += 1
            if self._failed == 1:
                self._first_failure = str(problem)
                logger.warning(
                    "a scrape of %s failed, because %s; the load continues and later scrapes are tried",
                    self._url,
                    problem,
                )
            return
        self._taken += values

    def _values(self, page: str) -> Iterator[ScrapeRecord]:
        second = int(self._now_s())
        lines, kinds = self._matching(page)
        seen: dict[str, ScrapeRecord] = {}
        for sample in _samples(lines):
            series = series_name(sample)
            if len(series.encode("utf-8", "backslashreplace")) > SERIES_BYTES or not is_storable(
                sample.value
            ):
                continue
            if series not in self._series:
                if len(self._series) == MOST_SERIES:
                    self._left_out = True
                    continue
                self._series.add(series)
            kind = "counter" if _counts(sample.name, kinds) else "gauge"
            seen[series] = ScrapeRecord(second=second, series=series, kind=kind, value=float(sample.value))
        yield from seen.values()

    def _matching(self, page: str) -> tuple[list[str], dict[str, str]]:
        """The lines of samples that match, and the type by name."""
        lines: list[str] = []
        kinds: dict[str, str] = {}
        for number, line in enumerate(page.split("\n")):
            if number % _LINES_AT_ONCE == 0:
                gevent.sleep(0)
            if line.startswith("#"):
                if declared := _TYPE.match(line):
                    kinds[declared[1]] = declared[2]
                continue
            name = _NAME.match(line)
            if name is None or len(line) > _LINE_CHARACTERS or not self._wanted.match(name[0]):
                continue
            if len(lines) == _MOST_LINES:
                self._left_out = True
                break
            lines.append(line)
        return lines, kinds

    def _read_regularly(self) -> None:
        due_s = time.monotonic()
        while True:
            self.scrape()
            due_s = max(due_s + EVERY_S, time.monotonic())
            gevent.sleep(due_s - time.monotonic())


def _samples(lines: Sequence[str]) -> Iterator[Sample]:
    """Raises ScrapeError for lines that are not in the format."""
    try:
        for start in range(0, len(lines), _SAMPLES_AT_ONCE):
            gevent.sleep(0)
            some = lines[start : start + _SAMPLES_AT_ONCE]
            for family in text_string_to_metric_families("\n".join(some) + "\n"):
                yield from family.samples
    except (ValueError, KeyError, IndexError) as problem:
        raise ScrapeError(
            f"its page is not in the Prometheus text format: {visible(str(problem))[:200]}"
        ) from None


def _counts(name: str, kinds: dict[str, str]) -> bool:
    """Whether the values of a sample only grow, so that their difference is of interest."""
    if name in kinds:
        return kinds[name] == "counter"
    stem = next((name.removesuffix(suffix) for suffix in _COUNTING if name.endswith(suffix)), name)
    return stem != name and kinds.get(stem, "counter") in _COUNTING_TYPES


def is_storable(value: float) -> bool:
    """Whether a results file can hold the value."""
    return math.isfinite(value) and abs(value) <= SCRAPED


def series_name(sample: Sample) -> str:
    """A series as Prometheus writes it: name{label="value"}, its labels sorted."""
    if not sample.labels:
        return visible(str(sample.name))
    labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(sample.labels.items()))
    return visible(f"{sample.name}{{{labels}}}")


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
