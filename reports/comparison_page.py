"""Several results files side by side: what changed in conformance, which numbers differ and how surely."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.contract.requirements import CATALOGUE, Level
from harness.gate.comparison import Comparison
from harness.gate.console import change_said
from harness.gate.evaluate import evaluate
from harness.gate.objective import GOODPUT, SHARES, Objective
from harness.reports.chart_style import Chart, bin_width_s
from harness.reports.load_section import CURVES
from harness.reports.page import Headline, facts_of, moment_of, took_of
from harness.results.manifest import target_address
from harness.results.metrics import METRICS, PERCENTILES
from harness.results.reader import Results
from harness.results.records import CheckRecord

from .charts import percentile_curve, percentiles_over_time
from .text import NOTHING, bounded, count, counted, milliseconds, percent

MOST_TESTS = 8
"""More curves than this over each other nobody can follow."""

COMPARED = ("ttft_ms", "inter_token_ms", "stall_ms", "duration_ms", "resume_ms", "conflict_ms")
COMPARED_WORDS = ("p50", "p95", "p99")
DIFFERING_SHOWN = 60
_BAD = frozenset({"fail", "error"})
_MET = frozenset({"pass", "info", "warn"})
_SHARE_LABELS = {"error_rate": "Error rate", GOODPUT: "Goodput"}
_KEYS = {
    f"{metric.removesuffix('_ms')}_{word}_ms": (METRICS[metric].label, word)
    for metric in COMPARED
    for word in COMPARED_WORDS
} | {key: (_SHARE_LABELS[key], "") for key in SHARES}


@dataclass(frozen=True, slots=True)
class FileView:
    """One of the tests: its name here, and what it was."""

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

    kind: "broke", "mended" or "changed", by the last test that differs from the first. found: for each test its
    verdict, empty where it has none, and what it found where that is what differs.
    """

    id: str
    requirement: str
    level: str
    kind: str
    found: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class DifferenceView:
    """One number of a test beside the first test's. verdict: better, same, worse or inconclusive.

    key: the number as objectives name it.
    """

    key: str
    label: str
    word: str
    before: str
    after: str
    difference: str
    interval: str
    verdict: str
    detail: str


@dataclass(frozen=True, slots=True)
class AgainstView:
    """One test against the first. tone, word: what came of it. heading: of the intervals, with their confidence."""

    name: str
    tone: str
    word: str
    sentence: str
    notes: tuple[str, ...]
    heading: str
    rows: tuple[DifferenceView, ...]


@dataclass(frozen=True, slots=True)
class ComparePage:
    """Everything that the page and the console say."""

    files: tuple[FileView, ...]
    headline: Headline
    changes: tuple[ChangeView, ...]
    unchanged: int
    violations: tuple[tuple[str, tuple[str, ...]], ...]
    against: tuple[AgainstView, ...]
    charts: tuple[Chart, ...]
    differing: tuple[tuple[str, tuple[str, ...]], ...]
    not_shown: int


def unique_names(paths: Sequence[Path]) -> tuple[str, ...]:
    """A name for each results file: its folder's, with as much of the path before it as makes it unique."""
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
    """What a results file is known by: the folder that a test was given, or a file's own name."""
    return path.parent if path.name == "results.sqlite" else path.with_suffix("")


def compare_files(paths: Sequence[Path]) -> ComparePage:
    """All of the results files against the first. Raises ResultsError, and ValueError for fewer than two."""
    with ExitStack() as stack:
        files = [stack.enter_context(Results(path)) for path in paths]
        return compare_page(files, unique_names(paths))


def compare_page(files: Sequence[Results], names: Sequence[str]) -> ComparePage:
    """All of them against the first. Raises ResultsError, and ValueError for fewer than two."""
    if len(files) < 2:
        raise ValueError("it takes two results files to compare")
    checks = [{check.id: check for check in file.checks()} for file in files]
    changes = tuple(_changes(checks))
    against = tuple(
        _against(files[0], file, name, checks[0], found)
        for file, name, found in zip(files[1:], names[1:], checks[1:], strict=True)
    )
    differing = list(_differing([file.manifest for file in files]))
    return ComparePage(
        files=tuple(_file(file, name) for file, name in zip(files, names, strict=True)),
        headline=_headline(against, names[0]),
        changes=changes,
        unchanged=len({name for found in checks for name in found}) - len(changes),
        violations=tuple(_violations(files)),
        against=against,
        charts=tuple(_charts(files, names)),
        differing=tuple(differing[:DIFFERING_SHOWN]),
        not_shown=max(len(differing) - DIFFERING_SHOWN, 0),
    )


