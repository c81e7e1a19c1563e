"""The runId, and how it relates to the key."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.rules import run_id
from harness.suite.pytest_plugin import CheckFunction, decides


@decides(run_id.single)
def test_a_run_has_one_id(check: CheckFunction, stream: Exchange) -> None:
    check(stream)


@decides(run_id.echoed)
def test_the_clients_run_id_is_echoed(check: CheckFunction, runs_with_run_id: list[Exchange]) -> None:
    check(runs_with_run_id)


@decides(run_id.constant)
def test_the_run_id_is_the_same_on_every_connection(
    check: CheckFunction, joined_run: tuple[Exchange, Exchange, Exchange]
) -> None:
    check(joined_run)


@decides(run_id.constant)
def test_the_run_id_is_the_same_on_a_retry(
    check: CheckFunction, replayed_run: tuple[Exchange, Exchange]
) -> None:
    check(replayed_run)


@decides(run_id.key_wins)
def test_the_key_takes_precedence_over_the_run_id(
    check: CheckFunction,
    replayed_run: tuple[Exchange, Exchange],
    run_id_and_key: tuple[Exchange, Exchange, Exchange],
) -> None:
    check(replayed_run, *run_id_and_key)


@decides(run_id.resumes)
def test_without_a_key_the_run_id_resumes(
    check: CheckFunction,
    replayed_run: tuple[Exchange, Exchange],
    resumed_by_run_id: tuple[Exchange, Exchange],
) -> None:
    check(replayed_run, *resumed_by_run_id)


@decides(run_id.without_key)
def test_whether_a_run_id_acts_as_a_key(
    check: CheckFunction, resumed_by_run_id: tuple[Exchange, Exchange]
) -> None:
    check(*resumed_by_run_id)
