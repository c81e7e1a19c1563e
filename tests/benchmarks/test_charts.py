"""The pictures of the ladder."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from tests.benchmarks.charts import COST, LAG, cost_us, draw, lag_ms, points
from tests.benchmarks.clients import FAST_HTTP_USER, OURS
from tests.benchmarks.test_page import sample


def ladder() -> dict[str, Any]:
    """Ours at two rungs, the second tried twice; the other client could not be measured at its second rung."""
    rungs = (
        (OURS, 1500, 4.0, {"p99": 5.0}),
        (OURS, 1000, 2.0, {"p99": 1.0}),
        (OURS, 1500, 3.0, {"p99": 2.0}),
        (FAST_HTTP_USER, 1000, 9.0, None),
        (FAST_HTTP_USER, 1250, None, None),
    )
    return {
        "limit_ms": 10.0,
        "samples": [
            sample(
                client.name,
                streams=streams,
                lag_ms={"p99": lag},
                lag_by_send_ms=by_send,
                cpu_us_per_event=cost,
            )
            for (client, streams, lag, by_send), cost in zip(
                rungs, (12.0, 15.0, 11.0, 30.0, 29.0), strict=True
            )
        ],
    }


def test_a_point_is_the_best_attempt_by_the_worse_measure() -> None:
    assert points(ladder(), lag_ms) == {
        OURS.name: [(1000, 2.0), (1500, 3.0)],
        FAST_HTTP_USER.name: [(1000, 9.0)],
    }
    assert points(ladder(), cost_us) == {
        OURS.name: [(1000, 15.0), (1500, 11.0)],
        FAST_HTTP_USER.name: [(1000, 30.0), (1250, 29.0)],
    }


def test_both_pictures_are_written_and_name_the_clients(tmp_path: Path) -> None:
    draw(ladder(), tmp_path)
    first = {name: (tmp_path / name).read_text(encoding="utf-8") for name in (LAG, COST)}
    for text in first.values():
        ET.fromstring(text)
        assert OURS.name in text
        assert FAST_HTTP_USER.name in text
    assert "limit, 10 ms" in first[LAG]
    draw(ladder(), tmp_path)
    assert first == {name: (tmp_path / name).read_text(encoding="utf-8") for name in (LAG, COST)}
