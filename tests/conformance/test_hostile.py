"""The search for a body that breaks a server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.conformance.scenarios import hostile


def test_the_search_tries_the_same_values_each_time_also_in_several_threads() -> None:
    hostile._generated_values.cache_clear()
    with ThreadPoolExecutor(3) as threads:
        first, *others = [job.result() for job in [threads.submit(_new_values) for _ in range(3)]]
    assert len(first) == hostile.EXAMPLES
    assert others == [first, first]


def _new_values() -> list[tuple[str, str]]:
    values = hostile.generated_values()
    hostile._generated_values.cache_clear()
    return values


def test_a_value_that_breaks_the_server_is_made_smaller() -> None:
    breaking = next(value for field, value in hostile.generated_values() if value.count("[") > 100)
    tried = []

    def use(_: str, value: str) -> None:
        if value.count("[") > 100:
            tried.append(value)
            raise AssertionError

    with pytest.raises(AssertionError):
        hostile._search(use)
    assert breaking in tried
    assert tried[-1].count("[") == 101
