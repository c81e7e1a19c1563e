"""The server authenticates and authorizes a request before it reveals or does anything."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.rules import auth
from harness.suite.pytest_plugin import CheckFunction, decides


@decides(auth.missing)
def test_no_token_is_a_401(
    check: CheckFunction, completed_run: Exchange, without_token: tuple[Exchange, Exchange]
) -> None:
    check(completed_run, *without_token)


@decides(auth.bad)
def test_a_garbage_token_is_a_401(
    check: CheckFunction, completed_run: Exchange, with_garbage_token: tuple[Exchange, Exchange]
) -> None:
    check(completed_run, *with_garbage_token)


@decides(auth.challenge)
def test_a_401_says_how_to_authenticate(
    check: CheckFunction, completed_run: Exchange, without_token: tuple[Exchange, Exchange]
) -> None:
    check(completed_run, without_token[0])


@decides(auth.before_key)
def test_without_a_token_a_known_key_reveals_nothing(
    check: CheckFunction,
    completed_run: Exchange,
    keys_without_token: tuple[Exchange, Exchange, Exchange, Exchange],
) -> None:
    check(completed_run, *keys_without_token)


@decides(auth.org_mismatch)
def test_a_foreign_organization_is_rejected(
    check: CheckFunction, completed_run: Exchange, with_foreign_org: tuple[Exchange, Exchange]
) -> None:
    check(completed_run, *with_foreign_org)


@decides(auth.org_before_conflict)
def test_a_foreign_organization_learns_nothing_of_a_conflict(
    check: CheckFunction, completed_run: Exchange, foreign_org_with_known_key: Exchange
) -> None:
    check(completed_run, foreign_org_with_known_key)


@decides(auth.key_scope)
def test_a_key_belongs_to_its_organization(
    check: CheckFunction, same_key_in_two_organizations: tuple[Exchange, Exchange]
) -> None:
    check(*same_key_in_two_organizations)


@decides(auth.query_token)
def test_a_token_in_the_query_string_is_rejected(
    check: CheckFunction, completed_run: Exchange, token_in_query: Exchange
) -> None:
    check(completed_run, token_in_query)
