"""The comparison of several results files with the first: conformance, metrics with confidence intervals, setup."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.contract.requirements import CATALOGUE, Level
from harness.gate.comparison import Comparison
from harness.gate.console import format_change_interval
from harness.reports.chart_style import Chart, bin_width_s
from harness.reports.compared_metrics import compare_metrics, label_of
from harness.reports.comparison_sentences import (
    broken_text,
    change_text,
    comparison_sentence,
    most_changed_first,
    worst_change,
)
from harness.reports.conformance_section import UNKNOWN_REQUIREMENT
from harness.reports.headline import Headline
from harness.reports.load_section import CURVES
from harness.reports.objectives_section import value_text
from harness.reports.setup_section import SETUP_KEYS, elapsed_time, flatten, start_time
from harness.results.manifest import target_address
from harness.results.metrics import METRICS, PERCENTILES
from harness.results.reader import Results
from harness.results.records import CheckRecord
from harness.results.schema import RESULTS_FILE

from .charts import percentile_curve, percentiles_over_time
from .text import NOTHING, bounded, count

MOST_TESTS = 8
"""Most tests on one page; more curves in one chart are unreadable."""

DIFFERING_SHOWN = 60
"""Most rows of the table of setup differences."""

DETAIL_LIMIT = 300
"""Characters of one cell of text."""

FOOTNOTE_FROM = 3
"""A detail of this many metrics becomes a footnote; other details are shown in their rows."""

_FAILING = frozenset({"fail", "error"})
_PASSING = frozenset({"pass", "info", "warn"})


@dataclass(frozen=True, slots=True)
class ComparedTest:
    """One of the tests, by its name on this page."""

    name: str
    started: str
    took: str
    target: str
    streams: str
    checks: str
    file: str


@dataclass(frozen=True, slots=True)
class ChangeView:
    """A requirement whose verdict is not the same in all tests.

    kind: "broke" if any test broke it, else "fixed" if any fixed it, else "changed". results: verdict and detail
    for each test; the verdict is empty if the test has none.
    """

    id: str
    requirement: str
    level: str
    kind: str
    results: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class DifferenceView:
    """One metric of a test and of the baseline. verdict: better, same, worse or inconclusive.

    key: the metric's key in objectives. percentile: empty for a share. footnote: number of the footnote with the
    detail, or 0.
    """

    key: str
    label: str
    percentile: str
    before: str
    after: str
    difference: str
    interval: str
    verdict: str
    detail: str
    footnote: int


@dataclass(frozen=True, slots=True)
class ComparisonView:
    """One test against the baseline. verdict: as of DifferenceView. heading: of the intervals' column.
    columns: those of both values.

    rows: what got worse first. worst: what changed most, for a title.
    """

    name: str
    tone: str
    verdict: str
    sentence: str
    notes: tuple[str, ...]
    heading: str
    rows: tuple[DifferenceView, ...]
    footnotes: tuple[str, ...]
    worst: str = ""
    columns: tuple[str, str] = ("before", "after")

    @property
    def changed(self) -> tuple[DifferenceView, ...]:
        """The rows that are worse or better; they are the first."""
        return tuple(row for row in self.rows if row.verdict in ("worse", "better"))

    @property
    def unchanged(self) -> tuple[DifferenceView, ...]:
        """The rows without a change that is sure."""
        return self.rows[len(self.changed) :]


@dataclass(frozen=True, slots=True)
class ComparisonPage:
    """Everything that the page and the console show. tests: the first one is the baseline."""

    tests: tuple[ComparedTest, ...]
    headline: Headline
    changes: tuple[ChangeView, ...]
    unchanged: int
    violations: tuple[tuple[str, tuple[str, ...]], ...]
    comparisons: tuple[ComparisonView, ...]
    charts: tuple[Chart, ...]
    differing: tuple[tuple[str, tuple[str, ...]], ...]
    not_shown: int


def unique_names(paths: Sequence[Path]) -> tuple[str, ...]:
    """A name for each results file: its folder, with as many parents as make it unique."""
    folders = [_folder(path.absolute()).parts for path in paths]
    times: Counter[str] = Counter()
    names = []
    for folder in folders:
        others = [other for other in folders if other != folder]
        length = 1
        while length < len(folder) and any(other[-length:] == folder[-length:] for other in others):
            length += 1
        name = "/".join(folder[-length:])
        times[name] += 1
        names.append(name if times[name] == 1 else f"{name} ({times[name]})")
    return tuple(names)


def _folder(path: Path) -> Path:
    """The output folder of a test, or the path of a file with a different name."""
    return path.parent if path.name == RESULTS_FILE else path.with_suffix("")


def compare_files(paths: Sequence[Path]) -> ComparisonPage:
    """Compare results files with the first. Raises ResultsError, and ValueError for fewer than two."""
    with ExitStack() as stack:
        files = [stack.enter_context(Results(path)) for path in paths]
        return compare_results(files, unique_names(paths))


def compare_results(files: Sequence[Results], names: Sequence[str]) -> ComparisonPage:
    """Compare results with the first. Raises ResultsError, and ValueError for fewer than two."""
    if len(files) < 2:
        raise ValueError("a comparison needs at least two results files")
    checks = [{check.id: check for check in file.checks()} for file in files]
    changes = tuple(requirement_changes(checks))
    comparisons = tuple(
        _compare(files[0], file, name, checks[0], checks_after)
        for file, name, checks_after in zip(files[1:], names[1:], checks[1:], strict=True)
    )
    differing = list(setup_differences([file.manifest for file in files]))
    return ComparisonPage(
        tests=tuple(_test(file, name) for file, name in zip(files, names, strict=True)),
        headline=headline_of(comparisons, names[0]),
        changes=changes,
        unchanged=len({name for of_test in checks for name in of_test}) - len(changes),
        violations=tuple(_violations(files)),
        comparisons=comparisons,
        charts=tuple(_charts(files, names)),
        differing=tuple(differing[:DIFFERING_SHOWN]),
        not_shown=max(len(differing) - DIFFERING_SHOWN, 0),
    )


def _test(file: Results, name: str) -> ComparedTest:
    manifest = file.manifest
    tally = Counter(check.verdict for check in file.checks())
    return ComparedTest(
        name=name,
        started=start_time(manifest) or "not recorded",
        took=elapsed_time(manifest) or NOTHING,
        target=target_address(manifest) or NOTHING,
        streams=count(file.ledger().scheduled),
        checks=", ".join(f"{times} {verdict}" for verdict, times in tally.items()) or NOTHING,
        file=str(file.path),
    )


def requirement_changes(checks: Sequence[Mapping[str, CheckRecord]]) -> Iterator[ChangeView]:
    """Requirements that differ between tests: those that broke first, then those that were fixed."""
    order = {name: place for place, name in enumerate(CATALOGUE)}
    changed = [name for name in {name for of_test in checks for name in of_test} if not _same(name, checks)]
    views = [
        _change(name, checks)
        for name in sorted(changed, key=lambda name: (order.get(name, len(order)), name))
    ]
    yield from sorted(views, key=lambda view: ("broke", "fixed", "changed").index(view.kind))


def _same(name: str, checks: Sequence[Mapping[str, CheckRecord]]) -> bool:
    rows = [of_test.get(name) for of_test in checks if of_test]  # without tests that did not run the suite
    first = rows[0]
    return all(
        row is not None
        and first is not None
        and row.verdict == first.verdict
        # A policy is compared by its finding.
        and (row.verdict != "info" or row.detail == first.detail)
        for row in rows
    )


def _change(name: str, checks: Sequence[Mapping[str, CheckRecord]]) -> ChangeView:
    rows = [of_test.get(name) for of_test in checks]
    kinds = [change_kind(rows[0], row) for row, of_test in zip(rows[1:], checks[1:], strict=True) if of_test]
    known = CATALOGUE.get(name)
    level = known.level.value if known else next(row.level for row in rows if row is not None)
    is_policy = level == Level.INFO.value
    return ChangeView(
        id=name,
        requirement=known.text if known else UNKNOWN_REQUIREMENT,
        level=level,
        kind="broke" if "broke" in kinds else "fixed" if "fixed" in kinds else "changed",
        results=tuple(
            ("", "not tested")
            if row is None
            else (
                row.verdict,
                bounded(row.detail, DETAIL_LIMIT) if is_policy or row.verdict in _FAILING else "",
            )
            for row in rows
        ),
    )


def change_kind(before: CheckRecord | None, after: CheckRecord | None) -> str:
    was, is_now = (None if row is None else row.verdict for row in (before, after))
    if is_now in _FAILING and was not in _FAILING:
        return "broke"
    return "fixed" if was in _FAILING and is_now in _PASSING else "changed"


def _violations(files: Sequence[Results]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Requirements that streams under load violated, and how often in each test."""
    counts = [file.violation_counts() for file in files]
    for name in sorted({name for of_test in counts for name in of_test}):
        yield name, tuple(count(of_test.get(name, 0)) for of_test in counts)