def _file(file: Results, name: str) -> FileView:
    manifest = file.manifest
    tally = Counter(check.verdict for check in file.checks())
    return FileView(
        name=name,
        started=moment_of(manifest.get("started_at")) or "not recorded",
        took=took_of(manifest) or NOTHING,
        target=target_address(manifest) or NOTHING,
        streams=count(file.ledger().scheduled),
        checks=", ".join(f"{times} {word}" for word, times in tally.items()) or NOTHING,
        file=str(file.path),
    )


def _changes(checks: Sequence[Mapping[str, CheckRecord]]) -> Iterator[ChangeView]:
    """Requirements that do not stand alike in all tests: what broke first, then what is mended."""
    order = {name: place for place, name in enumerate(CATALOGUE)}
    changed = [name for name in {name for found in checks for name in found} if not _alike(name, checks)]
    views = [
        _change(name, checks)
        for name in sorted(changed, key=lambda name: (order.get(name, len(order)), name))
    ]
    yield from sorted(views, key=lambda view: ("broke", "mended", "changed").index(view.kind))


def _alike(name: str, checks: Sequence[Mapping[str, CheckRecord]]) -> bool:
    rows = [found.get(name) for found in checks if found]  # a test without a suite says nothing of any
    first = rows[0]
    return all(
        row is not None
        and first is not None
        and row.verdict == first.verdict
        # Of a policy the finding is what matters.
        and (row.verdict != "info" or row.detail == first.detail)
        for row in rows
    )


def _change(name: str, checks: Sequence[Mapping[str, CheckRecord]]) -> ChangeView:
    rows = [found.get(name) for found in checks]
    kinds = [_kind(rows[0], row) for row, found in zip(rows[1:], checks[1:], strict=True) if found]
    known = CATALOGUE.get(name)
    level = known.level.value if known else next(row.level for row in rows if row is not None)
    told = level == Level.INFO.value
    return ChangeView(
        id=name,
        requirement=known.text if known else "not in this version's catalogue",
        level=level,
        kind="broke" if "broke" in kinds else "mended" if "mended" in kinds else "changed",
        found=tuple(
            ("", "not tested")
            if row is None
            else (row.verdict, bounded(row.detail, 300) if told or row.verdict in _BAD else "")
            for row in rows
        ),
    )


def _kind(before: CheckRecord | None, after: CheckRecord | None) -> str:
    was, is_now = (None if row is None else row.verdict for row in (before, after))
    if is_now in _BAD and was not in _BAD:
        return "broke"
    return "mended" if was in _BAD and is_now in _MET else "changed"


