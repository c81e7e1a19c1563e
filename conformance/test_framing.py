"""What stands on the wire is an event stream (WHATWG HTML 9.2)."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.rules import framing
from harness.contract.rules.framing import HOSTILE_TEXT
from harness.suite.pytest_plugin import CheckFunction, requirement


@requirement("framing.utf8")
def test_the_stream_is_strict_utf8(check: CheckFunction, stream: Exchange) -> None:
    check(framing.utf8, stream)


@requirement("framing.bom")
def test_a_bom_stands_only_at_the_very_start(check: CheckFunction, stream: Exchange) -> None:
    check(framing.bom, stream)


@requirement("framing.fields")
def test_only_known_fields_are_sent(check: CheckFunction, stream: Exchange) -> None:
    check(framing.fields, stream)


@requirement("framing.id-no-nul")
def test_no_id_holds_a_nul(check: CheckFunction, stream: Exchange) -> None:
    check(framing.id_no_nul, stream)


@requirement("framing.retry-digits")
def test_retry_holds_digits_only(check: CheckFunction, stream: Exchange) -> None:
    check(framing.retry_digits, stream)


@requirement("framing.event-name")
def test_an_event_name_is_message_or_the_type(check: CheckFunction, stream: Exchange) -> None:
    check(framing.event_name, stream)


@requirement("framing.blank-line")
def test_each_event_ends_with_a_blank_line(check: CheckFunction, stream: Exchange) -> None:
    check(framing.blank_line, stream)


@requirement("framing.one-json-object")
def test_the_data_of_an_event_is_one_json_object(check: CheckFunction, stream: Exchange) -> None:
    check(framing.one_json_object, stream)


@requirement("framing.content-inert")
def test_line_breaks_in_content_forge_no_frame(
    check: CheckFunction, echoed_run: Exchange, completed_run: Exchange
) -> None:
    check(framing.content_inert, echoed_run, HOSTILE_TEXT, completed_run)
