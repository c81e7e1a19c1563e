"""The data of each frame is a RunEvent."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.rules import events
from harness.suite.pytest_plugin import CheckFunction, decides


@decides(events.type_)
def test_each_event_has_a_type(check: CheckFunction, stream: Exchange) -> None:
    check(stream)


@decides(events.schema)
def test_each_event_has_the_fields_of_its_type(check: CheckFunction, stream: Exchange) -> None:
    check(stream)


@decides(events.strict_json)
def test_data_is_strict_json(check: CheckFunction, stream: Exchange) -> None:
    check(stream)


@decides(events.first)
def test_a_stream_starts_with_the_right_event(check: CheckFunction, stream: Exchange) -> None:
    check(stream)


@decides(events.pairs)
def test_what_is_opened_is_closed(check: CheckFunction, stream: Exchange) -> None:
    check(stream)


@decides(events.usage)
def test_a_run_reports_its_output_tokens(check: CheckFunction, completed_run: Exchange) -> None:
    check(completed_run)


@decides(events.whole_text)
def test_the_whole_text_is_that_of_the_tokens(check: CheckFunction, stream: Exchange) -> None:
    check(stream)


@decides(events.error_detail)
def test_an_error_says_what_failed(check: CheckFunction, failing_run: Exchange) -> None:
    check(failing_run)


@decides(events.unknown_types)
def test_which_event_types_exist_beyond_the_documented_four(check: CheckFunction, long_run: Exchange) -> None:
    check(long_run)
