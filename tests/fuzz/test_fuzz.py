"""Twelve seconds of `make fuzz`. What it finds becomes a plain case in the tests of the module that is at fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.__main__ import fuzz
from tests.fuzz.targets import TARGETS

SECONDS = 12

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", TARGETS)
def test_the_property_holds_for_what_is_tried(name: str, tmp_path: Path) -> None:
    assert fuzz(name, SECONDS / len(TARGETS), tmp_path) > 0
