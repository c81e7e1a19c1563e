"""Index of the recorded exchanges: the place of each on the page, and its content on demand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.reports.exchange_view import ExchangeView, SizeBudget, exchange_view
from harness.reports.trace_link import trace_url_of
from harness.results.reader import Results

LISTED = 1_000
"""Most exchanges in the page's list; more than the suite records today."""

SHOWN_FIRST = 6
"""Exchanges of each scenario that get space before any scenario gets more."""


@dataclass(frozen=True, slots=True)
class ExchangeGroup:
    """The exchanges of one scenario."""

    scenario: str
    exchanges: tuple[ExchangeView, ...]


@dataclass(frozen=True, slots=True)
class ExchangeLink:
    """A link into the list of all exchanges. anchor: empty if the exchange is not in that list."""

    label: str
    anchor: str
    note: str = ""


class ExchangeIndex:
    """Finds the exchanges of a results file by id. trace_url: the template of the address of a trace, or None."""

    def __init__(self, results: Results, budget: SizeBudget) -> None:
        self._results = results
        self._budget = budget
        self.trace_url = trace_url_of(results.manifest)
        self._labels: dict[str, str] = {}
        self._anchors: dict[str, str] = {}
        for number, row in enumerate(results.exchanges(), start=1):
            self._labels[row.id] = row.label
            if number <= LISTED:
                self._anchors[row.id] = f"exchange-{number}"

    def link(self, exchange_id: str, note: str = "") -> ExchangeLink | None:
        """A link to the exchange with that id; None if the file does not have it."""
        label = self._labels.get(exchange_id)
        return None if label is None else ExchangeLink(label, self._anchors.get(exchange_id, ""), note)

    def view(self, exchange_id: str, pointed_at: frozenset[int]) -> ExchangeView:
        """The exchange with that id, as part of a finding. pointed_at: indexes of the events it is about."""
        row = self._results.exchange(exchange_id)
        return self._budget.truncate(
            exchange_view(row.document, label=row.label, pointed_at=pointed_at, trace_url=self.trace_url)
        )

    def groups(self) -> Iterator[ExchangeGroup]:
        """The listed exchanges by scenario, each with its anchor.

        Each scenario's first SHOWN_FIRST get space before any scenario's others, so that a long scenario cannot
        use up the budget.
        """
        views: dict[str, list[ExchangeView]] = {}
        later: list[tuple[list[ExchangeView], int]] = []
        for row in self._results.exchanges():
            if row.id not in self._anchors:
                continue
            group = views.setdefault(row.scenario, [])
            view = exchange_view(
                row.document, anchor=self._anchors[row.id], label=row.label, trace_url=self.trace_url
            )
            if len(group) >= SHOWN_FIRST:
                later.append((group, len(group)))
                group.append(view)
            else:
                group.append(self._budget.truncate(view))
        for group, place in later:
            group[place] = self._budget.truncate(group[place])
        for scenario, group in views.items():
            yield ExchangeGroup(scenario, tuple(group))

    @property
    def unlisted(self) -> int:
        """How many exchanges the page does not list."""
        return len(self._labels) - len(self._anchors)
