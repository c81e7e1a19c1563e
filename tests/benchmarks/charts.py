"""Draws the ladder: for each client, receive lag and CPU time per event against the number of streams."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.atomic_file import write_text

LAG, COST = "streams-and-lag.svg", "streams-and-cost.svg"
_COLOURS = ("#1f5fa8", "#c2571a", "#2a7f4f", "#7a4fa3")
_MARKERS = ("o", "s", "^", "D")

Points = dict[str, list[tuple[int, float]]]
"""By client: pairs of streams and a value, by streams."""


def lag_ms(sample: Mapping[str, Any]) -> float | None:
    """The receive lag that decides whether a rung is sustained: of ours, the larger of its two measures."""
    lags = [sample["lag_ms"]["p99"]]
    if sample["lag_by_send_ms"] is not None:
        lags.append(sample["lag_by_send_ms"]["p99"])
    known = [float(lag) for lag in lags if lag is not None]
    return max(known) if len(known) == len(lags) else None


def cost_us(sample: Mapping[str, Any]) -> float:
    """CPU time per event."""
    return float(sample["cpu_us_per_event"])


def points(ladder: Mapping[str, Any], value: Callable[[Mapping[str, Any]], float | None]) -> Points:
    """The best attempt at each rung: a rung that failed was tried twice, in case the machine was disturbed."""
    best: dict[str, dict[int, float]] = {}
    for sample in ladder["samples"]:
        found = value(sample)
        if found is not None:
            rungs = best.setdefault(sample["client"], {})
            rungs[sample["streams"]] = min(found, rungs.get(sample["streams"], found))
    return {client: sorted(rungs.items()) for client, rungs in best.items()}


def draw(ladder: Mapping[str, Any], folder: Path) -> None:
    """Write both pictures into `folder`; the same measurements give the same files. Raises FileWriteError."""
    limit_ms = float(ladder["limit_ms"])
    _draw(points(ladder, lag_ms), folder / LAG, "receive lag p99, ms", limit_ms)
    _draw(points(ladder, cost_us), folder / COST, "CPU time per event, µs", None)


def _draw(lines: Points, path: Path, label: str, limit: float | None) -> None:
    import matplotlib as mpl  # here, because every process that collects the tests imports this module
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator, ScalarFormatter

    figure = Figure(figsize=(7, 3.6), layout="constrained", facecolor="white")
    axes = figure.subplots()
    for number, (client, values) in enumerate(lines.items()):
        style = {"color": _COLOURS[number % 4], "marker": _MARKERS[number % 4], "markersize": 4}
        axes.plot(*zip(*values, strict=True), label=client, **style)
    axes.set_xlabel("streams, 20 events/s each")
    axes.set_ylabel(label)
    if limit is not None:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_locator(NullLocator())
        axes.axhline(limit, color="#555555", linestyle=":", label=f"limit, {limit:g} ms")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.grid(color="#dddddd")
    axes.legend(frameon=False, fontsize="small")
    written = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "harness", "svg.fonttype": "none"}):
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    write_text(path, "\n".join(line.rstrip() for line in written.getvalue().splitlines()) + "\n")
