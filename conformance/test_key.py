"""Which values work as an Idempotency-Key, and what a key must not do."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.rules import key
from harness.suite.pytest_plugin import CheckFunction, decides


@decides(key.none_independent)
def test_equal_bodies_without_a_key_are_independent_runs(
    check: CheckFunction, keyless_runs: tuple[Exchange, Exchange]
) -> None:
    check(*keyless_runs)


@decides(key.distinct)
def test_similar_keys_are_different_runs(
    check: CheckFunction,
    replayed_run: tuple[Exchange, Exchange],
    similar_keys: dict[str, list[Exchange]],
) -> None:
    check(replayed_run, similar_keys)


@decides(key.quotes)
def test_quotes_are_part_of_a_key(
    check: CheckFunction, replayed_run: tuple[Exchange, Exchange], keys_in_quotes: list[Exchange]
) -> None:
    check(replayed_run, keys_in_quotes)


@decides(key.opaque)
def test_keys_of_every_form_work(
    check: CheckFunction,
    replayed_run: tuple[Exchange, Exchange],
    opaque_keys: dict[str, tuple[Exchange, Exchange]],
) -> None:
    check(replayed_run, opaque_keys)


@decides(key.bad)
def test_a_bad_key_is_a_400(
    check: CheckFunction, completed_run: Exchange, bad_keys: dict[str, Exchange]
) -> None:
    check(completed_run, bad_keys)


@decides(key.inert)
def test_an_injection_in_the_key_has_no_effect(
    check: CheckFunction, completed_run: Exchange, injected_keys: dict[str, Exchange]
) -> None:
    check(completed_run, injected_keys)


@decides(key.other_route)
def test_whether_the_other_route_shares_keys(
    check: CheckFunction, key_on_other_route: tuple[Exchange, Exchange]
) -> None:
    check(*key_on_other_route)


@decides(key.body_canonical)
def test_whether_key_order_and_whitespace_make_a_different_body(
    check: CheckFunction, same_body_in_different_bytes: tuple[Exchange, Exchange, Exchange]
) -> None:
    check(*same_body_in_different_bytes)
