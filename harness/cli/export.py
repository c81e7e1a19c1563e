"""The verb that hands results to other programs: export."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from harness.errors import SettingsError
from harness.results.reader import Results


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["prometheus", "otlp-json", "csv", "jsonl", "parquet"]),
    required=True,
    help="Metrics for a dashboard (prometheus, otlp-json), or a row for each stream (csv, jsonl, parquet).",
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File.  [default: stdout]")
def export(results: Path, form: str, out: Path | None) -> None:
    """Write results for other programs: dashboards, spreadsheets, data frames.

    With --out the file appears whole, and beside rows in CSV or JSON Lines one that explains the columns,
    FILE.meta.json. What the numbers are: docs/metrics.md; the columns: docs/results-schema.md.

    \b
    Example: harness export harness-results/demo --format prometheus --out /var/lib/node_exporter/agent.prom
    """
    from harness.commands.output_dir import results_file

    if form == "parquet" and out is None:
        raise SettingsError("Parquet is no text; say where it goes with --out FILE")
    with Results(results_file(results)) as opened:
        if form in ("prometheus", "otlp-json"):
            _export_metrics(opened, form, out)
        else:
            _export_rows(opened, form, out)


def _export_metrics(results: Results, form: str, out: Path | None) -> None:
    from harness.atomic_file import whole_file
    from harness.export.otel import otlp_json
    from harness.export.prometheus import prometheus_text

    text = (prometheus_text if form == "prometheus" else otlp_json)(results)
    if out is None:
        sys.stdout.buffer.write(text)
        return
    with whole_file(out) as file:
        file.write(text)


def _export_rows(results: Results, form: str, out: Path | None) -> None:
    from harness.atomic_file import whole_file
    from harness.export.stream_table import WRITERS, StreamTable

    table = StreamTable(results)
    if out is None:
        WRITERS[form](table, sys.stdout.buffer)
    else:
        with whole_file(out) as file:
            WRITERS[form](table, file)
        if form != "parquet":  # which holds the same in itself
            with whole_file(out.with_name(f"{out.name}.meta.json")) as file:
                file.write(json.dumps(table.metadata(), indent=2).encode() + b"\n")
    click.echo(f"{out or form}: {table.describe()}", err=True)
