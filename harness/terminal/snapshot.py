"""Reads the two files in which a test's processes tell how far they are: the load's numbers, the suite's progress."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LiveDocument = Mapping[str, Any]


def read_document(path: Path) -> LiveDocument | None:
    """The JSON object in a file that is replaced as a whole; None before it is there.

    Raises ValueError or TypeError for what is no JSON object: the file is our own, so that is a fault of ours.
    """
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return dict(document)


def value_of(document: LiveDocument, metric: str, word: str) -> float | None:
    """One percentile of a metric over the whole test so far; None where nothing was measured."""
    found = document["metrics"].get(metric)
    value: float | None = found["all"][word] if found is not None else None
    return value


def recent(document: LiveDocument, name: str, span_s: float, word: str | None = None) -> list[float | None]:
    """A series over the last `span_s` seconds, a value a bin."""
    series = document["series"]
    values = series[name] if word is None else series[name][word]
    return list(values[-max(1, round(span_s / series["bin_s"])) :])


def per_second(document: LiveDocument, name: str, span_s: float = 5.0) -> float | None:
    """How many a second there were of late; None before the first bin is told."""
    counts = [count for count in recent(document, name, span_s) if count is not None]
    return sum(counts) / (len(counts) * document["series"]["bin_s"]) if counts else None


def failures(document: LiveDocument) -> int:
    """Streams that did not go as they should, of those that count."""
    return int(document["rates"]["all"]["failed"])


def violations(document: LiveDocument) -> dict[str, int]:
    """How often each requirement was violated."""
    return {name: int(found["count"]) for name, found in document["violations"].items()}
