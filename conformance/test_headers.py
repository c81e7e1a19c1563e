"""The HTTP response that carries the stream."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.rules import headers
from harness.suite.pytest_plugin import CheckFunction, decides


@decides(headers.transfer_coding)
def test_the_transfer_coding_is_chunked_alone(check: CheckFunction, stream: Exchange) -> None:
    check(stream)


@decides(headers.decodable)
def test_the_body_can_be_decoded(check: CheckFunction, stream: Exchange) -> None:
    check(stream)


@decides(headers.content_coding)
def test_the_stream_is_not_compressed_unasked(check: CheckFunction, stream: Exchange) -> None:
    check(stream)


@decides(headers.event_stream)
def test_success_is_200_with_an_event_stream(check: CheckFunction, stream: Exchange) -> None:
    check(stream)


@decides(headers.charset)
def test_charset_is_absent_or_utf8(check: CheckFunction, stream: Exchange) -> None:
    check(stream)


@decides(headers.complete)
def test_the_message_is_complete(check: CheckFunction, stream: Exchange) -> None:
    check(stream)


@decides(headers.nothing_after)
def test_nothing_follows_the_message(check: CheckFunction, stream: Exchange) -> None:
    check(stream)


@decides(headers.no_cache)
def test_caches_must_not_store_the_stream(check: CheckFunction, stream: Exchange) -> None:
    check(stream)


@decides(headers.incremental)
def test_events_arrive_as_they_are_produced(
    check: CheckFunction, long_run: Exchange, long_runs_again: list[Exchange]
) -> None:
    check(long_run, long_runs_again)


@decides(headers.flushed)
def test_events_are_not_collected_into_blocks(
    check: CheckFunction, long_run: Exchange, long_runs_again: list[Exchange]
) -> None:
    check(long_run, long_runs_again)


@decides(headers.method)
def test_a_wrong_method_gets_405_with_allow(check: CheckFunction, get_response: Exchange) -> None:
    check(get_response)
