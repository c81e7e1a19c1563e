"""Keeps what verdicts rest on: Exchanges get their ids and documents, judgements their packed evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from harness.config.settings import Settings
from harness.contract.evidence.document import document
from harness.contract.evidence.redaction import Redactor
from harness.contract.evidence.serialization import pack
from harness.contract.exchange import Exchange
from harness.contract.finding import Finding
from harness.contract.verdicts import Verdicts
from harness.results.records import CheckRecord, RuleResultRecord
from harness.results.writer import ResultsWriter


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What a test came to. It is left with the test, not raised: a traceback would say nothing, and costs."""

    finding: Finding
    evidence: tuple[Any, ...]


def exchanges_in(evidence: Any) -> list[Exchange]:
    """Every Exchange in a judge's evidence, however nested, each once."""
    found: dict[int, Exchange] = {}

    def look(value: Any) -> None:
        if isinstance(value, Exchange):
            found.setdefault(id(value), value)
        elif isinstance(value, Mapping):
            look(list(value.values()))
        elif isinstance(value, list | tuple):
            for one in value:
                look(one)
        elif is_dataclass(value) and not isinstance(value, type):
            look([getattr(value, one.name) for one in fields(value)])

    look(evidence)
    return list(found.values())


@dataclass(slots=True)
class EvidenceStore:
    """Gives Exchanges their ids, and their documents once each."""

    settings: Settings
    prefix: str
    keeps_documents: bool
    _numbers: dict[int, tuple[str, Exchange]]

    def id_of(self, exchange: Exchange, scenario: str, documents: dict[str, Any]) -> str:
        """The id of `exchange`; its document goes into `documents` when it is new."""
        known = self._numbers.get(id(exchange))
        if known is not None:
            return known[0]
        name = f"{self.prefix}{len(self._numbers) + 1}"
        self._numbers[id(exchange)] = name, exchange
        if not self.keeps_documents:
            return name
        documents[name] = {
            "scenario": scenario,
            "label": exchange.label,
            "document": document(
                exchange, base_url=self.settings.target.base_url or "", secrets=self.settings.secrets()
            ),
        }
        return name

    def references(self, judged: Evaluated, scenario: str, documents: dict[str, Any]) -> list[dict[str, Any]]:
        """Where a finding points, and after that every other Exchange that its judge saw."""
        pointed = [
            {
                "exchange": self.id_of(place.exchange, scenario, documents),
                "event": place.frame.index if place.frame is not None else None,
                "note": place.note,
            }
            for place in judged.finding.places
        ]
        known = {one["exchange"] for one in pointed}
        others = [self.id_of(exchange, scenario, documents) for exchange in exchanges_in(judged.evidence)]
        return pointed + [
            {"exchange": name, "event": None, "note": ""} for name in others if name not in known
        ]

    def pack(self, judged: Evaluated, scenario: str, documents: dict[str, Any]) -> Any:
        """The judge's evidence for the results file; None where none is kept."""
        if not self.keeps_documents:
            return None
        packed = pack(judged.evidence, lambda exchange: self.id_of(exchange, scenario, documents))
        return Redactor(self.settings.secrets()).value(packed)


def store_verdicts(
    path: Path, verdicts: Verdicts, documents: Mapping[str, Any], *, interrupted: bool = False
) -> None:
    """Write verdicts and evidence into a results file. interrupted: the suite did not come to its end."""
    with ResultsWriter(path) as writer:
        writer.set_manifest(suite_state="interrupted" if interrupted else "finished")
        for name, one in documents.items():
            writer.add_exchange(name, one["scenario"], one["label"], one["document"])
        writer.add_checks(
            CheckRecord(
                id=check.requirement.id,
                level=str(check.requirement.level),
                verdict=str(check.verdict),
                detail=check.detail,
                duration_s=check.duration_s,
                evidence=[dict(one) for one in check.evidence],
            )
            for check in verdicts.checks
        )
        writer.add_rule_results(
            RuleResultRecord(
                test=result.test,
                requirement=result.requirement,
                verdict=str(result.verdict),
                detail=result.detail,
                evidence=result.packed,
            )
            for result in verdicts.results
        )
