from pathlib import Path

import pytest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a test writes its results file."""
    return tmp_path / "results.sqlite"
