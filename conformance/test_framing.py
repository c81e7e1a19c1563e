"""The bytes on the wire are a valid event stream (WHATWG HTML 9.2)."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.rules import framing
from harness.contract.rules.framing import HOSTILE_TEXT
from harness.suite.pytest_plugin import CheckFunction, decides


@decides(framing.utf8)
def test_the_stream_is_strict_utf8(check: CheckFunction, stream: Exchange) -> None:
    check(stream)


@decides(framing.bom)
def test_a_bom_appears_only_at_the_start(check: CheckFunction, stream: Exchange) -> None:
    check(stream)


@decides(framing.fields)
def test_only_known_fields_are_sent(check: CheckFunction, stream: Exchange) -> None:
    check(stream)


@decides(framing.id_no_nul)
def test_no_id_contains_a_nul(check: CheckFunction, stream: Exchange) -> None:
    check(stream)


@decides(framing.retry_digits)
def test_retry_contains_only_digits(check: CheckFunction, stream: Exchange) -> None:
    check(stream)


@decides(framing.event_name)
def test_an_event_name_is_message_or_the_type(check: CheckFunction, stream: Exchange) -> None:
    check(stream)


@decides(framing.blank_line)
def test_each_event_ends_with_a_blank_line(check: CheckFunction, stream: Exchange) -> None:
    check(stream)


@decides(framing.one_json_object)
def test_the_data_of_an_event_is_one_json_object(check: CheckFunction, stream: Exchange) -> None:
    check(stream)


@decides(framing.content_inert)
def test_line_breaks_in_content_forge_no_frame(
    check: CheckFunction, echoed_run: Exchange, completed_run: Exchange
) -> None:
    check(echoed_run, HOSTILE_TEXT, completed_run)
