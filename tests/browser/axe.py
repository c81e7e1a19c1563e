"""Accessibility as axe-core sees it, from the copy that the package axe-playwright-python brings."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

SERIOUS = ("serious", "critical")
#: The rules that depend on colours, which take most of axe's time. All others depend on the document only.
_COLOURS = ("color-contrast", "link-in-text-block")
#: Of the elements that have the same names, classes and attributes all the way down, text in the same places, and
#: ancestors like that, two stay: innermost first, so that lists become equal whose items are. An id counts if the style
#: sheet names it. Charts stay whole: what lies behind a text depends on its place.
_THIN_OUT = """() => {
    const names = node => [...node.attributes].map(one => one.name).sort();
    const styles = [...document.styleSheets].flatMap(sheet => [...sheet.cssRules]).map(rule => rule.cssText).join();
    const own = node => [
        node.localName, node.getAttribute("class"), node.id && styles.includes(`#${node.id}`) ? node.id : "",
        ...names(node), [...node.childNodes].some(one => one.nodeType === Node.TEXT_NODE && one.data.trim()),
    ].join(" ");
    const shape = node => [own(node), "(", ...[...node.children].map(shape), ")"].join(" ");
    const places = new Map([[document.body, "body"]]);
    const elements = [...document.querySelectorAll("body *")].filter(node => !node.closest("svg"));
    for (const node of elements) places.set(node, `${places.get(node.parentElement)} > ${own(node)}`);
    const seen = new Map();
    for (const node of elements.reverse()) {
        if (node.querySelector("svg")) continue;
        const key = `${places.get(node.parentElement)} > ${shape(node)}`;
        seen.set(key, (seen.get(key) || 0) + 1);
        if (seen.get(key) > 2) node.remove();
    }
}"""


def axe_violations(page: Page) -> list[str]:
    """What axe finds serious or critical on the page as it is now: rule, impact and the elements, a line each.

    The library is put in by the debugger, so a page whose policy forbids scripts can be examined, too.
    """
    _load(page)
    return _found(page)


def violations_in_both_themes(page: Page) -> list[str]:
    """The same in light and dark. Afterwards, repeated elements are missing on the page."""
    _load(page)
    found = _found(page, rules={name: {"enabled": False} for name in _COLOURS})
    page.evaluate(_THIN_OUT)
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        found += _found(page, runOnly=list(_COLOURS))
    return found


def _load(page: Page) -> None:
    page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))


def _found(page: Page, **options: object) -> list[str]:
    found = page.evaluate("options => axe.run(document, options)", {"resultTypes": ["violations"], **options})
    assert found["passes"], "axe looked at nothing"
    return [
        f"{one['impact']}: {one['id']} at {', '.join(str(node['target']) for node in one['nodes'][:5])}"
        for one in found["violations"]
        if one["impact"] in SERIOUS
    ]