def _compare(
    baseline: Results,
    test: Results,
    name: str,
    before: Mapping[str, CheckRecord],
    after: Mapping[str, CheckRecord],
) -> ComparisonView:
    compared = compare_metrics(baseline, test)
    rows = most_changed_first(compared.rows)
    checked = {*before, *after} if before and after else set()
    requirements: dict[str, list[str]] = {}
    for check in sorted(checked):
        if (kind := change_kind(before.get(check), after.get(check))) != "changed":
            requirements.setdefault(kind, []).append(check)
    under_load = _under_load(baseline, test)
    footnotes = shared_details(rows)
    verdicts: Counter[str] = Counter(row.verdict for row in rows)
    kinds = Counter({kind: len(names) for kind, names in requirements.items()})
    tone, verdict = overall_verdict(kinds + under_load, verdicts, checked=bool(checked))
    broke = requirements.get("broke")
    return ComparisonView(
        name=name,
        tone=tone,
        verdict=verdict,
        sentence=comparison_sentence(name, requirements, under_load, rows, checked=bool(checked)),
        notes=compared.notes,
        heading=compared.heading,
        rows=tuple(difference_view(row, footnotes) for row in rows),
        footnotes=tuple(footnotes),
        worst=broken_text(broke, "broke") if broke else worst_change(rows, verdict),
    )


