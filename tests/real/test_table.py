"""The table of what applies to which API, and the known findings, name requirements that exist."""

from __future__ import annotations

import pytest

from harness.contract.requirements import CATALOGUE
from tests.real.checking import MARKS, TARGETS, applicable, known_findings, marks


@pytest.mark.parametrize("target", TARGETS)
def test_the_table_and_the_known_findings_fit_the_catalogue(target: str) -> None:
    table = marks(target)
    assert set(table) <= set(CATALOGUE)
    assert set(table.values()) <= set(MARKS)
    known = known_findings(target)
    assert set(known) <= set(CATALOGUE)
    assert all(one.reason for one in known.values())
    counted = applicable(target)
    assert len(counted) == len(set(counted)) > 40
    assert not any(table.get(name) in {"n", "s"} for name in counted)
