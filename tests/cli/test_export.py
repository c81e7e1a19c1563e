"""`harness export`, as far as its files, its words and its exit codes."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from prometheus_client.parser import text_string_to_metric_families

from harness.cli import main
from harness.results.reader import Results
from tests.reports import samples
from tests.results.files import of_version_1


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("HARNESS_")]:
        monkeypatch.delenv(name)
    samples.full(tmp_path / "run" / "results.sqlite")
    return tmp_path


def export(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["export", *arguments])


def test_metrics_go_to_standard_output_and_nothing_else_does(folder: Path) -> None:
    result = export("run", "--format", "prometheus")
    assert result.exit_code == 0
    names = {metric.name for metric in text_string_to_metric_families(result.stdout)}
    assert {"agent_run_ttft_seconds", "agent_run_gate_outcome", "agent_run_checks"} <= names
    assert result.stderr == ""


def test_metrics_are_written_to_a_file_that_others_read_meanwhile(folder: Path) -> None:
    result = export("run/results.sqlite", "--format", "prometheus", "--out", "textfile/agent.prom")
    assert (result.exit_code, result.stdout) == (0, "")
    assert [one.name for one in (folder / "textfile").iterdir()] == ["agent.prom"]
    assert (folder / "textfile" / "agent.prom").read_text() == export("run", "--format", "prometheus").stdout


def test_otlp_is_a_line_of_json(folder: Path) -> None:
    result = export("run", "--format", "otlp-json")
    assert result.exit_code == 0
    assert list(json.loads(result.stdout)) == ["resourceMetrics"]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_rows_are_all_there_and_explained(folder: Path, form: str) -> None:
    result = export("run", "--format", form, "--out", f"runs.{form}")
    assert (result.exit_code, result.stdout) == (0, "")
    with Results(folder / "run" / "results.sqlite") as results:
        kept, _ = results.sample()
    assert result.stderr == f"runs.{form}: {kept} streams\n"
    path = folder / f"runs.{form}"
    if form == "csv":
        with path.open(newline="") as file:
            count, names = sum(1 for _ in csv.DictReader(file)), path.read_text().splitlines()[0].split(",")
    elif form == "jsonl":
        lines = path.read_text().splitlines()
        count, names = len(lines), list(json.loads(lines[0]))
    else:
        table = pq.read_table(path)
        count, names = table.num_rows, table.column_names
    assert count == kept
    if form != "parquet":
        said = json.loads((folder / f"runs.{form}.meta.json").read_text())
        assert [column["name"] for column in said["columns"]] == names
        assert said["rows"] == {"kept": kept, "seen": kept}


def test_rows_go_to_standard_output_and_words_about_them_do_not(folder: Path) -> None:
    result = export("run", "--format", "jsonl")
    assert all(json.loads(line)["journey"] for line in result.stdout.splitlines())
    assert result.stderr.startswith("jsonl: ")
    assert sorted(one.name for one in folder.iterdir()) == ["run"]


def test_a_file_of_the_first_schema_is_exported(folder: Path) -> None:
    of_version_1(folder / "old.sqlite")
    before = (folder / "old.sqlite").read_bytes()
    for form in ("prometheus", "otlp-json", "csv", "jsonl"):
        result = export("old.sqlite", "--format", form)
        assert result.exit_code == 0, result.output
        assert result.stdout
    text = export("old.sqlite", "--format", "prometheus").stdout
    assert 'agent_run_streams_scheduled_total{journey="fresh"} 2.0' in text
    assert 'schema="1"' in text
    assert "agent_run_streams_good_total" not in text  # nobody counted it then
    assert (folder / "old.sqlite").read_bytes() == before


@pytest.mark.parametrize("form", ["prometheus", "otlp-json", "csv", "jsonl", "parquet"])
def test_a_newer_file_is_refused_by_name_of_both_versions(folder: Path, form: str) -> None:
    db = sqlite3.connect(folder / "run" / "results.sqlite")
    db.execute("PRAGMA user_version = 99")
    db.close()
    result = export("run", "--format", form, "--out", "new")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("harness: run/results.sqlite: this results file has schema version 99, ")
    assert "up to version 2; use a newer harness" in line
    assert not (folder / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gone", "--format", "csv"], "there is no such results file"),
        (["run", "--format", "parquet"], "say where it goes with --out FILE"),
        (["run", "--format", "csv", "--out", "run/results.sqlite/x"], "cannot write run/results.sqlite/x: "),
        (["text", "--format", "csv"], "this is no results file"),
        (["run", "--format", "xml"], "'xml' is not one of"),
        (["run"], "Missing option '--format'"),
    ],
)
def test_misuse_is_a_sentence_and_exit_code_2(folder: Path, arguments: list[str], said: str) -> None:
    (folder / "text").write_text("no database" * 100)
    result = export(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.output


def test_the_help_has_an_example(folder: Path) -> None:
    assert "Example: harness export" in export("--help").output
