"""Reads the live numbers of the load and the progress of the suite, from the files that their processes replace."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LiveDocument = Mapping[str, Any]


def read_document(path: Path) -> LiveDocument | None:
    """The JSON object in a file; None before the file exists.

    Raises ValueError or TypeError for any other content, which would be a bug in the harness.
    """
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return dict(document)


def value_of(document: LiveDocument, metric: str, word: str) -> float | None:
    """A percentile of a metric over the whole test so far; None if not measured."""
    by_journey = document["metrics"].get(metric)
    value: float | None = by_journey["all"][word] if by_journey is not None else None
    return value


def recent(document: LiveDocument, name: str, span_s: float, word: str | None = None) -> list[float | None]:
    """A series over the last `span_s` seconds, one value per bin."""
    series = document["series"]
    values = series[name] if word is None else series[name][word]
    return list(values[-max(1, round(span_s / series["bin_s"])) :])


def per_second(document: LiveDocument, name: str, span_s: float = 5.0) -> float | None:
    """The rate over the last seconds; None before the first bin."""
    counts = [count for count in recent(document, name, span_s) if count is not None]
    return sum(counts) / (len(counts) * document["series"]["bin_s"]) if counts else None


def failures(document: LiveDocument) -> int:
    """The number of failed streams, excluding warm-up."""
    return int(document["rates"]["all"]["failed"])


def violations(document: LiveDocument) -> dict[str, int]:
    """The number of violations of each requirement."""
    return {name: int(entry["count"]) for name, entry in document["violations"].items()}
