"""`harness export`: files, messages and exit codes."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from prometheus_client.parser import text_string_to_metric_families

from harness.cli import main
from harness.results.reader import Results
from tests.reports import samples


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("HARNESS_")]:
        monkeypatch.delenv(name)
    samples.full(tmp_path / "run" / "results.sqlite")
    return tmp_path


def export(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["export", *arguments])


def test_only_metrics_go_to_standard_output(folder: Path) -> None:
    result = export("run", "--format", "prometheus")
    assert result.exit_code == 0
    names = {metric.name for metric in text_string_to_metric_families(result.stdout)}
    assert {"agent_run_ttft_seconds", "agent_run_gate_outcome", "agent_run_checks"} <= names
    assert result.stderr == ""


def test_a_metrics_file_is_replaced_atomically(folder: Path) -> None:
    result = export("run/results.sqlite", "--format", "prometheus", "--out", "textfile/agent.prom")
    assert (result.exit_code, result.stdout) == (0, "")
    assert [one.name for one in (folder / "textfile").iterdir()] == ["agent.prom"]
    assert (folder / "textfile" / "agent.prom").read_text() == export("run", "--format", "prometheus").stdout


def test_otlp_is_a_line_of_json(folder: Path) -> None:
    result = export("run", "--format", "otlp-json")
    assert result.exit_code == 0
    assert list(json.loads(result.stdout)) == ["resourceMetrics"]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_every_stream_has_a_row_and_every_column_a_description(folder: Path, form: str) -> None:
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
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        count, names = table.num_rows, table.column_names
    assert count == kept
    if form != "parquet":
        message = json.loads((folder / f"runs.{form}.meta.json").read_text())
        assert [column["name"] for column in message["columns"]] == names
        assert message["rows"] == {"kept": kept, "seen": kept}


def test_only_rows_go_to_standard_output(folder: Path) -> None:
    result = export("run", "--format", "jsonl")
    assert all(json.loads(line)["journey"] for line in result.stdout.splitlines())
    assert result.stderr.startswith("jsonl: ")
    assert sorted(one.name for one in folder.iterdir()) == ["run"]


@pytest.mark.parametrize("form", ["prometheus", "otlp-json", "csv", "jsonl", "parquet"])
def test_a_different_schema_version_is_refused(folder: Path, form: str) -> None:
    db = sqlite3.connect(folder / "run" / "results.sqlite")
    db.execute("PRAGMA user_version = 99")
    db.close()
    result = export("run", "--format", form, "--out", "new")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("harness: run/results.sqlite: this results file has schema version 99 ")
    assert "run the test again, or read the file with the harness version that wrote it" in line
    assert not (folder / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone", "--format", "csv"], "no such results file"),
        (["run", "--format", "parquet"], "name a file with --out FILE"),
        (["run", "--format", "csv", "--out", "run/results.sqlite/x"], "cannot write run/results.sqlite/x: "),
        (["text", "--format", "csv"], "not a results file"),
        (["run", "--format", "xml"], "'xml' is not one of"),
        (["run"], "Missing option '--format'"),
    ],
)
def test_misuse_is_a_sentence_and_exit_code_2(folder: Path, arguments: list[str], message: str) -> None:
    (folder / "text").write_text("no database" * 100)
    result = export(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.output


def test_the_help_has_an_example(folder: Path) -> None:
    assert "Example: harness export" in export("--help").output
