"""The page of a baseline's history: what drifted, since which commit, and each metric over all tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.gate.objective import SHARES
from harness.gate.trend import Drift, MetricTrend, Trend
from harness.reports.chart_style import Chart
from harness.reports.compared_metrics import label_of
from harness.reports.headline import Headline
from harness.reports.trend_chart import short_commit, trend_chart

from .objectives_section import value_text
from .text import counted


@dataclass(frozen=True, slots=True)
class DriftView:
    """One drift in a table. verdict: worse or better. is_latest: whether nothing of the metric changed after it."""

    key: str
    label: str
    verdict: str
    since: str
    commit: str
    machine: str
    before: str
    after: str
    change: str
    steps: str
    is_latest: bool


@dataclass(frozen=True, slots=True)
class TrendPage:
    """Everything that page and console show. tests: how many the history has."""

    name: str
    headline: Headline
    drifts: tuple[DriftView, ...]
    charts: tuple[Chart, ...]
    tests: int
    first: str
    last: str


def trend_page(trend: Trend, name: str) -> TrendPage:
    """The content of the page. name: of the folder."""
    views = tuple(view for one in trend.trends for view in _views(one, trend))
    ordered = sorted(views, key=lambda view: (not view.is_latest, view.verdict != "worse"))
    charts = tuple(trend_chart(_label(one.name), one, trend.entries) for one in _drifted_first(trend))
    return TrendPage(
        name=name,
        headline=_headline(trend, ordered),
        drifts=tuple(ordered),
        charts=charts,
        tests=len(trend.entries),
        first=trend.entries[0].started_at,
        last=trend.entries[-1].started_at,
    )


def drift_sentences(trend: Trend) -> list[str]:
    """What became worse and is not better again, a sentence for each metric, and for each that was not followed."""
    unfollowed = [
        f"whether {name} is worse is unknown: levels changed too often" for name in trend.unfollowed
    ]
    return unfollowed + [
        f"{view.key} is {view.change} worse than before {view.commit} ({view.before} to {view.after}, {view.steps})"
        for one in trend.trends
        for view in _views(one, trend)
        if view.is_latest and view.verdict == "worse"
    ]


def _headline(trend: Trend, views: list[DriftView]) -> Headline:
    latest = [view for view in views if view.is_latest]
    worse = [view for view in latest if view.verdict == "worse"]
    notes = tuple(f"{note[:1].upper()}{note[1:]}." for note in trend.notes)
    if worse:
        first = worse[0]
        summary = " ".join(
            f"{view.label} went from {view.before} to {view.after} ({view.change}), in {view.steps} since "
            f"`{view.commit}`."
            for view in worse
        )
        return Headline("bad", f"Drifted: {first.label} {first.change}", summary, notes)
    if not trend.trends:
        return Headline(
            "none", "No trend yet", f"{counted(len(trend.entries), 'test')} in the history.", notes
        )
    if trend.unfollowed:
        followed = counted(len(trend.trends), "metric")
        return Headline(
            "none", "Not every metric followed", f"None of {followed} is worse than it was.", notes
        )
    better = f" Better than before: {', '.join(view.label for view in latest)}." if latest else ""
    summary = f"No metric is worse than it was, in {counted(len(trend.entries), 'test')}.{better}"
    return Headline("good", "No drift", summary, notes)


def _drifted_first(trend: Trend) -> list[MetricTrend]:
    order = {"worse": 0, "better": 1}
    return sorted(trend.trends, key=lambda one: 2 if one.latest is None else order.get(one.latest.verdict, 2))


def _views(one: MetricTrend, trend: Trend) -> Iterator[DriftView]:
    for drift in one.drifts:
        if drift.verdict == "small":
            continue
        entry = trend.entries[drift.began]
        yield DriftView(
            key=one.name,
            label=_label(one.name),
            verdict=drift.verdict,
            since=entry.started_at,
            commit=short_commit(entry),
            machine=entry.machine,
            before=value_text(one.name, drift.before),
            after=value_text(one.name, drift.after),
            change=_change(one.name, drift),
            steps=counted(len(drift.steps), "change"),
            is_latest=drift is one.drifts[-1],
        )


def _change(name: str, drift: Drift) -> str:
    if name.rpartition(".")[2] in SHARES:
        return f"{drift.change * 100:+.2f} pp"
    return f"{drift.change / drift.before * 100:+.1f}%" if drift.before else value_text(name, drift.change)


def _label(name: str) -> str:
    return " ".join(filter(None, label_of(name)))
