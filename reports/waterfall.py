"""Where the time of the slowest runs went: each a bar of what came after what, from the moment it was due."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.reports.chart_style import LABEL_PT, Chart, Key, new_figure
from harness.results.records import StreamRecord

from .svg import INKS, inline_svg
from .text import NOTHING, bounded, count, duration, visible

_PARTS = (
    ("waiting", "soft", "bar", "due, and not sent yet: waiting for its turn in the harness"),
    ("connect", "fourth", "block", "connecting"),
    ("head", "second", "block", "sent, until the head of the answer"),
    ("event", "third", "bar", "until the first event"),
    ("token", "third", "block", "until the first token"),
    ("stream", "first", "bar", "tokens, until the terminal event"),
)
_ALPHAS = {"bar": 0.35, "block": 0.9}


@dataclass(frozen=True, slots=True)
class StreamPhase:
    """A stretch of a run in ms since it was due. what: the name of one of the parts above."""

    what: str
    start_ms: float
    end_ms: float


def phases(row: StreamRecord) -> tuple[StreamPhase, ...]:
    """What a row knows of the run's course, each part beginning where the one before it ended.

    A moment that was not measured, or that would lie before the one before it (clocks are read a moment
    apart), makes no part of its own: its time belongs to the next.
    """
    return tuple(_parts(row))


def _parts(row: StreamRecord) -> Iterator[StreamPhase]:
    reached = 0.0
    for what, moment_ms in _moments(row):
        if moment_ms is not None and moment_ms > reached:
            yield StreamPhase(what, reached, moment_ms)
            reached = moment_ms


def _moments(row: StreamRecord) -> Iterator[tuple[str, float | None]]:
    """When each part ended, in ms since the run was due; None where that was not measured."""
    sent_ms = None if row.sent_ns is None else (row.sent_ns - row.intended_ns) / 1e6
    yield "waiting", None if sent_ms is None else sent_ms - (row.connect_ms or 0.0)
    yield "connect", None if row.connect_ms is None else sent_ms
    yield "head", None if sent_ms is None or row.head_ms is None else sent_ms + row.head_ms
    yield "event", row.first_event_ms
    yield "token", row.ttft_ms
    yield "stream", row.duration_ms


def waterfall(rows: Sequence[StreamRecord], first_second: int, caption: str) -> Chart:
    """The rows, not empty, the worst first. first_second: the load's, from which moments are counted."""
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
    drawn = {part.what for row in rows for part in _parts(row)}
    worst = rows[0]
    return Chart(
        f"The {len(rows)} worst runs" if len(rows) > 1 else "The worst run",
        caption,
        inline_svg(
            figure,
            "waterfall",
            f"Waterfall of the longest runs. The longest took {duration(worst.duration_ms)}: its first token came "
            f"after {duration(worst.ttft_ms)}, and the largest gap between tokens was {duration(worst.stall_ms)}.",
        ),
        (
            *(Key(ink, shape, said) for what, ink, shape, said in _PARTS if what in drawn),
            *([Key("ink", "solid", "how long its largest gap was")] if any(row.stall_ms for row in rows) else []),
        ),
        (
            "run", "journey", "due, from start", "connect", "head", "first event", "first token", "largest gap",
            "end", "tokens", "violations", "outcome", "run id",
        ),
        tuple(_cells(place, row, first_second) for place, row in enumerate(rows, start=1)),
    )  # fmt: skip


def _bar(axes: Axes, place: int, row: StreamRecord) -> None:
    looks = {what: (ink, _ALPHAS[shape]) for what, ink, shape, _ in _PARTS}
    for part in _parts(row):
        ink, alpha = looks[part.what]
        axes.barh(
            place, part.end_ms - part.start_ms, left=part.start_ms, height=0.62, color=INKS[ink], alpha=alpha,
            linewidth=0,
        )  # fmt: skip
    if row.stall_ms and row.ttft_ms is not None:
        # Where in the run the gap was is not recorded: the line shows its length, from the first token on.
        axes.plot(
            [row.ttft_ms, row.ttft_ms + row.stall_ms], [place + 0.4] * 2, color=INKS["ink"], linewidth=1.6,
            solid_capstyle="butt",
        )  # fmt: skip


def _label(place: int, row: StreamRecord) -> str:
    """In characters that the chart's own font has, whatever a journey is called."""
    return f"{row.journey.encode('ascii', 'backslashreplace').decode()[:16]}  {place}"


def _became(row: StreamRecord) -> str:
    if row.unjudged:
        return f"{row.outcome}, not judged"
    return row.outcome if row.reason is None else f"{row.outcome}, failed"


def _cells(place: int, row: StreamRecord, first_second: int) -> tuple[str, ...]:
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
        _became(row),
        NOTHING if row.run_id is None else bounded(visible(row.run_id), 60),
    )
