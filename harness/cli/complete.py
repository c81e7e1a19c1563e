"""Shell completion of option values. What knows the values is imported when the shell asks for them."""

from __future__ import annotations

from collections.abc import Iterable

import click
from click.shell_completion import CompletionItem


def faults(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The faults of the embedded server, each with its description."""
    from harness.reference.faults import FAULTS, RARE_FAULTS

    known = sorted((FAULTS | RARE_FAULTS).items())
    return _matching(
        ((name, (fault.__doc__ or "").strip().partition("\n")[0]) for name, fault in known), incomplete
    )


def journeys(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The journeys, with a weight of 1."""
    from harness.config.load_settings import JourneyWeights

    return _matching(((f"{name}=1", "") for name in JourneyWeights.model_fields), incomplete)


def profiles(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names of the profiles."""
    from harness.profiles.library import names

    return _matching(((name, "") for name in names()), incomplete)


def served_profiles(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The profiles of the embedded server."""
    from harness.reference.apis import APIS

    return _matching(((name, "") for name in APIS), incomplete)


def actions(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The situations of ``harness init --action``."""
    from harness.setup.settings_draft import action_names

    return _matching(((f"{name}=", "") for name in action_names()), incomplete)


def requirements(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The ids of the requirements, for pytest's -k, each with its text; the areas too."""
    from harness.contract.requirements import CATALOGUE, areas

    found = [*((area, "") for area in areas()), *((row.id, row.text) for row in CATALOGUE.values())]
    return _matching(found, incomplete)


def files(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """File names, completed by the shell."""
    return [CompletionItem(incomplete, type="file")]


def _matching(values: Iterable[tuple[str, str]], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name, help=help_ or None) for name, help_ in values if name.startswith(incomplete)]
