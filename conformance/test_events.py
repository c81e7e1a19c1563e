"""Each frame's data is a RunEvent."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.rules import events
from harness.suite.pytest_plugin import CheckFunction, requirement


@requirement("events.type")
def test_each_event_has_a_type(check: CheckFunction, stream: Exchange) -> None:
    check(events.type_, stream)


@requirement("events.schema")
def test_each_event_has_the_fields_of_its_type(check: CheckFunction, stream: Exchange) -> None:
    check(events.schema, stream)


@requirement("events.strict-json")
def test_data_is_strict_json(check: CheckFunction, stream: Exchange) -> None:
    check(events.strict_json, stream)


@requirement("events.error-detail")
def test_an_error_says_what_failed(check: CheckFunction, failing_run: Exchange) -> None:
    check(events.error_detail, failing_run)


@requirement("events.unknown-types")
def test_types_beyond_the_four_are_listed(check: CheckFunction, long_run: Exchange) -> None:
    check(events.unknown_types, long_run)
