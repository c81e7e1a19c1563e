"""Rechecking a results file gives the same verdicts; for an edited Exchange, a different one with its location."""

from __future__ import annotations

import base64
import json
import re
import sqlite3
from pathlib import Path

import pytest

from harness.contract.finding import Verdict
from harness.results.reader import Results
from harness.results.schema import ResultsError
from harness.results.writer import ResultsWriter
from harness.suite.recheck import recheck
from tests.forked import embedded_server
from tests.integration.commands import demo_settings, harness

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results file of a whole suite on the embedded server."""
    folder = tmp_path_factory.mktemp("recheck")
    with embedded_server() as base_url:
        demo_settings(folder, base_url)
        done = harness("conformance", "--out", "out", "-q", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "out" / "results.sqlite"


def copy(results_file: Path, folder: Path) -> Path:
    path = folder / "results.sqlite"
    path.write_bytes(results_file.read_bytes())
    return path


def test_the_verdicts_are_the_same(results_file: Path) -> None:
    verdicts, changed = recheck(results_file)
    assert changed == []
    with Results(results_file) as results:
        before = {check.id: (check.verdict, check.detail) for check in results.checks()}
    assert {check.requirement.id: (str(check.verdict), check.detail) for check in verdicts.checks} == before
    assert verdicts.counts["pass"] > 80


def test_a_frame_that_is_taken_out_by_hand_is_missed_at_its_place(results_file: Path, tmp_path: Path) -> None:
    path = copy(results_file, tmp_path)
    with Results(path) as results:
        row = next(
            row for row in results.rule_results() if row.test.startswith("test_a_retry_after_completion")
        )
        name = row.evidence["tuple"][1]["exchange"]
        document = results.exchange(name).document
    read = document["recorded"]["reads"][-1]
    data = b"".join(base64.b64decode(one[2]) for one in document["recorded"]["reads"])
    head, _, body = data.partition(b"\r\n\r\n")
    frames = re.findall(rb"id: .*?\n\n", body, re.DOTALL)
    assert len(frames) > 3
    kept = b"".join(frames[:2] + frames[3:])
    edited = b"%s\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (head, len(kept), kept)
    document["recorded"]["reads"] = [[*read[:2], base64.b64encode(edited).decode()]]
    with sqlite3.connect(path) as db:
        db.execute("UPDATE exchanges SET document = ? WHERE id = ?", (json.dumps(document), name))
    db.close()
    _, changed = recheck(path)
    assert row.test in {before.test for before, _ in changed}
    found = next(now for before, now in changed if before.test == row.test)
    assert found.verdict is Verdict.FAIL
    assert "event 3 is" in found.detail
    assert "1 event lost before it" in found.detail
    assert any(place["exchange"] == name and place["event"] == 2 for place in found.evidence)
    said = harness("judge", str(path), folder=tmp_path)
    assert said.returncode == 1
    assert name in said.stdout


def test_the_command_on_untouched_results(results_file: Path, tmp_path: Path) -> None:
    done = harness("judge", str(results_file.parent), "--json", "again.json", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed" not in done.stdout
    assert json.loads((tmp_path / "again.json").read_text())["counts"]["fail"] == 0


def test_results_without_evidence_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    with ResultsWriter(path) as writer:
        writer.set_manifest(state="finished")
    with pytest.raises(ResultsError, match="does not contain the settings"):
        recheck(path)
