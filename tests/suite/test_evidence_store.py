"""What the suite stores of a response with the token: nothing of it, and evidence that gives the same verdict."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
import tracemalloc
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.config.settings import LimitSettings, Settings
from harness.contract.evidence.document import EvidenceLeftOutError, restore
from harness.contract.evidence.serialization import unpack
from harness.contract.exchange import Exchange
from harness.contract.finding import Finding, Location, Verdict
from harness.contract.requirements import CATALOGUE, RULES
from harness.contract.rules import security
from harness.contract.verdicts import Verdicts
from harness.results.pending_rows import PendingRows
from harness.results.reader import Results
from harness.results.schema import ResultsError
from harness.suite.evidence_store import Evaluated, EvidenceStore, shortened_note, store_verdicts
from harness.suite.time_limit import TimeLimit
from tests.contract.exchanges import STREAM, asking, done, frame, head, run, scripted, token, whole_run

TOKEN = "canary-7f3a9c2e"
SETTINGS = Settings.model_validate({"target": {"base_url": "http://127.0.0.1:9", "token": TOKEN}})


def stored(rule: Any, *evidence: Any) -> tuple[Evaluated, Any, dict[str, Any]]:
    """The finding, the packed evidence and the documents of a rule applied to this evidence."""
    expect = SETTINGS.expectations
    evaluated = Evaluated(rule(*evidence, expect=expect), evidence)
    documents: dict[str, Any] = {}
    packed = EvidenceStore(SETTINGS, "exchange-", stores_documents=True).pack(
        evaluated, "a scenario", documents
    )
    return evaluated, packed, {name: document(entry) for name, entry in documents.items()}


def document(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The document of an exchange, which the store keeps as compressed JSON."""
    stored: dict[str, Any] = json.loads(zlib.decompress(entry["json"]).decode("utf-8", "surrogatepass"))
    return stored


def judged_again(evaluated: Evaluated, packed: Any, documents: dict[str, Any]) -> tuple[str, str]:
    def find(name: str) -> Exchange:
        return restore(json.loads(json.dumps(documents[name])))

    finding = RULES[evaluated.finding.requirement](*unpack(packed, find), expect=SETTINGS.expectations)
    return finding.verdict, finding.detail


@pytest.mark.parametrize("text", [TOKEN, TOKEN.upper(), "nothing", "*" * len(TOKEN)])
def test_the_token_is_found_again_in_what_is_stored(text: str) -> None:
    one = run(token(0, text), done(1))
    evaluated, packed, documents = stored(security.no_secrets, [one], [TOKEN, "garbage-token"])
    assert TOKEN not in json.dumps([packed, documents]).lower().replace("\\", "")
    assert evaluated.finding.verdict == ("fail" if text == TOKEN else "pass")
    if packed is not None:
        assert judged_again(evaluated, packed, documents) == (
            evaluated.finding.verdict,
            evaluated.finding.detail,
        )
    # A server that masks it as we do cannot be judged again: its asterisks are those of the token.
    assert (packed is None) == (text == "*" * len(TOKEN))


def test_what_masking_hides_keeps_its_verdict_without_evidence() -> None:
    body = frame({"type": "token", "content": TOKEN}, "1-0") + done(2)
    body = gzip.compress(body)
    one = scripted(
        (0, head(200, {**STREAM, "Content-Encoding": "gzip", "Content-Length": str(len(body))})), (1, body)
    )
    evaluated, packed, documents = stored(RULES["framing.one-json-object"], one)
    assert evaluated.finding.verdict == "pass"
    assert packed is None
    assert documents["exchange-1"]["events"] == []


def test_a_response_without_the_token_is_stored_as_it_came() -> None:
    one = run(token(0, "hello"), done(1))
    evaluated, packed, documents = stored(RULES["framing.one-json-object"], one)
    assert judged_again(evaluated, packed, documents) == (evaluated.finding.verdict, evaluated.finding.detail)
    assert restore(documents["exchange-1"]).reads == one.reads


