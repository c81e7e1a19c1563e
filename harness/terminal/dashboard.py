"""A full-screen view of a running test. A small screen omits the less important lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from harness.formatting import BLOCKS, PLAIN_BLOCKS, bar, clock, counted, number, share, sparkline
from harness.terminal.snapshot import LiveDocument, failures, per_second, recent, value_of, violations

MINUTE_S = 60.0
_LABEL = 13
_VALUE = 9
_LIMIT_WIDTH = 16  # columns after a sparkline, for the limit
_ROWS = (
    ("TTFT p50", "ttft_ms", "p50"),
    ("TTFT p95", "ttft_ms", "p95"),
    ("TTFT p99", "ttft_ms", "p99"),
    ("ITL p95", "inter_token_ms", "p95"),
)
_BAD = {"truncated", "timed out", "refused", "dropped", "lost"}
_MAX_LISTED = 6
_INDENT = " " * (_LABEL + _VALUE + 2)


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One view of a test.

    title: the command. load: the live numbers, None before there are any. suite: the suite's progress, None without a
    suite. notes: messages printed during the test. stopping: whether the test was asked to end.
    """

    title: str
    load: LiveDocument | None
    suite: LiveDocument | None
    notes: tuple[Text, ...] = ()
    stopping: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, height = options.max_width, options.height or console.height
        lines = list(_Lines(self, width, plain=options.ascii_only).all())
        while len(lines) > height:
            lowest = min(rank for rank, _ in lines)
            del lines[max(index for index, (rank, _) in enumerate(lines) if rank == lowest)]
        for index, (_, line) in enumerate(lines):
            line.truncate(width, overflow="ellipsis")
            line.no_wrap = True
            line.end = "" if index == len(lines) - 1 else "\n"
            yield line