def overall_verdict(
    kinds: Mapping[str, int], verdicts: Mapping[str, int], *, checked: bool
) -> tuple[str, str]:
    """Tone and verdict of a whole comparison. checked: whether both tests ran the conformance suite."""
    if kinds["broke"] or verdicts["worse"]:
        return "bad", "worse"
    if kinds["fixed"] or verdicts["better"]:
        return "good", "better"
    # With inconclusive metrics, or with nothing to compare, the tests are not known to be the same.
    if verdicts["inconclusive"] or not (verdicts["same"] or checked):
        return "warn", "inconclusive"
    return "good", "same"


def _under_load(baseline: Results, test: Results) -> Counter[str]:
    """How many MUSTs only one of the two loads violated; empty if one of the tests has no load."""
    if not (baseline.ledger().judged and test.ledger().judged):
        return Counter()
    before, after = ({name for name in file.violation_counts() if is_must(name)} for file in (baseline, test))
    return Counter(broke=len(after - before), fixed=len(before - after))


def is_must(name: str) -> bool:
    known = CATALOGUE.get(name)
    return known is None or known.level is Level.MUST


def headline_of(comparisons: Sequence[ComparisonView], baseline: str) -> Headline:
    verdicts = [comparison.verdict for comparison in comparisons]
    verdict = next(verdict for verdict in ("worse", "inconclusive", "better", "same") if verdict in verdicts)
    tone = next(comparison.tone for comparison in comparisons if comparison.verdict == verdict)
    title = "No difference" if verdict == "same" else verdict.capitalize()
    if verdict in ("worse", "better"):
        if verdicts.count(verdict) < len(verdicts):
            title = f"{verdicts.count(verdict)} of {len(verdicts)} {verdict}"
        worst = next((one.worst for one in comparisons if one.verdict == verdict and one.worst), "")
        title = f"{title}: {worst}" if worst else title
    notes = dict.fromkeys(
        f"{note[:1].upper()}{note[1:]}."
        for comparison in comparisons
        for note in (*comparison.notes, *_incomparable(comparison))
    )
    summary = f"{' '.join(comparison.sentence for comparison in comparisons)} Baseline: `{baseline}`."
    return Headline(tone, title, summary, tuple(notes))


