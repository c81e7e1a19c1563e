"""docs/requirements.md agrees with the catalogue, the suite and the faults."""

from __future__ import annotations

from scripts.write_requirements import DOCUMENT, requirements_document


def test_the_page_is_current() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == requirements_document(), (
        "run: python -m scripts.write_requirements"
    )
