"""A request that is not what the documentation describes is refused."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.rules import input  # noqa: A004 - the area's name
from harness.suite.pytest_plugin import CheckFunction, decides


@decides(input.not_json)
def test_what_is_no_json_object_is_a_4xx(
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
def test_a_source_outside_the_three_is_a_4xx(
    check: CheckFunction, completed_run: Exchange, bodies_with_bad_source: dict[str, Exchange]
) -> None:
    check(completed_run, bodies_with_bad_source)


@decides(input.timezone)
def test_a_timezone_that_is_none_is_a_4xx(
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
def test_another_media_type_is_refused(
    check: CheckFunction, completed_run: Exchange, body_as_text: Exchange
) -> None:
    check(completed_run, body_as_text)


@decides(input.too_large)
def test_an_oversized_body_is_refused(
    check: CheckFunction, completed_run: Exchange, body_too_large: Exchange
) -> None:
    check(completed_run, body_too_large)


@decides(input.error_shape)
def test_every_rejection_has_one_shape(check: CheckFunction, every_answer: list[Exchange]) -> None:
    check(every_answer)