def _incomparable(comparison: ComparisonView) -> Iterator[str]:
    """Why no metric can be compared, if all of them have the same reason."""
    reasons = {row.detail for row in comparison.rows if row.verdict == "inconclusive"}
    all_inconclusive = all(row.verdict == "inconclusive" for row in comparison.rows)
    if len(reasons) == 1 and "" not in reasons and all_inconclusive:
        yield f"no metric of {comparison.name} can be compared: {reasons.pop()}"


def shared_details(comparisons: Sequence[Comparison]) -> list[str]:
    """The details that at least FOOTNOTE_FROM metrics share."""
    tally = Counter(comparison.detail for comparison in comparisons if comparison.detail)
    return [detail for detail, times in tally.items() if times >= FOOTNOTE_FROM]


def difference_view(comparison: Comparison, footnotes: Sequence[str]) -> DifferenceView:
    label, percentile = label_of(comparison.key)
    return DifferenceView(
        key=comparison.key,
        label=label,
        percentile=percentile,
        before=value_text(comparison.key, comparison.baseline),
        after=value_text(comparison.key, comparison.value),
        difference=change_text(comparison) or NOTHING,
        interval=format_change_interval(comparison) or NOTHING,
        verdict=comparison.verdict,
        detail=comparison.detail,
        footnote=footnotes.index(comparison.detail) + 1 if comparison.detail in footnotes else 0,
    )


def _charts(files: Sequence[Results], names: Sequence[str]) -> Iterator[Chart]:
    for metric in CURVES:
        histograms = [(name, file.histogram(metric)) for name, file in zip(names, files, strict=True)]
        measured = [(name, histogram) for name, histogram in histograms if histogram.count]
        if measured:
            label = METRICS[metric].label
            yield percentile_curve(
                measured, title=label, name=f"curve-{metric.replace('_', '-')}", column="test"
            )
    yield from _over_time(files, names)


def _over_time(files: Sequence[Results], names: Sequence[str]) -> Iterator[Chart]:
    """TTFT over time, from the first second of each test."""
    ends = [file.seconds_of("ttft_ms") for file in files]
    spans = [last - first + 1 for first, last in filter(None, ends)]
    if not spans:
        return
    width = bin_width_s(0, max(spans) - 1)
    series = [
        (name, _from_start(file, span[0], width))
        for name, file, span in zip(names, files, ends, strict=True)
        if span is not None
    ]
    for percentile in ("p50", "p95"):
        yield percentiles_over_time(
            METRICS["ttft_ms"].label, PERCENTILES[percentile], series, name=f"over-time-{percentile}"
        )


def _from_start(file: Results, first: int, width: int) -> dict[int, Any]:
    seconds = file.histograms_by_second("ttft_ms", part="whole", width_s=width, first=first)
    return {second - first: histogram for second, histogram in seconds.items()}


def setup_differences(manifests: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Facts of the setup that differ between tests."""
    setups = [
        {name: value for key in SETUP_KEYS for name, value in flatten(key, manifest.get(key, {}))}
        for manifest in manifests
    ]
    for name in dict.fromkeys(name for setup in setups for name in setup):
        values = tuple(bounded(setup.get(name, NOTHING), DETAIL_LIMIT) for setup in setups)
        if len(set(values)) > 1:
            yield name, values
