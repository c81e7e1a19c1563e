"""Reads the conformance verdicts of a results file and prints them with their evidence."""

from __future__ import annotations

from collections.abc import Iterator

from harness.config.settings import Settings
from harness.contract.evidence.document import EvidenceLeftOutError, restore
from harness.contract.finding import Finding, Location, Verdict
from harness.contract.requirements import CATALOGUE
from harness.contract.verdicts import Check, failing
from harness.results.reader import Results
from harness.suite.terminal_report import Terminal, explain, write_summary


def stored_checks(results: Results) -> list[Check]:
    """The verdicts, in the catalogue's order. Requirements that this version does not know are omitted."""
    records = {record.id: record for record in results.checks()}
    return [
        Check(
            row,
            Verdict(record.verdict),
            record.detail,
            record.duration_s or 0.0,
            tuple(record.evidence),
            record.tested,
        )
        for row in CATALOGUE.values()
        if (record := records.get(row.id)) is not None
    ]


def write_stored_verdicts(terminal: Terminal, results: Results, settings: Settings) -> bool:
    """Write every failure with its evidence, then the table of verdicts. Returns False if no check ran.

    settings: their base URL and secrets are used in the curl commands.
    """
    checks = stored_checks(results)
    if not any(check.tested for check in checks):
        return False
    for check in failing(checks):
        terminal.write_sep("_", check.requirement.id)
        finding = Finding(
            check.requirement.id, check.verdict, check.detail, tuple(_locations(results, check))
        )
        for line in explain(finding, check.requirement, settings).splitlines():
            terminal.write_line(line)
    write_summary(terminal, checks, results.tests, results.manifest.get("suite_notes") or [])
    return True


def _locations(results: Results, check: Check) -> Iterator[Location]:
    for place in check.evidence:
        if place["exchange"] is not None:
            try:
                exchange = restore(results.exchange(place["exchange"]).document)
            except EvidenceLeftOutError:
                continue
            frames = {frame.index: frame for frame in exchange.frames}
            yield Location(exchange, frames.get(place["event"]), place["note"])
