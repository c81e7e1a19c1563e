"""A disk that becomes full, or a folder that goes, while a test runs: one sentence, exit code 2, what was stored."""

from __future__ import annotations

import json
import shutil
import zlib
from collections import Counter
from pathlib import Path

import pytest

from harness.commands import output_dir
from harness.config.sources import settings_alone
from harness.contract.verdicts import Verdicts
from harness.errors import FileWriteError
from harness.load.stats.recorder import ResultsRecorder
from harness.load.stats.stats_batch import StatsBatch
from harness.reference.settings import demo_config
from harness.results.reader import Results
from harness.results.schema import ResultsError
from harness.results.writer import ResultsWriter
from harness.suite.evidence_store import store_verdicts
from tests.disk import limited_file_size
from tests.forked import embedded_server
from tests.integration.commands import demo_settings, harness
from tests.results.files import RUN

LIMIT_BYTES = 300 * 1024
LARGE = {"label": "x" * LIMIT_BYTES}


def batch(second: int) -> StatsBatch:
    return StatsBatch(
        ledger=Counter({(second, "fresh", "scheduled"): 1, (second, "fresh", "done"): 1}), open={}
    )


def test_a_load_keeps_what_was_written_before(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    recorder = ResultsRecorder(path, {}, lambda: None)
    recorder.add(batch(1), "w")
    recorder.flush()
    with limited_file_size(LIMIT_BYTES):
        for second in range(2, 4):
            recorder.add(StatsBatch(rows=[RUN] * 5_000), "w")
            recorder.add(batch(second), "w")
            recorder.flush()
        recorder.close("finished", [])
    assert recorder.problem is not None
    assert "cannot write the results file: " in recorder.problem
    with Results(path) as results:
        assert results.ledger().scheduled == 1
        assert results.manifest["load_state"] == "running"


def test_a_folder_that_goes_during_a_load_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "out" / "results.sqlite"
    recorder = ResultsRecorder(path, {}, lambda: None)
    shutil.rmtree(path.parent)
    recorder.add(batch(1), "w")
    recorder.flush()
    assert recorder.problem == f"{path}: the results file was removed or replaced during the test"
    recorder.close("finished", [])
    assert not path.parent.exists()
    with pytest.raises(ResultsError, match="the results file was removed during the test"):
        output_dir.finish(path, interrupted=False)


def test_a_results_file_that_another_took_the_place_of_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    writer = ResultsWriter(path)
    path.unlink()
    ResultsWriter(tmp_path / "other.sqlite").close()
    (tmp_path / "other.sqlite").rename(path)
    writer.set_manifest(state="finished")
    with pytest.raises(ResultsError, match="removed or replaced"):
        writer.close()
    with Results(path) as results:
        assert results.manifest == {}


def test_verdicts_are_stored_even_if_their_evidence_is_not(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    ResultsWriter(path).close()
    verdicts = Verdicts(untested="x")
    packed = json.dumps(LARGE).encode()
    documents = {
        "exchange-1": {"scenario": "s", "label": "l", "json": zlib.compress(packed), "size": len(packed)}
    }
    with limited_file_size(LIMIT_BYTES), pytest.raises(ResultsError, match="cannot write the results file"):
        store_verdicts(path, verdicts, documents)
    with Results(path) as results:
        assert len(results.checks()) == len(verdicts.checks) > 50
        assert results.manifest["suite_state"] == "interrupted"


def test_the_report_of_a_full_disk_says_how_to_read_the_results(tmp_path: Path) -> None:
    settings = settings_alone(demo_config("http://127.0.0.1:1"), "demo")
    path = output_dir.begin(tmp_path / "out", settings)
    with limited_file_size(8192), pytest.raises((FileWriteError, ResultsError)) as caught:
        output_dir.finish(path, interrupted=False)
    assert str(caught.value).endswith(f"; harness report {path} --out FILE shows what was stored before")
    with Results(path) as results:
        assert results.manifest["state"] == "running"


def test_a_log_in_a_folder_that_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "steps").symlink_to(tmp_path)
    with pytest.raises(Exception, match="steps: it is a link; remove it"):
        output_dir.subfolder(tmp_path, "steps", "01-5")


@pytest.mark.slow
def test_a_load_on_a_disk_that_becomes_full(tmp_path: Path) -> None:
    with embedded_server() as base_url:
        demo_settings(tmp_path, base_url)
        command = ("load", "--users", "30", "--duration", "5s", "--journey", "replay=1", "--out", "out")
        with limited_file_size(LIMIT_BYTES):
            done = harness(*command, folder=tmp_path)
    output = done.stdout + done.stderr
    assert done.returncode == 2, output
    assert "Traceback" not in output
    sentences = [
        line for line in output.splitlines() if line.startswith("harness: ") and "out/results.sqlite" in line
    ]
    assert len(sentences) == 1, output
    assert "cannot write" in sentences[0]
    assert "shows what was stored before" in sentences[0]
    with Results(tmp_path / "out" / "results.sqlite") as results:
        assert results.ledger().scheduled > 0
