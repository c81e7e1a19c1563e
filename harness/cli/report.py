"""The verbs that read results: report, gate, judge."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from harness.ci.artifacts import Artifacts
from harness.config.settings import SettingsError, load_settings
from harness.gate.evaluate import Objective

from .artifact_options import artifact_options
from .exit_codes import HELD, MISSED
from .options import objective_option, smallest_effect_option


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="HTML file.  [default: report.html beside it]",
)
def report(results: Path, out: Path | None) -> None:
    """Make the HTML report of a results file.

    \b
    Example: harness report harness-results/latest/results.sqlite
    """
    from harness.commands.output_dir import results_file
    from harness.reports.html import write_report

    found = results_file(results)
    click.echo(f"report: {write_report(found, out or found.with_name('report.html'))}")


@click.command()
@click.argument("results", type=click.Path(path_type=Path), nargs=-1, required=True)
@objective_option
@click.option(
    "--baseline",
    type=click.Path(path_type=Path),
    help="Earlier results to compare with: a file, or a folder of a branch's.",
)
@click.option("--update-baseline", is_flag=True, help="When the gate holds, put these results there.")
@click.option("--keep", type=click.IntRange(min=1), help="Results that a folder keeps.  [default: 10]")
@smallest_effect_option
@click.option("--config", type=click.Path(path_type=Path), help="Settings file whose objectives are held.")
@artifact_options
def gate(
    results: Sequence[Path],
    objectives: Sequence[Objective],
    baseline: Path | None,
    update_baseline: bool,
    keep: int | None,
    smallest_effect: float | None,
    config: Path | None,
    artifacts: Artifacts,
) -> None:
    """Judge results by the objectives: those they were made with, or those of --config, and --objective.

    Of several RESULTS the first is judged and the others are its repeats; those that a check made of itself
    are found beside it.

    \b
    Example: harness gate harness-results/latest --baseline baselines/main --update-baseline
    """
    from harness.commands.check import gate_results
    from harness.commands.output_dir import results_file

    if update_baseline and baseline is None:
        raise SettingsError("--update-baseline needs --baseline PATH: the file or folder to put them in")
    given = {"smallest_effect": smallest_effect, "keep": keep}
    flags = {name: value for name, value in given.items() if value is not None}
    settings = load_settings(config, {"gate": flags}) if config else None
    sys.exit(
        gate_results(
            [results_file(one) for one in results],
            settings.objectives if settings else None,
            baseline,
            artifacts,
            given=objectives,
            terms=settings.gate if settings else None,
            flags=flags,
            update=update_baseline,
        )
    )


@click.command()
@click.argument("results", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--out", type=click.Path(path_type=Path), default="compare.html", show_default=True, help="HTML file."
)
def compare(results: Sequence[Path], out: Path) -> None:
    """Lay two or more RESULTS side by side: what changed in conformance, which numbers differ and how surely.

    All are compared with the first. It informs and decides nothing: `harness gate --baseline` does that.

    \b
    Example: harness compare harness-results/before harness-results/after --out compare.html
    """
    from rich.console import Console

    from harness.commands.output_dir import results_file
    from harness.reports.comparison_console import print_comparison
    from harness.reports.comparison_page import MOST_TESTS, compare_files
    from harness.reports.html import write_comparison

    if not 2 <= len(results) <= MOST_TESTS:
        raise SettingsError(f"compare takes 2 to {MOST_TESTS} results files or folders, not {len(results)}")
    page = compare_files([results_file(one) for one in results])
    written = write_comparison(page, out)  # first: who reads the table may close the pipe
    print_comparison(page, Console(highlight=False))
    click.echo(f"comparison: {written}")


@click.command("judge")
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the verdicts as JSON.")
def judge_again(results: Path, json_file: Path | None) -> None:
    """Judge the Exchanges in a results file again, offline, with today's judges.

    \b
    Example: harness judge harness-results/demo
    """
    from harness.commands.output_dir import results_file
    from harness.contract.verdicts import failing
    from harness.suite.recheck import rejudge
    from harness.suite.terminal_report import Lines, write_summary

    verdicts, changed = rejudge(results_file(results))
    write_summary(Lines(), verdicts)
    for before, now in changed:
        click.echo(f"changed: {before.test}: {before.verdict} -> {now.verdict}: {now.detail}")
        for place in now.evidence:
            click.echo(f"    at {place['exchange']}, event {place['event']}")
    if json_file is not None:
        json_file.write_text(json.dumps(verdicts.to_json({}), indent=2) + "\n", encoding="utf-8")
    sys.exit(MISSED if failing(verdicts.checks) else HELD)