def kept(store: EvidenceStore, *exchanges: Exchange) -> dict[str, Any]:
    documents: dict[str, Any] = {}
    for exchange in exchanges:
        store.id_of(exchange, "a scenario", documents)
    return documents


def test_what_a_results_file_may_not_hold_is_left_out_and_noted() -> None:
    settings = SETTINGS.model_copy(update={"limits": LimitSettings(results=1)})
    large = run(token(0, "x" * 600_000), done(1))
    documents = kept(
        EvidenceStore(settings, "exchange-", stores_documents=True), whole_run(), large, whole_run()
    )
    first, second, third = map(document, documents.values())
    assert "recorded" in first
    assert "recorded" in third
    assert "the results file may have 1 MB (limits.results)" in second["left_out"]
    assert len(json.dumps(second)) < 5000
    with pytest.raises(EvidenceLeftOutError, match=r"limits\.results"):
        restore(second)
    assert shortened_note(documents) == (
        "A limit was reached (limits.results): the bytes of 1 exchange were left out."
    )
    assert (
        shortened_note(kept(EvidenceStore(SETTINGS, "exchange-", stores_documents=True), whole_run())) == ""
    )


def test_after_the_time_limit_only_outlines_are_kept() -> None:
    late = TimeLimit(0.0, lambda: 0.0)
    documents = kept(
        EvidenceStore(SETTINGS, "exchange-", stores_documents=True, time_limit=late), whole_run()
    )
    (only,) = map(document, documents.values())
    assert "the suite has reached its time limit (limits.suite)" in only["left_out"]
    assert shortened_note(documents) == (
        "A limit was reached (limits.suite): the bytes of 1 exchange were left out."
    )


def test_what_is_kept_in_memory_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.suite.evidence_store._IN_MEMORY_BYTES", 10_000)
    noise = [run(token(0, os.urandom(4000).hex()), done(1)) for _ in range(10)]
    documents = kept(EvidenceStore(SETTINGS, "exchange-", stores_documents=True), *noise)
    shortened = ["shortened" in entry for entry in documents.values()]
    assert shortened == sorted(shortened)
    assert 1 <= shortened.count(False) <= 3


def test_verdicts_are_there_even_if_the_disk_has_no_room_for_their_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = PendingRows.write

    def write_until_full(rows: PendingRows, database: sqlite3.Connection) -> None:
        write(rows, database)
        if rows.exchanges:
            raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(PendingRows, "write", write_until_full)
    path = tmp_path / "results.sqlite"
    one = {"scenario": "s", "label": "l", "size": 1, "json": zlib.compress(b"{}")}
    with pytest.raises(ResultsError, match="disk is full"):
        store_verdicts(path, Verdicts(), {"one": one})
    with Results(path) as results:
        assert len(results.checks()) == len(CATALOGUE)


def test_the_note_of_a_place_and_the_command_of_a_request_have_no_token() -> None:
    exchange = run(token(0), request=asking(X_Copy=TOKEN))
    finding = Finding("ids.unique", Verdict.FAIL, "so", (Location(exchange, note=f"as {TOKEN}"),))
    documents: dict[str, Any] = {}
    (row,) = EvidenceStore(SETTINGS, "exchange-", stores_documents=True).references(
        Evaluated(finding, ()), "a scenario", documents
    )
    assert row["note"].startswith("as ")
    assert TOKEN not in row["note"]
    (stored_document,) = map(document, documents.values())
    assert "curl" in stored_document
    assert TOKEN not in json.dumps(stored_document)


def test_the_document_of_a_large_response_takes_few_copies_of_it() -> None:
    one = scripted((0, head(200, STREAM)), *((at, os.urandom(2**16)) for at in range(1, 161)))
    store = EvidenceStore(SETTINGS, "exchange-", stores_documents=True)
    tracemalloc.start()
    try:
        store.id_of(one, "a scenario", {})
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert one.size_bytes > 10_000_000
    assert peak_bytes < 8 * one.size_bytes
