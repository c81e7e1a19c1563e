"""A test on its way on a whole screen. What fits is shown; on a small screen the less important lines go first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from harness.formatting import BLOCKS, PLAIN_BLOCKS, bar, clock, number, share, sparkline
from harness.terminal.snapshot import LiveDocument, failures, per_second, recent, value_of, violations

MINUTE_S = 60.0
_LABEL = 13
_VALUE = 9
_TAIL = 16  # room beside a sparkline for its limit
_ROWS = (
    ("TTFT p50", "ttft_ms", "p50"),
    ("TTFT p95", "ttft_ms", "p95"),
    ("TTFT p99", "ttft_ms", "p99"),
    ("ITL p95", "inter_token_ms", "p95"),
)
_BAD = {"truncated", "timed out", "refused", "dropped", "lost"}
_MOST_LISTED = 6
_UNDER = " " * (_LABEL + _VALUE + 2)


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One picture of a test. title: the command. load, suite: as in plain_line; suite is None where there is none.

    notes: what has been said meanwhile. stopping: whether somebody asked the test to end.
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
            least = min(rank for rank, _ in lines)
            at = max(place for place, (rank, _) in enumerate(lines) if rank == least)
            del lines[at]
        for place, (_, line) in enumerate(lines):
            line.truncate(width, overflow="ellipsis")
            line.no_wrap = True
            line.end = "" if place == len(lines) - 1 else "\n"
            yield line


@dataclass(frozen=True, slots=True)
class _Lines:
    """The lines of a view, each with its rank: those of the lowest are left out first."""

    view: Dashboard
    width: int
    plain: bool

    def all(self) -> Iterator[tuple[int, Text]]:
        load = self.view.load
        yield 9, self._headline()
        if load is not None and load["problem"] is not None:
            yield 8, Text(load["problem"], "bold red")
        if load is None or load["started_s"] is None:
            yield 8, Text("the load is starting", "dim")
        else:
            yield from self._load(load)
        if self.view.suite is not None:
            yield 0, Text()
            yield from self._conformance(self.view.suite)
        if self.view.notes:
            yield 0, Text()
        for note in self.view.notes:
            yield from ((2, line) for line in note.copy().split())
        yield 0, Text()
        yield 1, self._foot()

    def _headline(self) -> Text:
        load = self.view.load
        left = Text.assemble((self.view.title, "bold"), "  ", (load["target"] if load else "", "cyan"))
        state = "stopping" if self.view.stopping else load["state"] if load else "starting"
        right = Text(state, "bold yellow" if state == "stopping" else "bold green")
        if load is not None and load["started_s"] is not None:
            right.append(f"  {clock(load['elapsed_s'])}", "bold default")
            if load["left_s"] is not None:
                right.append(f"  {clock(load['left_s'])} left", "default")
        room = self.width - right.cell_len - 1
        left.truncate(max(room, 0), overflow="ellipsis", pad=True)
        return Text.assemble(left, " ", right)

    def _load(self, load: LiveDocument) -> Iterator[tuple[int, Text]]:
        yield 4, self._time(load)
        yield 0, Text()
        yield 7, self._rate(load)
        yield 5, self._ledger(load)
        yield 0, Text()
        head = f"{'ms':{_LABEL}}{'so far':>{_VALUE}}  last minute"
        yield 2, Text(head + (", warming up: not counted yet" if load["warming_up"] else ""), "dim")
        highest = self._highest(load)
        for label, metric, word in _ROWS:
            yield (6 if word == "p95" else 5), self._percentile(load, label, metric, word, highest[metric])
        yield 0, Text()
        yield 6, self._failures(load)
        yield from self._violations(load)
        yield 0, Text()
        yield 3, self._harness(load)
        for sentence in load["harness"]["why"]:
            yield 6, Text(f"{_UNDER}{sentence}", "yellow")

    def _time(self, load: LiveDocument) -> Text:
        left_s, elapsed_s = load["left_s"], load["elapsed_s"]
        if left_s is None or elapsed_s + left_s <= 0:
            return Text()
        return Text(bar(elapsed_s / (elapsed_s + left_s), self.width, plain=self.plain), "cyan")

    def _rate(self, load: LiveDocument) -> Text:
        line = Text(f"{'streams/s':{_LABEL}}")
        if load["state"] == "running":
            begun, ended = per_second(load, "arrivals"), per_second(load, "completions")
            line.append(f"{number(begun):>{_VALUE}} begun   {number(ended)} ended")
        else:
            line.append(f"{'-':>{_VALUE}}")
        line.append(f"   {load['in_flight']} in flight", "bold")
        return line.append(f"   {load['plan']}", "dim")

    def _ledger(self, load: LiveDocument) -> Text:
        ledger = load["ledger"]
        line = Text(f"{'streams':{_LABEL}}")
        counts = {word: count for word, count in ledger["counts"].items() if count}
        counts.pop("in flight", None)  # stands above
        line.append(f"{counts.pop('scheduled', 0):>{_VALUE},} scheduled")
        for word, count in counts.items():
            line.append(f"   {count:,} {word}", "red" if word in _BAD else "")
        if not ledger["adds_up"]:
            line.append(f"   {ledger['missing']} MISSING", "bold red")
        return line

    def _highest(self, load: LiveDocument) -> Mapping[str, float]:
        """The top of each metric's sparklines: one for all its percentiles, so that they compare."""
        found: dict[str, float] = {}
        for _, metric, word in _ROWS:
            known = [value for value in recent(load, metric, MINUTE_S, word) if value is not None]
            found[metric] = max([*known, found.get(metric, 0.0)])
        return found

    def _percentile(self, load: LiveDocument, label: str, metric: str, word: str, highest: float) -> Text:
        value = value_of(load, metric, word)
        limit = next(
            (
                one["limit"]
                for one in load["objectives"]
                if (one["metric"], one["word"], one["journey"]) == (metric, word, None)
            ),
            None,
        )
        over = limit is not None and value is not None and value > limit
        line = Text(f"{label:{_LABEL}}")
        line.append(f"{number(value):>{_VALUE}}", "bold red" if over else "bold")
        room = self.width - _LABEL - _VALUE - 2 - _TAIL
        values = recent(load, metric, MINUTE_S, word)[-max(room, 1) :]
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
        found = violations(load)
        total = sum(found.values())
        line = Text(f"{'violations':{_LABEL}}")
        line.append(f"{total:>{_VALUE},}", "bold red" if total else "bold green")
        yield 6, line
        for place, (name, count) in enumerate(found.items()):
            if place == _MOST_LISTED:
                yield (
                    3,
                    Text(f"{_UNDER}and {len(found) - place} requirements more", "red"),
                )
                return
            yield (5 if place == 0 else 3), Text(f"{'':{_LABEL}}{count:>{_VALUE},}  {name}", "red")

    def _harness(self, load: LiveDocument) -> Text:
        harness = load["harness"]
        line = Text(f"{'harness':{_LABEL}}")
        line.append(f"{number(harness['lag_ms']['p99']):>{_VALUE}} ms read late")
        late = harness["schedule_lag_ms"]["p99"]
        if late is not None:
            line.append(f"   {number(late)} ms began late")
        line.append(" (p99)   ")
        lost = len(load["workers_lost"])
        if lost:
            line.append(f"{lost} workers lost   ", "bold red")
        unjudged = harness["faults"]["streams"]
        if unjudged:
            line.append(f"BROKE ON {unjudged}   ", "bold red")
        if harness["saturated"]:
            return line.append("SATURATED", "bold yellow")
        return line.append("not saturated", "green")

    def _conformance(self, suite: LiveDocument) -> Iterator[tuple[int, Text]]:
        done, total = suite["done"], suite["total"]
        line = Text(f"{'conformance':{_LABEL}}{f'{done}/{total}':>{_VALUE}}  ")
        line.append(bar(done / total if total else 0.0, 20, plain=self.plain), "cyan")
        for verdict, count in suite["verdicts"].items():
            style = {"pass": "green", "fail": "bold red", "error": "bold red", "warn": "yellow"}.get(
                verdict, ""
            )
            line.append(f"  {count} {verdict}", style)
        yield 7, line
        for place, name in enumerate(suite["failed"]):
            if place == _MOST_LISTED:
                yield 3, Text(f"{_UNDER}and {len(suite['failed']) - place} more", "red")
                return
            yield (5 if place == 0 else 3), Text(f"{_UNDER}{name}", "red")

    def _foot(self) -> Text:
        if self.view.stopping:
            return Text("the last streams end, and what there is is written", "dim")
        return Text("Ctrl-C ends the test and keeps what it has measured", "dim")