def _violations(files: Sequence[Results]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """How often streams under load violated what, in each test."""
    counts = [file.violation_counts() for file in files]
    for name in sorted({name for found in counts for name in found}):
        yield name, tuple(count(found.get(name, 0)) for found in counts)


def _against(
    first: Results,
    other: Results,
    name: str,
    before: Mapping[str, CheckRecord],
    after: Mapping[str, CheckRecord],
) -> AgainstView:
    report = evaluate(other, [Objective(key, 0.0) for key in _KEYS], baseline=first)
    rows = [one for one in report.comparisons if one.value is not None or one.baseline is not None]
    both = {*before, *after} if before and after else set()
    kinds = Counter(_kind(before.get(check), after.get(check)) for check in both)
    under_load = _under_load(first, other)
    verdicts: Counter[str] = Counter(row.verdict for row in rows)
    tone, word = _came_of_it(kinds + under_load, verdicts, checked=bool(both))
    return AgainstView(
        name=name,
        tone=tone,
        word=word,
        sentence=_sentence(name, kinds, under_load, verdicts),
        notes=report.notes,
        heading=f"{report.confidence * 100:.3g}% interval",
        rows=tuple(_difference(row) for row in rows),
    )


def _came_of_it(kinds: Mapping[str, int], verdicts: Mapping[str, int], *, checked: bool) -> tuple[str, str]:
    """Tone and word. checked: whether both have verdicts of a conformance suite."""
    if kinds["broke"] or verdicts["worse"]:
        return "bad", "worse"
    if kinds["mended"] or verdicts["better"]:
        return "good", "better"
    # Where nothing could be told apart, or there was nothing to, nobody knows that it is the same.
    if verdicts["inconclusive"] or not (verdicts["same"] or checked):
        return "warn", "inconclusive"
    return "good", "same"


def _under_load(first: Results, other: Results) -> Counter[str]:
    """How many MUSTs only one of two loads violated; nothing where one of them has no load."""
    if not (first.ledger().judged and other.ledger().judged):
        return Counter()
    before, after = ({name for name in file.violation_counts() if _is_must(name)} for file in (first, other))
    return Counter(broke=len(after - before), mended=len(before - after))


def _is_must(name: str) -> bool:
    known = CATALOGUE.get(name)
    return known is None or known.level is Level.MUST


def _sentence(
    name: str, kinds: Mapping[str, int], under_load: Mapping[str, int], verdicts: Mapping[str, int]
) -> str:
    checks = [f"{counted(kinds[kind], 'requirement')} {kind}" for kind in ("broke", "mended") if kinds[kind]]
    said = [
        ", ".join(checks) or ("no requirement broke or was mended" if kinds else "no conformance to compare")
    ]
    for kind, when in (("broke", "newly violated"), ("mended", "no longer violated")):
        if under_load[kind]:
            said.append(f"{counted(under_load[kind], 'requirement')} {when} under load")
    numbers = [
        f"{verdicts[word]} {word}" for word in ("worse", "better", "same", "inconclusive") if verdicts[word]
    ]
    if numbers:
        said.append(f"numbers: {', '.join(numbers)}")
    return f"{name}: {'; '.join(said)}."


def _headline(against: Sequence[AgainstView], first: str) -> Headline:
    words = [one.word for one in against]
    word = next(word for word in ("worse", "inconclusive", "better", "same") if word in words)
    tone = next(one.tone for one in against if one.word == word)
    said = {"worse": "Worse", "inconclusive": "Inconclusive", "better": "Better", "same": "No difference"}[
        word
    ]
    if len(against) > 1 and word in ("worse", "better") and words.count(word) < len(words):
        said = f"{words.count(word)} of {len(words)} {word}"
    notes = dict.fromkeys(
        f"{note[:1].upper()}{note[1:]}." for one in against for note in (*one.notes, *_doubt(one))
    )
    why = f"Against `{first}`. {' '.join(one.sentence for one in against)}"
    return Headline(tone, said, why, tuple(notes))


def _doubt(one: AgainstView) -> Iterator[str]:
    """Why nothing at all can be said of the numbers, where all of them have one reason."""
    reasons = {row.detail for row in one.rows if row.verdict == "inconclusive"}
    if len(reasons) == 1 and "" not in reasons and all(row.verdict == "inconclusive" for row in one.rows):
        yield f"no number of {one.name} can be compared: {reasons.pop()}"


def _difference(one: Comparison) -> DifferenceView:
    label, word = _KEYS[one.key]
    interval = NOTHING
    if one.low is not None and one.high is not None:
        interval = f"{change_said(one, one.low)} to {change_said(one, one.high)}"
    return DifferenceView(
        key=one.key,
        label=label,
        word=word,
        before=_value(one, one.baseline),
        after=_value(one, one.value),
        difference=change_said(one, one.difference) or NOTHING,
        interval=interval,
        verdict=one.verdict,
        detail=one.detail,
    )


def _value(one: Comparison, value: float | None) -> str:
    if value is None:
        return NOTHING
    return percent(value) if one.key in SHARES else f"{milliseconds(value)} ms"


def _charts(files: Sequence[Results], names: Sequence[str]) -> Iterator[Chart]:
    for metric in CURVES:
        histograms = [(name, file.histogram(metric)) for name, file in zip(names, files, strict=True)]
        measured = [(name, histogram) for name, histogram in histograms if histogram.count]
        if measured:
            label = METRICS[metric].label
            yield percentile_curve(
                measured, title=label, name=f"curve-{metric.replace('_', '-')}", head="test"
            )
    yield from _over_time(files, names)


def _over_time(files: Sequence[Results], names: Sequence[str]) -> Iterator[Chart]:
    """TTFT over time, each test counted from its own first second."""
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
    for word in ("p50", "p95"):
        yield percentiles_over_time(
            METRICS["ttft_ms"].label, PERCENTILES[word], series, name=f"over-time-{word}"
        )


def _from_start(file: Results, first: int, width: int) -> dict[int, Any]:
    seconds = file.histograms_by_second("ttft_ms", part="whole", width_s=width, first=first)
    return {second - first: histogram for second, histogram in seconds.items()}


def _differing(manifests: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Facts of the set-up that are not the same in all tests."""
    told = [
        {
            name: value
            for key in ("target", "versions", "machine", "settings")
            for name, value in facts_of(key, one.get(key, {}))
        }
        for one in manifests
    ]
    for name in dict.fromkeys(name for facts in told for name in facts):
        values = tuple(bounded(facts.get(name, NOTHING), 300) for facts in told)
        if len(set(values)) > 1:
            yield name, values
