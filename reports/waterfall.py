"""Waterfall of the slowest runs: one bar per run, divided into phases from when the run was due."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.reports.chart_style import LABEL_PT, Chart, LegendEntry, drawn_text, new_figure
from harness.reports.trace_link import trace_link
from harness.results.records import StreamRecord

from .svg import INKS, inline_svg
from .text import NOTHING, bounded, count, duration, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PHASES = (
    ("waiting", "soft", "bar", "waiting in the harness, due but not sent"),
    ("connect", "fourth", "block", "connecting"),
    ("head", "second", "block", "request sent, waiting for the response head"),
    ("event", "third", "bar", "waiting for the first event"),
    ("token", "third", "block", "waiting for the first token"),
    ("stream", "first", "bar", "first token to terminal event"),
)
"""Name, ink, shape and legend of each phase, in their order."""

_ALPHAS = {"bar": 0.35, "block": 0.9}


@dataclass(frozen=True, slots=True)
class StreamPhase:
    """One phase of a run, in ms since the run was due. name: one of _PHASES."""

    name: str
    start_ms: float
    end_ms: float


def phases(row: StreamRecord) -> tuple[StreamPhase, ...]:
    """The phases of a run, each beginning where the previous one ended.

    A phase whose end was not measured, or is before the end of the previous one (timestamps come from separate
    clock reads), is merged into the next phase.
    """
    return tuple(_phases(row))


def _phases(row: StreamRecord) -> Iterator[StreamPhase]:
    reached = 0.0
    for name, end_ms in _phase_ends(row):
        if end_ms is not None and end_ms > reached:
            yield StreamPhase(name, reached, end_ms)
            reached = end_ms


def _phase_ends(row: StreamRecord) -> Iterator[tuple[str, float | None]]:
    """When each phase ended, in ms since the run was due; None if that was not measured."""
    sent_ms = None if row.sent_ns is None else (row.sent_ns - row.intended_ns) / 1e6
    yield "waiting", None if sent_ms is None else sent_ms - (row.connect_ms or 0.0)
    yield "connect", None if row.connect_ms is None else sent_ms
    yield "head", None if sent_ms is None or row.head_ms is None else sent_ms + row.head_ms
    yield "event", row.first_event_ms
    yield "token", row.ttft_ms
    yield "stream", row.duration_ms


def waterfall(
    rows: Sequence[StreamRecord], first_second: int, caption: str, trace_url: str | None = None
) -> Chart:
    """The chart of the rows, not empty, slowest first. first_second: epoch second of the load's start.

    trace_url: the template of the address to which trace ids link.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    figure, axes = new_figure(left=0.12, height_in=0.95 + 0.36 * len(rows), labelled=True)
    longest = max(row.duration_ms or 0.0 for row in rows)
    for place, row in enumerate(rows):
        _bar(axes, place, row)
        axes.text(
            (row.duration_ms or 0.0) + longest * 0.006, place, duration(row.duration_ms), va="center",
            fontsize=LABEL_PT - 1, color=INKS["soft"],
        )  # fmt: skip
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, longest * 1.08)
    axes.set_yticks(range(len(rows)), [_label(place, row) for place, row in enumerate(rows, start=1)])
    for text in axes.get_yticklabels():
        text.set_parse_math(False)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x", color=INKS["rule"], linewidth=0.8)
    axes.xaxis.set_major_locator(MaxNLocator(8))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value) if value else "0"))
    axes.set_xlabel("since the run was due", fontsize=LABEL_PT)
    drawn = {phase.name for row in rows for phase in _phases(row)}
    slowest = rows[0]
    return Chart(
        f"The {len(rows)} slowest runs" if len(rows) > 1 else "The slowest run",
        caption,
        inline_svg(
            figure,
            "waterfall",
            f"Waterfall of the slowest runs. The slowest took {duration(slowest.duration_ms)}: its first token arrived "
            f"after {duration(slowest.ttft_ms)}, and its largest gap between tokens was {duration(slowest.stall_ms)}.",
        ),
        (
            *(LegendEntry(ink, shape, label) for name, ink, shape, label in _PHASES if name in drawn),
            *(
                [LegendEntry("ink", "solid", "length of the largest gap between tokens")]
                if any(row.stall_ms for row in rows)
                else []
            ),
        ),
        (
            "run", "journey", "due, since start", "connect", "response head", "first event", "first token",
            "largest gap", "end", "tokens", "violations", "outcome", "run id", "trace id",
        ),
        tuple(_cells(place, row, first_second, trace_url) for place, row in enumerate(rows, start=1)),
    )  # fmt: skip


def _bar(axes: Axes, place: int, row: StreamRecord) -> None:
    styles = {name: (ink, _ALPHAS[shape]) for name, ink, shape, _ in _PHASES}
    for phase in _phases(row):
        ink, alpha = styles[phase.name]
        axes.barh(
            place, phase.end_ms - phase.start_ms, left=phase.start_ms, height=0.62, color=INKS[ink], alpha=alpha,
            linewidth=0,
        )  # fmt: skip
    if row.stall_ms and row.ttft_ms is not None:
        # The position of the gap is not recorded: the line shows its length, from the first token on.
        axes.plot(
            [row.ttft_ms, row.ttft_ms + row.stall_ms], [place + 0.4] * 2, color=INKS["ink"], linewidth=1.6,
            solid_capstyle="butt",
        )  # fmt: skip


def _label(place: int, row: StreamRecord) -> str:
    """Journey and place."""
    return f"{drawn_text(row.journey)[:16]}  {place}"


def _outcome(row: StreamRecord) -> str:
    if row.unjudged:
        return f"{row.outcome}, not judged"
    return row.outcome if row.reason is None else f"{row.outcome}, failed"


def _cells(place: int, row: StreamRecord, first_second: int, trace_url: str | None) -> tuple[str, ...]:
    return (
        str(place),
        f"{row.journey}, {row.step}",
        duration(row.intended_ns / 1e6 - first_second * 1000),
        duration(row.connect_ms),
        duration(row.head_ms),
        duration(row.first_event_ms),
        duration(row.ttft_ms),
        duration(row.stall_ms),
        duration(row.duration_ms),
        count(row.tokens),
        count(row.violations),
        _outcome(row),
        NOTHING if row.run_id is None else bounded(visible(row.run_id), 60),
        trace_link(row.trace_id, trace_url) or NOTHING,
    )