@dataclass(frozen=True, slots=True)
class _Lines:
    """The lines of a dashboard, each with its rank. Lines of the lowest rank are omitted first."""

    dashboard: Dashboard
    width: int
    plain: bool

    def all(self) -> Iterator[tuple[int, Text]]:
        load = self.dashboard.load
        yield 9, self._headline()
        if load is not None and load["problem"] is not None:
            yield 8, Text(load["problem"], "bold red")
        if load is None or load["started_s"] is None:
            yield 8, Text("the load is starting", "dim")
        else:
            yield from self._load(load)
        if self.dashboard.suite is not None:
            yield 0, Text()
            yield from self._conformance(self.dashboard.suite)
        if self.dashboard.notes:
            yield 0, Text()
        for note in self.dashboard.notes:
            yield from ((2, line) for line in note.copy().split())
        yield 0, Text()
        yield 1, self._foot()

    def _headline(self) -> Text:
        load = self.dashboard.load
        name = Text.assemble((self.dashboard.title, "bold"), "  ", (load["target"] if load else "", "cyan"))
        state = "stopping" if self.dashboard.stopping else load["state"] if load else "starting"
        status = Text(state, "bold yellow" if state == "stopping" else "bold green")
        if load is not None and load["started_s"] is not None:
            status.append(f"  {clock(load['elapsed_s'])}", "bold default")
            if load["left_s"] is not None:
                status.append(f"  {clock(load['left_s'])} left", "default")
        width = self.width - status.cell_len - 1
        name.truncate(max(width, 0), overflow="ellipsis", pad=True)
        return Text.assemble(name, " ", status)

    def _load(self, load: LiveDocument) -> Iterator[tuple[int, Text]]:
        yield 4, self._time(load)
        yield 0, Text()
        yield 7, self._rate(load)
        yield 5, self._ledger(load)
        yield 0, Text()
        head = f"{'ms':{_LABEL}}{'so far':>{_VALUE}}  last minute"
        yield 2, Text(head + (", warm-up: not counted" if load["warming_up"] else ""), "dim")
        highest = self._highest(load)
        for label, metric, word in _ROWS:
            yield (6 if word == "p95" else 5), self._percentile(load, label, metric, word, highest[metric])
        yield 0, Text()
        yield 6, self._failures(load)
        yield from self._violations(load)
        yield 0, Text()
        yield 3, self._harness(load)
        for sentence in load["harness"]["why"]:
            yield 6, Text(f"{_INDENT}{sentence}", "yellow")

    def _time(self, load: LiveDocument) -> Text:
        left_s, elapsed_s = load["left_s"], load["elapsed_s"]
        if left_s is None or elapsed_s + left_s <= 0:
            return Text()
        return Text(bar(elapsed_s / (elapsed_s + left_s), self.width, plain=self.plain), "cyan")

    def _rate(self, load: LiveDocument) -> Text:
        line = Text(f"{'streams/s':{_LABEL}}")
        if load["state"] == "running":
            started, ended = per_second(load, "arrivals"), per_second(load, "completions")
            line.append(f"{number(started):>{_VALUE}} started   {number(ended)} ended")
        else:
            line.append(f"{'-':>{_VALUE}}")
        line.append(f"   {load['in_flight']} in flight", "bold")
        return line.append(f"   {load['plan']}", "dim")

    def _ledger(self, load: LiveDocument) -> Text:
        ledger = load["ledger"]
        line = Text(f"{'streams':{_LABEL}}")
        counts = {word: count for word, count in ledger["counts"].items() if count}
        counts.pop("in flight", None)  # shown in the line above
        line.append(f"{counts.pop('scheduled', 0):>{_VALUE},} scheduled")
        for word, count in counts.items():
            line.append(f"   {count:,} {word}", "red" if word in _BAD else "")
        if not ledger["adds_up"]:
            line.append(f"   {ledger['missing']} MISSING", "bold red")
        return line

    def _highest(self, load: LiveDocument) -> Mapping[str, float]:
        """The top of each metric's sparklines: the same for all percentiles of a metric, so that they compare."""
        highest: dict[str, float] = {}
        for _, metric, word in _ROWS:
            values = [value for value in recent(load, metric, MINUTE_S, word) if value is not None]
            highest[metric] = max([*values, highest.get(metric, 0.0)])
        return highest

    def _percentile(self, load: LiveDocument, label: str, metric: str, word: str, highest: float) -> Text:
        value = value_of(load, metric, word)
        limit = next(
            (
                objective["limit"]
                for objective in load["objectives"]
                if (objective["metric"], objective["word"], objective["journey"]) == (metric, word, None)
            ),
            None,
        )
        over = limit is not None and value is not None and value > limit
        line = Text(f"{label:{_LABEL}}")
        line.append(f"{number(value):>{_VALUE}}", "bold red" if over else "bold")
        width = self.width - _LABEL - _VALUE - 2 - _LIMIT_WIDTH
        values = recent(load, metric, MINUTE_S, word)[-max(width, 1) :]
        line.append(f"  {sparkline(values, highest, PLAIN_BLOCKS if self.plain else BLOCKS)}", "cyan")
        if limit is not None:
            line.append(f"  limit {number(limit)}", "red" if over else "dim")
        return line

    def _failures(self, load: LiveDocument) -> Text:
        rates, count = load["rates"]["all"], failures(load)
        line = Text(f"{'failed':{_LABEL}}")
        line.append(f"{count:>{_VALUE},}", "bold red" if count else "bold green")
        line.append(f" of {rates['judged']:,} ({share(rates['error_rate'])})")
        return line.append(f"   goodput {share(rates['goodput'])}")

    def _violations(self, load: LiveDocument) -> Iterator[tuple[int, Text]]:
        counts = violations(load)
        total = sum(counts.values())
        line = Text(f"{'violations':{_LABEL}}")
        line.append(f"{total:>{_VALUE},}", "bold red" if total else "bold green")
        yield 6, line
        for index, (name, count) in enumerate(counts.items()):
            if index == _MAX_LISTED:
                more = counted(len(counts) - index, "more requirement")
                yield 3, Text(f"{_INDENT}and {more}", "red")
                return
            yield (5 if index == 0 else 3), Text(f"{'':{_LABEL}}{count:>{_VALUE},}  {name}", "red")

    def _harness(self, load: LiveDocument) -> Text:
        harness = load["harness"]
        line = Text(f"{'harness':{_LABEL}}")
        line.append(f"{number(harness['lag_ms']['p99']):>{_VALUE}} ms receive lag")
        schedule_lag_ms = harness["schedule_lag_ms"]["p99"]
        if schedule_lag_ms is not None:
            line.append(f"   {number(schedule_lag_ms)} ms schedule lag")
        line.append(" (p99)   ")
        lost = len(load["workers_lost"])
        if lost:
            line.append(f"{counted(lost, 'worker')} lost   ", "bold red")
        unchecked = harness["faults"]["streams"]
        if unchecked:
            line.append(f"HARNESS FAULT IN {counted(unchecked, 'STREAM', 'STREAMS')}   ", "bold red")
        if harness["saturated"]:
            return line.append("SATURATED", "bold yellow")
        return line.append("not saturated", "green")

    def _conformance(self, suite: LiveDocument) -> Iterator[tuple[int, Text]]:
        done, total = suite["done"], suite["total"]
        line = Text(f"{'conformance':{_LABEL}}{f'{done}/{total}':>{_VALUE}}  ")
        line.append(bar(done / total if total else 0.0, 20, plain=self.plain), "cyan")
        line.append("  tests:")
        for verdict, count in suite["verdicts"].items():
            style = {"pass": "green", "fail": "bold red", "error": "bold red", "warn": "yellow"}.get(
                verdict, ""
            )
            line.append(f"  {count} {verdict}", style)
        yield 7, line
        for index, name in enumerate(suite["failed"]):
            if index == _MAX_LISTED:
                yield 3, Text(f"{_INDENT}and {len(suite['failed']) - index} more", "red")
                return
            yield (5 if index == 0 else 3), Text(f"{_INDENT}{name}", "red")

    def _foot(self) -> Text:
        if self.dashboard.stopping:
            return Text("waiting for the last streams; results are being written", "dim")
        return Text("Ctrl-C ends the test and keeps its results", "dim")
