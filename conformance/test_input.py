"""A request that violates the documentation is rejected."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.rules import input  # noqa: A004 - the area's name
from harness.suite.pytest_plugin import CheckFunction, decides


@decides(input.not_json)
def test_a_body_that_is_not_a_json_object_is_a_4xx(
    check: CheckFunction, completed_run: Exchange, bodies_not_json: dict[str, Exchange]
) -> None:
    check(completed_run, bodies_not_json)


@decides(input.required)
def test_each_missing_required_field_is_a_4xx(
    check: CheckFunction, completed_run: Exchange, bodies_without_a_field: dict[str, Exchange]
) -> None:
    check(completed_run, bodies_without_a_field)


@decides(input.required_named)
def test_the_rejection_names_the_missing_field(
    check: CheckFunction, completed_run: Exchange, bodies_without_a_field: dict[str, Exchange]
) -> None:
    check(completed_run, bodies_without_a_field)


@decides(input.types)
def test_a_field_of_the_wrong_type_is_a_4xx(
    check: CheckFunction, completed_run: Exchange, bodies_with_wrong_types: dict[str, Exchange]
) -> None:
    check(completed_run, bodies_with_wrong_types)


@decides(input.source)
def test_an_undocumented_source_is_a_4xx(
    check: CheckFunction, completed_run: Exchange, bodies_with_bad_source: dict[str, Exchange]
) -> None:
    check(completed_run, bodies_with_bad_source)


@decides(input.timezone)
def test_an_unknown_time_zone_is_a_4xx(
    check: CheckFunction, completed_run: Exchange, bodies_with_bad_timezone: dict[str, Exchange]
) -> None:
    check(completed_run, bodies_with_bad_timezone)


@decides(input.hostile)
def test_hostile_json_breaks_nothing(
    check: CheckFunction, completed_run: Exchange, hostile_bodies: dict[str, Exchange]
) -> None:
    check(completed_run, hostile_bodies)


@decides(input.hostile)
def test_no_generated_body_breaks_the_server(
    check: CheckFunction, completed_run: Exchange, searched_bodies: dict[str, Exchange]
) -> None:
    check(completed_run, searched_bodies)


@decides(input.media_type)
def test_a_wrong_media_type_is_rejected(
    check: CheckFunction, completed_run: Exchange, body_as_text: Exchange
) -> None:
    check(completed_run, body_as_text)


@decides(input.too_large)
def test_an_oversized_body_is_rejected(
    check: CheckFunction, completed_run: Exchange, body_too_large: Exchange
) -> None:
    check(completed_run, body_too_large)


@decides(input.error_shape)
def test_all_rejections_have_the_same_shape(
    check: CheckFunction, every_kind_of_response: list[Exchange]
) -> None:
    check(every_kind_of_response)
