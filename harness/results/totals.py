"""Stores, at the end of a test, what its histograms add up to, so that no reader has to add up an hour's of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness.results.reader import Results
from harness.results.writer import ResultsWriter


def store_totals(path: Path) -> None:
    """Add up the histograms of a finished test and store the sums in its file; call it again after a change.

    The sums by second are stored only of metrics that several journeys or processes measured: of the others the single
    histograms are these sums. Raises ResultsError.
    """
    totals: list[tuple[str, str, str, bool, bytes]] = []

    def seconds(results: Results) -> Iterator[tuple[str, int, bytes]]:
        for sums in results.histogram_sums():
            for second, histogram in sums.seconds:
                if sums.parts > 1:
                    yield sums.metric, second, histogram.to_bytes()
            totals.extend((sums.metric, *key, total.to_bytes()) for key, total in sums.totals().items())

    with ResultsWriter(path) as writer, Results(path) as results:
        writer.set_totals(seconds(results), totals)
