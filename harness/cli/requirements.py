"""``harness requirements``: the requirement catalogue."""

from __future__ import annotations

import json

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def requirements(as_json: bool) -> None:
    """Print the requirement catalogue.

    With --json it includes the reason for each requirement and how to fix a server that does not meet it.

    \b
    Example: harness requirements --json
    """
    from rich.table import Table

    from harness.contract.requirements import CATALOGUE
    from harness.terminal.safe_console import SafeConsole

    rows = [
        {
            "id": row.id,
            "level": str(row.level),
            "requirement": row.text,
            "why": row.why,
            "fix": row.fix,
            "source": row.source,
            "needs": row.needs,
        }
        for row in CATALOGUE.values()
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    table = Table("id", "level", "requirement", "source", title=f"{len(rows)} requirements")
    for row in rows:
        table.add_row(row["id"], row["level"], row["requirement"], row["source"])
    SafeConsole().print(table)
