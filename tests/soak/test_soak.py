from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.soak import Soak


@pytest.mark.slow
def test_twelve_seconds_of_soak(tmp_path: Path) -> None:
    """Long enough for one killed worker and one restarted server; nothing is said about growth."""
    soak = Soak(tmp_path, 12).run()
    assert soak.problems() == []
    assert len(soak.worker_kills) == len(soak.restarts) == 1
    found, ledger, _ = soak.reconcile()
    assert found.counted > 20
    assert ledger["lost"] + found.unreported > 0
    text = (tmp_path / "out" / "load.log").read_text()
    assert "Traceback" not in text
