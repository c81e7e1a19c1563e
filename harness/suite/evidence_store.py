"""The evidence of verdicts: gives Exchanges their ids and documents, and packs what each rule was given."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from harness.config.settings import Settings
from harness.contract.evidence.curl import curl
from harness.contract.evidence.document import masked_document, outline
from harness.contract.evidence.redaction import Redactor
from harness.contract.evidence.serialization import pack, unpack
from harness.contract.exchange import Exchange
from harness.contract.finding import Finding
from harness.contract.requirements import RULES
from harness.contract.verdicts import Verdicts
from harness.formatting import counted
from harness.results.json_text import json_pieces
from harness.results.records import CheckRecord, RuleResultRecord
from harness.results.writer import ResultsWriter
from harness.suite.time_limit import TimeLimit


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The finding of a test and its evidence. Left on the test, not raised: a traceback is slow and of no use."""

    finding: Finding
    evidence: tuple[Any, ...]


def exchanges_in(evidence: Any) -> list[Exchange]:
    """Every Exchange in a rule's evidence, at any depth, each once."""
    found: dict[int, Exchange] = {}

    def search(value: Any) -> None:
        if isinstance(value, Exchange):
            found.setdefault(id(value), value)
        elif isinstance(value, Mapping):
            search(list(value.values()))
        elif isinstance(value, list | tuple):
            for item in value:
                search(item)
        elif is_dataclass(value) and not isinstance(value, type):
            search([getattr(value, member.name) for member in fields(value)])

    search(evidence)
    return list(found.values())


_IN_MEMORY_BYTES = 40_000_000  # of all documents, compressed
_TEXT_PER_BYTE = 1.5  # of a response, in its document
_LEFT_OUT_BYTES = 50_000
_SHARE_OF_FILE = 0.8  # for documents; the rest is for verdicts and for outlines
_COMMIT_BYTES = 8_000_000


