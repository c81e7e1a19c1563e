"""The short form of the cycles: what a page keeps after each test shows after a few."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.load.web.cycles import Footprint, cycles, growth_bytes


@pytest.mark.slow
def test_a_page_keeps_no_descriptors_and_no_threads(tmp_path: Path) -> None:
    found = list(cycles(tmp_path, 10))
    # One connection or thread may be just ending.
    assert min(one.descriptors for one in found[-3:]) <= max(one.descriptors for one in found[:3])
    assert min(one.threads for one in found[-3:]) <= max(one.threads for one in found[:3])


def test_growth_is_seen_behind_noise() -> None:
    flat = [Footprint(100 + number % 3, 9, 2) for number in range(40)]
    leaking = [Footprint(100 + 2 * number, 9, 2) for number in range(40)]
    assert growth_bytes(flat) == 0
    assert growth_bytes(leaking) == 40  # 20 cycles from one quarter to the other
