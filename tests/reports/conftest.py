from pathlib import Path

import pytest

from harness.reports import comparison_page, page


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a test writes its results file."""
    return tmp_path / "results.sqlite"


@pytest.fixture
def without_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that look at no chart: drawing them takes most of the time."""
    monkeypatch.setattr(page, "charts", lambda *_: ())
    monkeypatch.setattr(comparison_page, "_charts", lambda *_: ())
