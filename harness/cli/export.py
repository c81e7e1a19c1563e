"""``harness export``: results in the formats of other programs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.errors import SettingsError
from harness.formatting import shown_path

if TYPE_CHECKING:
    from harness.results.reader import Results

_METRIC_FORMATS = ("prometheus", "otlp-json")
_STREAM_FORMATS = ("csv", "jsonl", "parquet")


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "format_name",
    type=click.Choice([*_METRIC_FORMATS, *_STREAM_FORMATS]),
    required=True,
    help="Metrics (prometheus, otlp-json), or one row per stream (csv, jsonl, parquet).",
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File.  [default: stdout]")
def export(results: Path, format_name: str, out: Path | None) -> None:
    """Convert RESULTS for other programs.

    With --out the file is replaced atomically. CSV and JSON Lines get a second file, FILE.meta.json, that
    describes the columns. docs/metrics.md defines the metrics, docs/results-schema.md the columns.

    \b
    Example: harness export harness-results/demo --format prometheus --out /var/lib/node_exporter/agent.prom
    """
    from harness.commands.output_dir import results_file
    from harness.results.reader import Results

    if format_name == "parquet" and out is None:
        raise SettingsError("Parquet is a binary format; name a file with --out FILE")
    with Results(results_file(results)) as opened, opened.snapshot():
        if format_name in _METRIC_FORMATS:
            _export_metrics(opened, format_name, out)
        else:
            _export_streams(opened, format_name, out)


def _export_metrics(results: Results, format_name: str, out: Path | None) -> None:
    from harness.atomic_file import atomic_write
    from harness.export.otel import otlp_json
    from harness.export.prometheus import prometheus_text

    text = (prometheus_text if format_name == "prometheus" else otlp_json)(results)
    if out is None:
        sys.stdout.buffer.write(text)
        return
    with atomic_write(out) as file:
        file.write(text)


def _export_streams(results: Results, format_name: str, out: Path | None) -> None:
    from harness.atomic_file import atomic_write
    from harness.export.stream_table import WRITERS, StreamTable

    table = StreamTable(results)
    if out is None:
        WRITERS[format_name](table, sys.stdout.buffer)
    else:
        with atomic_write(out) as file:
            WRITERS[format_name](table, file)
        if format_name != "parquet":  # Parquet stores the column descriptions in the file itself
            with atomic_write(out.with_name(f"{out.name}.meta.json")) as file:
                file.write(json.dumps(table.metadata(), indent=2).encode() + b"\n")
    click.echo(f"{shown_path(out) if out else format_name}: {table.describe()}", err=True)
