"""The page of an interleaved comparison of two servers: as the page of a comparison of tests, with paired verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.gate.comparison import Comparison
from harness.gate.equivalence import Effects
from harness.gate.objective import Objective
from harness.gate.paired import (
    LEAST_PAIRS,
    Pair,
    PairedComparison,
    compare_pairs,
    confidence_of_pairs,
    sound_pairs,
)
from harness.reports.chart_style import Chart
from harness.reports.compared_metrics import label_of
from harness.reports.comparison_page import (
    DIFFERING_SHOWN,
    ComparedTest,
    ComparisonPage,
    ComparisonView,
    change_kind,
    difference_view,
    headline_of,
    overall_verdict,
    requirement_changes,
    setup_differences,
    shared_details,
)
from harness.reports.comparison_sentences import (
    broken_text,
    comparison_sentence,
    most_changed_first,
    worst_change,
)
from harness.reports.load_section import CURVES
from harness.reports.pair_chart import PairedCourse, pair_chart
from harness.reports.setup_section import start_time
from harness.results.histogram import Histogram
from harness.results.manifest import target_address
from harness.results.metrics import METRICS
from harness.results.reader import Results
from harness.results.records import CheckRecord

from .charts import percentile_curve
from .text import NOTHING, count, duration

CHARTED = ("ttft_p50_ms", "ttft_p95_ms", "inter_token_p50_ms", "duration_p50_ms")
"""The metrics whose pairs are drawn, with those that became worse or better."""


@dataclass(frozen=True, slots=True)
class PairedTest:
    """What an interleaved comparison measured, the target first on each pair.

    names: of both sides. conformance: the results of the suite; None without it. blocks: results files by side, in the
    order of the pairs. took_s: of all blocks. notes: clauses about limitations.
    """

    names: tuple[str, str]
    folder: Path
    conformance: tuple[Path, Path] | None
    blocks: tuple[Sequence[Path], Sequence[Path]]
    pairs: Sequence[Pair]
    objectives: Sequence[Objective]
    comparisons: Sequence[PairedComparison]
    effects: Effects
    under_load: Mapping[str, str]
    notes: tuple[str, ...]
    took_s: float


def paired_page(test: PairedTest) -> ComparisonPage:
    """The content of the page; the server that the target is compared with is its first test. Raises ResultsError."""
    with ExitStack() as stack:
        suites = [stack.enter_context(Results(path)) for path in test.conformance or ()]
        checks = [{check.id: check for check in file.checks()} for file in suites] or [{}, {}]
        manifests = [file.manifest for file in suites] or [_manifest(paths) for paths in test.blocks]
        against_first = checks[::-1]
        changes = tuple(requirement_changes(against_first)) if all(checks) else ()
        view = _comparison(test, against_first)
        differing = list(setup_differences(manifests[::-1]))
        tests = tuple(_side(test, side, manifests[side], checks[side].values()) for side in (1, 0))
    return ComparisonPage(
        tests=tests,
        headline=headline_of([view], test.names[1]),
        changes=changes,
        unchanged=len({name for of_side in checks for name in of_side}) - len(changes),
        violations=tuple(_violations(test)),
        comparisons=(view,),
        charts=(*_pair_charts(test), *_curves(test)),
        differing=tuple(differing[:DIFFERING_SHOWN]),
        not_shown=max(len(differing) - DIFFERING_SHOWN, 0),
    )


def _manifest(paths: Sequence[Path]) -> dict[str, Any]:
    if not paths:
        return {}
    with Results(paths[0]) as results:
        return results.manifest


def _comparison(test: PairedTest, checks: Sequence[Mapping[str, CheckRecord]]) -> ComparisonView:
    rows = most_changed_first([paired.comparison for paired in test.comparisons])
    before, after = checks
    checked = {*before, *after} if before and after else set()
    requirements: dict[str, list[str]] = {}
    for check in sorted(checked):
        if (kind := change_kind(before.get(check), after.get(check))) != "changed":
            requirements.setdefault(kind, []).append(check)
    under_load = Counter(test.under_load.values())
    footnotes = shared_details(rows)
    kinds = Counter({kind: len(names) for kind, names in requirements.items()})
    tone, verdict = overall_verdict(
        kinds + under_load, Counter(row.verdict for row in rows), checked=bool(checked)
    )
    broke = requirements.get("broke")
    return ComparisonView(
        name=test.names[0],
        tone=tone,
        verdict=verdict,
        sentence=comparison_sentence(test.names[0], requirements, under_load, rows, checked=bool(checked)),
        notes=test.notes,
        heading=f"{confidence_of_pairs(len(test.objectives)) * 100:.3g}% interval",
        rows=tuple(difference_view(row, footnotes) for row in rows),
        footnotes=tuple(footnotes),
        worst=broken_text(broke, "broke") if broke else worst_change(rows, verdict),
        columns=(test.names[1], test.names[0]),
    )


def _side(
    test: PairedTest, side: int, manifest: Mapping[str, Any], checks: Iterable[CheckRecord]
) -> ComparedTest:
    tally = Counter(check.verdict for check in checks)
    streams = 0
    for path in test.blocks[side]:
        with Results(path) as results:
            streams += results.ledger().scheduled
    return ComparedTest(
        name=test.names[side],
        started=start_time(manifest) or "not recorded",
        took=duration(test.took_s * 1000),
        target=target_address(manifest) or NOTHING,
        streams=count(streams),
        checks=", ".join(f"{times} {verdict}" for verdict, times in tally.items()) or NOTHING,
        file=str(test.folder),
    )


def _violations(test: PairedTest) -> Iterator[tuple[str, tuple[str, ...]]]:
    counts = [violations_of(paths) for paths in (test.blocks[1], test.blocks[0])]
    for name in sorted({name for of_side in counts for name in of_side}):
        yield name, tuple(count(of_side[name]) for of_side in counts)


def violations_of(paths: Sequence[Path]) -> Counter[str]:
    """The violations under load of one side, by requirement. Raises ResultsError."""
    total: Counter[str] = Counter()
    for path in paths:
        with Results(path) as results:
            total.update(results.violation_counts())
    return total


def _pair_charts(test: PairedTest) -> Iterator[Chart]:
    for paired, objective in zip(test.comparisons, test.objectives, strict=True):
        comparison = paired.comparison
        if paired.changes and (objective.name in CHARTED or comparison.verdict in ("worse", "better")):
            label = " ".join(filter(None, label_of(objective.name)))
            course = PairedCourse(
                label, comparison, paired.changes, tuple(_intervals(test, objective, paired))
            )
            yield pair_chart(course, f"pairs-{objective.name.replace('_', '-').replace('.', '-')}")


def _intervals(
    test: PairedTest, objective: Objective, paired: PairedComparison
) -> Iterator[tuple[float, float] | None]:
    """The interval after each usable pair."""
    usable = [
        pair for pair in sound_pairs(test.pairs) if all(objective.name in block.values for block in pair)
    ]
    for number in range(1, len(paired.changes) + 1):
        if number < LEAST_PAIRS:
            yield None
            continue
        so_far = compare_pairs(
            objective, usable[:number], test.effects, comparisons=len(test.objectives)
        ).comparison
        yield None if so_far.low is None or so_far.high is None else _in_unit_of(paired.comparison, so_far)


def _in_unit_of(final: Comparison, so_far: Comparison) -> tuple[float, float]:
    """The interval, as shares of the final baseline: that of the first pairs was slightly different."""
    scale = (so_far.baseline or 1.0) / (final.baseline or 1.0) if final.relative else 1.0
    return (so_far.low or 0.0) * scale, (so_far.high or 0.0) * scale


def _curves(test: PairedTest) -> Iterator[Chart]:
    for metric in CURVES:
        totals = []
        for side in (1, 0):
            total = Histogram()
            for path in test.blocks[side]:
                with Results(path) as results:
                    total.merge(results.histogram(metric))
            totals.append((test.names[side], total))
        measured = [(name, total) for name, total in totals if total.count]
        if measured:
            chart = percentile_curve(
                measured,
                title=METRICS[metric].label,
                name=f"curve-{metric.replace('_', '-')}",
                column="server",
            )
            yield replace(chart, caption=f"All blocks of a server together. {chart.caption}")