@dataclass(slots=True)
class EvidenceStore:
    """Gives each Exchange an id, and makes its document once. prefix: of the ids, different in each xdist worker.

    A document is kept as compressed JSON. Once all of them together have reached the limit (limits.results), or the
    suite its time limit, an Exchange gets only an outline.
    """

    settings: Settings
    prefix: str
    stores_documents: bool
    time_limit: TimeLimit | None = None
    # By id(exchange); the Exchange is kept so that its id() is not reused:
    _numbered: dict[int, tuple[str, Exchange]] = field(default_factory=dict)
    _altered: set[str] = field(default_factory=set)  # names of those whose response held a secret
    _text_bytes: int = 0
    _kept_bytes: int = 0
    redact: Redactor = field(init=False)

    def __post_init__(self) -> None:
        self.redact = Redactor(self.settings.secrets())

    def id_of(self, exchange: Exchange, scenario: str, documents: dict[str, Any]) -> str:
        """The id of `exchange`. The document of a new one is added to `documents`."""
        numbered = self._numbered.get(id(exchange))
        if numbered is not None:
            return numbered[0]
        name = f"{self.prefix}{len(self._numbered) + 1}"
        self._numbered[id(exchange)] = name, exchange
        if not self.stores_documents:
            return name
        masked = self.redact.exchange(exchange)
        if masked.reads is not exchange.reads:
            self._altered.add(name)
        command = curl(exchange.request, self.settings.target.base_url or "", self.settings.secrets())
        documents[name] = {
            "scenario": scenario,
            "label": masked.label,
            **self._document(masked, self.redact.text(command)),
        }
        return name

    def _document(self, masked: Exchange, command: str) -> dict[str, Any]:
        limit_mb = self.settings.limits.results
        about_bytes = _TEXT_PER_BYTE * masked.size_bytes + _LEFT_OUT_BYTES
        is_over = (
            self._text_bytes + about_bytes > limit_mb * _SHARE_OF_FILE * 1_000_000
            or self._kept_bytes > _IN_MEMORY_BYTES
        )
        is_late = self.time_limit is not None and not self.time_limit.left_to_judge_s()
        if is_over or is_late:
            limit = "the suite has reached its time limit (limits.suite)"
            if not is_late:
                limit = f"the results file may have {limit_mb} MB (limits.results)"
            packed = _packed(outline(masked, command, limit))
            packed["shortened"] = "limits.suite" if is_late else "limits.results"
        else:
            packed = _packed(masked_document(masked, command))
        self._text_bytes += packed["size"]
        self._kept_bytes += len(packed["json"])
        return packed

    def references(
        self, evaluated: Evaluated, scenario: str, documents: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """The places that a finding points at, then every other Exchange in its evidence."""
        pointed = [
            {
                "exchange": self.id_of(place.exchange, scenario, documents),
                "event": place.frame.index if place.frame is not None else None,
                "note": self.redact.sentence(place.note),
            }
            for place in evaluated.finding.places
        ]
        listed = {row["exchange"] for row in pointed}
        others = [self.id_of(exchange, scenario, documents) for exchange in exchanges_in(evaluated.evidence)]
        return pointed + [
            {"exchange": name, "event": None, "note": ""} for name in others if name not in listed
        ]

    def pack(self, evaluated: Evaluated, scenario: str, documents: dict[str, Any]) -> Any:
        """The rule's evidence for the results file, with secrets masked.

        None if there is no results file, or if the rule comes to a different result with the secrets masked: then the
        stored verdict stands, and cannot be found again from the file.
        """
        if not self.stores_documents:
            return None
        used: dict[str, Exchange] = {}

        def refer(exchange: Exchange) -> str:
            name = self.id_of(exchange, scenario, documents)
            used[name] = exchange
            return name

        packed = pack(evaluated.evidence, refer)
        masked = self.redact.value(packed)
        if masked == packed and self._altered.isdisjoint(used):
            return packed
        return masked if self._gives_same_result(evaluated.finding, masked, used) else None

    def _gives_same_result(self, finding: Finding, masked: Any, used: Mapping[str, Exchange]) -> bool:
        """Whether the rule finds in the masked evidence what it found in the bytes that were received."""
        evidence = unpack(masked, lambda name: self.redact.exchange(used[name]))
        again = RULES[finding.requirement](*evidence, expect=self.settings.expectations)
        sentence = self.redact.sentence
        return (again.verdict, sentence(again.detail)) == (finding.verdict, sentence(finding.detail))


def _packed(value: Mapping[str, Any]) -> dict[str, Any]:
    # In pieces: a document may have 60 MB, and each copy of it counts.
    compressor, packed, size = zlib.compressobj(1), bytearray(), 0
    for piece in json_pieces(value):
        size += len(piece)
        packed += compressor.compress(piece.encode("ascii"))
    packed += compressor.flush()
    return {"json": bytes(packed), "size": size}


def shortened_note(documents: Mapping[str, Any]) -> str:
    """That evidence was left out, in a sentence; empty if none was."""
    limits = [entry["shortened"] for entry in documents.values() if entry.get("shortened")]
    if not limits:
        return ""
    names = " and ".join(sorted(set(limits)))
    return f"A limit was reached ({names}): the bytes of {counted(len(limits), 'exchange')} were left out."


def store_verdicts(
    path: Path,
    verdicts: Verdicts,
    documents: Mapping[str, Any],
    *,
    interrupted: bool = False,
    notes: Sequence[str] = (),
) -> None:
    """Write verdicts and evidence into a results file.

    interrupted: the suite did not finish. notes: what limits the verdicts, in sentences.
    """
    with ResultsWriter(path) as writer:
        writer.set_manifest(suite_state="interrupted", suite_notes=list(notes))
        writer.add_checks(
            CheckRecord(
                id=check.requirement.id,
                level=str(check.requirement.level),
                verdict=str(check.verdict),
                detail=check.detail,
                duration_s=check.duration_s,
                evidence=[dict(row) for row in check.evidence],
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
        writer.commit()  # on a full disk, the verdicts are there even if their evidence is not
        pending_bytes = 0
        for name, entry in documents.items():
            text = zlib.decompress(entry["json"]).decode("ascii")
            writer.add_exchange_text(name, entry["scenario"], entry["label"], text)
            pending_bytes += entry["size"]
            if pending_bytes > _COMMIT_BYTES:
                writer.commit()
                pending_bytes = 0
        if not interrupted:
            writer.set_manifest(suite_state="finished")
