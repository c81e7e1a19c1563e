"""Accessibility as axe-core sees it, from the copy that the package axe-playwright-python brings."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

SERIOUS = ("serious", "critical")


def axe_violations(page: Page) -> list[str]:
    """What axe finds serious or critical on the page as it is now: rule, impact and the elements, a line each.

    The library is put in by the debugger, so a page whose policy forbids scripts can be examined, too.
    """
    page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    assert found["passes"], "axe looked at nothing"
    return [
        f"{one['impact']}: {one['id']} at {', '.join(str(node['target']) for node in one['nodes'][:5])}"
        for one in found["violations"]
        if one["impact"] in SERIOUS
    ]
