"""The verb that prints what is checked."""

from __future__ import annotations

import json

import click
from rich.console import Console
from rich.table import Table

from harness.contract.requirements import CATALOGUE
from harness.contract.rules import RULES


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def requirements(as_json: bool) -> None:
    """Print the requirement catalogue: what is checked, at which level, and why.

    \b
    Example: harness requirements --json
    """
    rows = [
        {
            "id": row.id,
            "level": str(row.level),
            "requirement": row.text,
            "why": row.why,
            "source": row.source,
            "needs": row.needs,
            "status": "implemented" if row.id in RULES else "not implemented",
        }
        for row in CATALOGUE.values()
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    table = Table("id", "level", "requirement", "source", "status", title=f"{len(rows)} requirements")
    for row in rows:
        table.add_row(row["id"], row["level"], row["requirement"], row["source"], row["status"])
    Console().print(table)
