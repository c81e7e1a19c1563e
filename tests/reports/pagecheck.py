"""Checks any page: well formed, self-contained, every internal link has a target."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "hr", "input"}
FOREIGN = {"path", "rect", "use", "image"}
INSIDE = {"link": ("data:image/svg+xml,",), "image": ("data:image/png;base64,",)}
"""Allowed prefixes of references that are not anchors, by element: the icon and the heat maps."""


class Checked(HTMLParser):
    """A parsed page. problems: everything that is wrong with it."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.problems: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.metas: dict[str, str] = {}
        self.texts: list[str] = []
        self.labels: list[str] = []
        self._stack: list[str] = []
        self._raw = html
        self.feed(html.replace("<wbr>", ""))  # where a name may be broken: it is still one word
        self.close()
        self._finish()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._element(tag, attrs)
        if tag not in VOID:
            self._stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in FOREIGN | {"g", "defs"}:
            self.problems.append(f"<{tag}/> is not a self-closing element")
        self._element(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if not self._stack or self._stack[-1] != tag:
            self.problems.append(f"</{tag}> closes {self._stack[-3:]} at line {self.getpos()[0]}")
        else:
            self._stack.pop()

    def handle_data(self, data: str) -> None:
        if self._stack and self._stack[-1] != "style":
            self.texts.append(data)

    def _element(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name.startswith("on") or name in {"style", "srcset", "action", "ping"}:
                self.problems.append(f"<{tag} {name}>")
            if name in {"href", "src", "xlink:href"} and not (value or "").startswith(
                INSIDE.get(tag, ("#",))
            ):
                self.problems.append(f"<{tag} {name}={value!r}> leaves the page")
            if name == "href" and (value or "").startswith("#"):
                self.links.append((value or "")[1:])
            if name == "id":
                self.ids.append(value or "")
            if name == "aria-label":
                self.labels.append(value or "")
        values = dict(attrs)
        if tag == "meta" and "content" in values:
            self.metas[values.get("http-equiv") or values.get("name") or ""] = values["content"] or ""

    def _finish(self) -> None:
        if self._stack:
            self.problems.append(f"never closed: {self._stack}")
        self.problems += [
            f"two elements have the id {name!r}" for name in set(self.ids) if self.ids.count(name) > 1
        ]
        self.problems += [f"#{name} has no target" for name in set(self.links) - set(self.ids)]
        self.problems += [
            f"unprintable character {character!r}"
            for character in set(
                re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", self._raw)
            )
        ]
        if set(self.tags) & {
            "script",
            "iframe",
            "object",
            "embed",
            "form",
            "img",
            "foreignobject",
            "animate",
        }:
            self.problems.append("a forbidden element")
        self.problems += [f"url({target}" for target in re.findall(r"url\(([^#)][^)]*)", self._raw)]
        if "@import" in self._raw:
            self.problems.append("@import")

    @property
    def text(self) -> str:
        """The page's text, blanks collapsed."""
        return " ".join(" ".join(self.texts).split())


def checked(html: str) -> Checked:
    """The parsed page, after asserting that it has no problems."""
    page = Checked(html)
    assert page.problems == []
    (css,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    assert page.metas["Content-Security-Policy"] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; script-src 'none'; "
        "base-uri 'none'; form-action 'none'"
    )
    return page
