"""Who asks is settled before anything is told or done."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.rules import auth
from harness.suite.pytest_plugin import CheckFunction, requirement


@requirement("auth.missing")
def test_no_token_is_a_401(
    check: CheckFunction, completed_run: Exchange, without_token: tuple[Exchange, Exchange]
) -> None:
    check(auth.missing, completed_run, *without_token)


@requirement("auth.bad")
def test_a_garbage_token_is_a_401(
    check: CheckFunction, completed_run: Exchange, with_garbage_token: tuple[Exchange, Exchange]
) -> None:
    check(auth.bad, completed_run, *with_garbage_token)


@requirement("auth.challenge")
def test_a_401_says_how_to_authenticate(
    check: CheckFunction, completed_run: Exchange, without_token: tuple[Exchange, Exchange]
) -> None:
    check(auth.challenge, completed_run, without_token[0])


@requirement("auth.before-key")
def test_a_known_key_tells_nothing_without_a_token(
    check: CheckFunction,
    completed_run: Exchange,
    keys_without_token: tuple[Exchange, Exchange, Exchange, Exchange],
) -> None:
    check(auth.before_key, completed_run, *keys_without_token)


@requirement("auth.org-mismatch")
def test_a_foreign_organization_is_rejected(
    check: CheckFunction, completed_run: Exchange, with_foreign_org: tuple[Exchange, Exchange]
) -> None:
    check(auth.org_mismatch, completed_run, *with_foreign_org)


@requirement("auth.org-before-conflict")
def test_a_foreign_organization_is_not_told_of_a_conflict(
    check: CheckFunction, completed_run: Exchange, foreign_org_with_known_key: Exchange
) -> None:
    check(auth.org_before_conflict, completed_run, foreign_org_with_known_key)


@requirement("auth.key-scope")
def test_a_key_belongs_to_its_organization(
    check: CheckFunction, same_key_in_two_organizations: tuple[Exchange, Exchange]
) -> None:
    check(auth.key_scope, *same_key_in_two_organizations)


@requirement("auth.query-token")
def test_a_token_in_the_query_string_is_refused(
    check: CheckFunction, completed_run: Exchange, token_in_query: Exchange
) -> None:
    check(auth.query_token, completed_run, token_in_query)
