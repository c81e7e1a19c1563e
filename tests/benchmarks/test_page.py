"""docs/performance.md: goals are met or missed by the measurements."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import page
from tests.benchmarks.clients import AIOHTTP, FAST_HTTP_USER, OURS
from tests.benchmarks.master import RUNS
from tests.benchmarks.page import Goal, goals
from tests.benchmarks.parts import PARTS
from tests.cases import all_cases

MACHINE = {
    "processor": "A processor",
    "cores": 2,
    "kernel": "Linux 6",
    "python": "3.11.7",
    "packages": {"locust": "2.47.0"},
    "date": "2025-01-02",
}


def sample(client: str, **values: Any) -> dict[str, Any]:
    return {
        "client": client,
        "streams": 1000,
        "events_per_s": 100.0,
        "cpu_us_per_event": 10.0,
        "cpu_share": 0.5,
        "waited_share": 0.01,
        "open_streams": 1000.0,
        "rss_bytes": 0,
        "truth": {
            "first_token_us": {"p50": 200_000.0, "p99": 200_500.0},
            "lateness_us": {"p50": 10.0, "p99": 100.0},
        },
        "lag_ms": {"p99": 5.0},
        "ttft_ms": {"p50": 200.1, "p99": 200.8999},
        "lag_by_send_ms": None,
        "kernel_error_ms": {"p99": 0.01},
        "problem": None,
        **values,
    }


def part(*samples: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "rhythm": {"tokens": 500, "first_token_us": 0, "gap_us": 0},
        "target": "c",
        "samples": list(samples),
        "machine": MACHINE,
        **more,
    }


ROUND = {
    "due": 5000,
    "scheduled": 5000,
    "asked_of_target": 5000,
    "failures": 0,
    "rows": 5000,
    "missing_or_doubled": 0,
    "schedule_lag_ms": {"p50": 0.1, "p99": 1.5},
}
# Each at its limit, so the smallest change misses the goal.
DOCUMENTS: dict[str, Any] = {
    "blast": part(
        sample(OURS.name, events_per_s=400.0),
        sample(FAST_HTTP_USER.name, events_per_s=100.0),
        sample(OURS.name, events_per_s=800.0),
        sample(FAST_HTTP_USER.name, events_per_s=90.0),
        sample(OURS.name, events_per_s=900.0),
        sample(FAST_HTTP_USER.name, events_per_s=300.0),
    ),
    "chat_blast": part(
        sample(OURS.name, cpu_us_per_event=4.0), sample(FAST_HTTP_USER.name, cpu_us_per_event=20.0)
    ),
    "ladder": part(
        sample(OURS.name, problem="at 8,000 some failed"),
        held={OURS.name: 6000, FAST_HTTP_USER.name: 2000, AIOHTTP.name: 1500},
        limit_ms=10.0,
    ),
    "cpu": part(sample(OURS.name, cpu_us_per_event=7.6), sample(FAST_HTTP_USER.name, cpu_us_per_event=20.0)),
    "ttft": part(
        sample(OURS.name),
        sample(FAST_HTTP_USER.name, ttft_ms={"p50": 1.0, "p99": 999.0}, kernel_error_ms={"p99": None}),
        sample(f"{OURS.name}, hub 20% busy"),
    ),
    "memory": part(
        sample(OURS.name, streams=100, rss_bytes=50_000_000),
        sample(OURS.name, streams=1000, rss_bytes=50_000_000 + 900 * 11 * 1024),
    ),
    "open_loop": {
        "rate": 500,
        "duration_s": 10,
        "processes": 2,
        "rounds": [{**ROUND}, {**ROUND}],
        "machine": MACHINE,
    },
    "master": {
        "runs": [
            {"workers": workers, "rate": rate, "cpu": 0.01 + workers * 0.005 + rate * 0.0002}
            for workers, rate in RUNS
        ],
        "machine": MACHINE,
    },
    "traces": {
        "cases": [
            {
                "rhythm": {"tokens": tokens, "gap_us": gap_us},
                "cpu_us_per_event": {"without": 10.0, "traceparent": 10.1, "spans": 10.3},
            }
            for tokens, gap_us in ((100, 5_000), (20, 0))
        ],
        "machine": MACHINE,
    },
}


def test_goals_at_their_limit_are_met() -> None:
    assert [(goal.limit, goal.measured, goal.met) for goal in goals(DOCUMENTS)] == [
        ("≥ 8", "8.00", True),
        ("≥ 5", "5.00", True),
        ("≥ 3", "3.00", True),
        ("≤ 0.38", "0.38", True),
        ("≤ 0.4 ms", "0.40 ms", True),
        ("≤ 0.01 ms", "0.010 ms", True),
        ("≤ 11 KB", "11.0 KB", True),
        ("≤ 1.5 ms", "1.50 ms", True),
        ("exact", "5000 of 5000 (0 misplaced), 5000 of 5000 (0 misplaced)", True),
        ("≤ 1.03", "1.030", True),
    ]


def test_goals_without_measurement() -> None:
    assert {(goal.measured, goal.met) for goal in goals({})} == {("not measured", None)}
    assert [goal.metric for goal in goals({})] == [goal.metric for goal in goals(DOCUMENTS)]


def missed_after(name: str, number: int, **values: Any) -> list[Goal]:
    """The missed goals after a change of one sample."""
    documents = copy.deepcopy(DOCUMENTS)
    documents[name].get("samples", documents[name].get("rounds"))[number].update(values)
    return [goal for goal in goals(documents) if not goal.met]


@all_cases(
    ("name", "number", "values", "measured"),
    [
        ("blast", 2, {"events_per_s": 799.0}, ["7.99"]),
        ("chat_blast", 1, {"cpu_us_per_event": 19.9}, ["4.97"]),
        ("cpu", 0, {"cpu_us_per_event": 7.9}, ["0.40"]),
        ("ttft", 0, {"ttft_ms": {"p50": 200.0, "p99": 201.0}}, ["0.50 ms"]),
        ("ttft", 2, {"ttft_ms": {"p50": 200.0, "p99": 200.0}}, ["0.50 ms"]),
        ("ttft", 2, {"kernel_error_ms": {"p99": 0.011}}, ["0.011 ms"]),
        ("memory", 1, {"rss_bytes": 50_000_000 + 901 * 11 * 1024}, ["11.0 KB"]),
        ("open_loop", 1, {"schedule_lag_ms": {"p50": 0, "p99": 1.51}}, ["1.51 ms"]),
        ("open_loop", 0, {"failures": 1}, ["5000 of 5000 (0 misplaced), 5000 of 5000 (0 misplaced)"]),
        (
            "open_loop",
            0,
            {"asked_of_target": 4999},
            ["5000 of 5000 (0 misplaced), 5000 of 5000 (0 misplaced)"],
        ),
        (
            "open_loop",
            1,
            {"scheduled": 4999},
            ["5000 of 5000 (0 misplaced), 4999 of 5000 (0 misplaced)"],
        ),
        (
            "open_loop",
            1,
            {"missing_or_doubled": 1},
            ["5000 of 5000 (0 misplaced), 5000 of 5000 (1 misplaced)"],
        ),
        # A client that drops streams is fast, but does not meet the goal.
        ("blast", 0, {"problem": "it left 3 streams"}, ["8.00, but it left 3 streams"]),
    ],
)
def test_just_beyond_the_limit_is_missed(
    name: str, number: int, values: dict[str, Any], measured: list[str]
) -> None:
    assert [goal.measured for goal in missed_after(name, number, **values)] == measured


def test_traces_that_cost_more_miss_the_goal() -> None:
    documents = copy.deepcopy(DOCUMENTS)
    documents["traces"]["cases"][0]["cpu_us_per_event"]["spans"] = 10.31
    (missed,) = [goal for goal in goals(documents) if not goal.met]
    assert missed.measured == "1.031"
    assert "| 100 tokens, paced | the field and spans | 10.31 | 1.031 |" in page.page(documents)


def test_a_ladder_on_which_ours_sustains_nothing() -> None:
    documents = {"ladder": {**DOCUMENTS["ladder"], "held": {OURS.name: None, FAST_HTTP_USER.name: 2000}}}
    (goal,) = [goal for goal in goals(documents) if goal.met is not None]
    assert (goal.measured, goal.met) == ("0.00", False)


def test_the_page_shows_every_part_and_its_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "performance.md"
    file.write_text(f"# Head\n\n{page.BEGIN}\nold\n{page.END}\n\nTail\n")
    monkeypatch.setattr(page, "PAGE", file)
    page.write(DOCUMENTS)
    page.write(DOCUMENTS)
    text = file.read_text()
    assert text.startswith(
        f"# Head\n\n{page.BEGIN}\nMeasured (blast, chat blast, ladder, cpu, ttft, memory, open loop, "
        "master, traces): 2025-01-02"
    )
    assert text.endswith(f"{page.END}\n\nTail\n")
    assert "old" not in text
    assert text.count("\n### ") == len(PARTS)
    assert text.count("| met |") == 10
    assert "5.00 ms per second for each worker, and 0.20 ms for each stream" in text
    assert "one master bears 27 workers that send 100 streams per second each" in text
    assert "A processor, 2 cores, Linux 6, Python 3.11.7, locust 2.47.0; target in C." in text


@pytest.mark.parametrize(("waited", "count"), [(0.05, 0), (0.051, 1)])
def test_disturbed_windows_are_counted(waited: float, count: int) -> None:
    documents = {"cpu": part(sample(OURS.name, waited_share=waited), sample(FAST_HTTP_USER.name))}
    assert page.disturbed(documents).startswith(f"In {count} of 2 measurement windows another process")
    assert page.disturbed(documents) in page.page(documents)


def test_a_page_without_markers_is_not_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "performance.md"
    file.write_text("# Head\n")
    monkeypatch.setattr(page, "PAGE", file)
    with pytest.raises(ValueError, match=r"needs the lines .*begin.* and .*end"):
        page.write(DOCUMENTS)
    assert file.read_text() == "# Head\n"


def test_the_page_in_the_repository_has_its_markers() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert text.count(page.BEGIN) == text.count(page.END) == 1
