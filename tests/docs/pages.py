"""The documentation pages and the commands in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")])

_COMMAND = re.compile(r"^(?:    |- run: |  - )?(harness [a-z].*)$", re.MULTILINE)
_REMARK = re.compile(r"\s{3,}|\s+\(|\s+#")


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def commands(page: Path) -> Iterator[str]:
    """Each line that runs the harness, without the remark after it."""
    for line in _COMMAND.findall(read(page)):
        yield _REMARK.split(line)[0]
