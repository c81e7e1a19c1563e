"""The requirement that each test of the suite decides, and the selection of tests by it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from harness.contract.requirements import CATALOGUE, Level, areas, find
from harness.suite.pytest_plugin import MARKER


def register_markers(config: pytest.Config) -> None:
    """Register a marker for each area and level, for -m."""
    for name in (*areas(), *(str(level).lower() for level in Level)):
        config.addinivalue_line(
            "markers", f"{name.replace('-', '_')}: set on the suite's tests by the plugin"
        )


def requirement_of(item: pytest.Item) -> str | None:
    """The id of the requirement that a test decides; None for a test that is not the suite's.

    Raises pytest.UsageError if the marker has no id.
    """
    marker = item.get_closest_marker(MARKER)
    if marker is None:
        return None
    if len(marker.args) != 1 or marker.kwargs:
        raise pytest.UsageError(f"{item.nodeid}: write the marker as {MARKER}(id), or use decides(rule)")
    return str(marker.args[0])


def add_markers(item: pytest.Item, requirement_id: str) -> None:
    """Give a test its area and level as markers, for -m, and its requirement as keyword, for -k.

    Raises pytest.UsageError for an unknown requirement.
    """
    try:
        requirement = find(requirement_id)
    except KeyError as problem:
        raise pytest.UsageError(f"{item.nodeid}: {problem.args[0]}") from None
    item.add_marker(requirement.area.replace("-", "_"))
    item.add_marker(str(requirement.level).lower())
    item.extra_keyword_matches.add(requirement_id)


def select(
    config: pytest.Config, items: list[pytest.Item], requirements: Mapping[pytest.Item, str | None]
) -> None:
    """Deselect tests by --harness-level and --harness-area, and sort the rest by the catalogue."""
    deselected = [
        item for item in items if (name := requirements.get(item)) and not _is_selected(config, name)
    ]
    order = {name: place for place, name in enumerate(CATALOGUE)}
    selected = [item for item in items if item not in set(deselected)]
    items[:] = sorted(selected, key=lambda item: order.get(requirements.get(item) or "", -1))
    if deselected:
        config.hook.pytest_deselected(items=deselected)


def _is_selected(config: pytest.Config, requirement_id: str) -> bool:
    requirement = find(requirement_id)
    level, selected_areas = config.getoption("harness_level"), config.getoption("harness_area")
    return (not level or str(requirement.level).lower() == level) and (
        not selected_areas or requirement.area in selected_areas
    )
