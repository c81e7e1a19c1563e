"""A retry with the same key and body returns the same run, complete."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.rules import resume
from harness.contract.rules.cuts import CutRun
from harness.contract.rules.text_order import OwnIds
from harness.suite.pytest_plugin import CheckFunction, decides


@decides(resume.replay)
def test_a_retry_after_completion_returns_the_same_sequence(
    check: CheckFunction, replayed: tuple[Exchange, Exchange]
) -> None:
    check(*replayed)


@decides(resume.replay_bytes)
def test_whether_a_retry_returns_the_same_bytes(
    check: CheckFunction, replayed: tuple[Exchange, Exchange]
) -> None:
    check(*replayed)


@decides(resume.no_new_run)
def test_a_retry_executes_nothing_again(check: CheckFunction, replayed: tuple[Exchange, Exchange]) -> None:
    check(*replayed)


@decides(resume.joins)
def test_a_retry_in_flight_joins_the_run(
    check: CheckFunction,
    joined_run: tuple[Exchange, Exchange, Exchange],
    replayed_long_run: tuple[Exchange, Exchange],
) -> None:
    check(*joined_run[:2], replayed_long_run)


@decides(resume.joins)
def test_a_retry_joins_the_run_at_any_moment(
    check: CheckFunction,
    run_joined_at_moments: list[Exchange],
    replayed_long_run: tuple[Exchange, Exchange],
) -> None:
    check(*run_joined_at_moments, replayed_long_run)


@decides(resume.first_reader_kept)
def test_a_second_reader_does_not_affect_the_first_one(
    check: CheckFunction,
    joined_run: tuple[Exchange, Exchange, Exchange],
    replayed_long_run: tuple[Exchange, Exchange],
) -> None:
    check(*joined_run, replayed_long_run)


@decides(resume.every_cut)
def test_nothing_is_lost_wherever_a_run_is_cut(
    check: CheckFunction, cut_runs: list[CutRun], undisturbed_long_run: tuple[Exchange, Exchange] | None
) -> None:
    check(cut_runs, (), undisturbed_long_run)


@decides(resume.every_cut)
def test_nothing_is_lost_after_a_cut_with_last_event_id(
    check: CheckFunction,
    cut_runs_by_id: list[CutRun],
    cut_after_the_end: list[CutRun],
    undisturbed_long_run: tuple[Exchange, Exchange] | None,
) -> None:
    check(cut_runs_by_id, cut_after_the_end, undisturbed_long_run)


@decides(resume.every_cut)
def test_nothing_is_lost_by_resuming_a_finished_run(
    check: CheckFunction,
    cut_after_the_end: list[CutRun],
    undisturbed_long_run: tuple[Exchange, Exchange] | None,
) -> None:
    check(cut_after_the_end, cut_after_the_end, undisturbed_long_run)


@decides(resume.survives_disconnect)
def test_a_dropped_connection_does_not_end_the_run(
    check: CheckFunction, runs_cut_each_way: list[CutRun]
) -> None:
    check(runs_cut_each_way)


@decides(resume.last_event_id)
def test_last_event_id_returns_exactly_the_later_events(
    check: CheckFunction,
    resumed_after_each_id: tuple[Exchange, list[Exchange]],
    undisturbed_long_run: tuple[Exchange, Exchange] | None,
    resumed_out_of_text_order: OwnIds | None,
) -> None:
    check(*resumed_after_each_id, undisturbed_long_run, (), resumed_out_of_text_order)


@decides(resume.last_event_id)
def test_last_event_id_is_honoured_in_flight_too(
    check: CheckFunction,
    long_run: Exchange,
    undisturbed_long_run: tuple[Exchange, Exchange] | None,
    cut_runs_by_id: list[CutRun],
) -> None:
    check(long_run, (), undisturbed_long_run, cut_runs_by_id)


@decides(resume.after_terminal)
def test_a_resumption_after_the_terminal_event_ends(
    check: CheckFunction,
    resumed_after_terminal: list[tuple[Exchange, Exchange]],
    undisturbed_run: tuple[Exchange, Exchange] | None,
) -> None:
    check(resumed_after_terminal, undisturbed_run)


@decides(resume.id_order)
def test_last_event_id_is_compared_as_numbers(
    check: CheckFunction,
    resumed_between_ids: tuple[Exchange, Exchange, list[Exchange]],
    undisturbed_long_run: tuple[Exchange, Exchange] | None,
    resumed_out_of_text_order: OwnIds | None,
) -> None:
    check(*resumed_between_ids, undisturbed_long_run, resumed_out_of_text_order)


@decides(resume.bad_last_event_id)
def test_a_bad_last_event_id_does_no_harm(
    check: CheckFunction,
    retries_with_bad_ids: list[tuple[Exchange, Exchange]],
    undisturbed_long_run: tuple[Exchange, Exchange] | None,
) -> None:
    check(retries_with_bad_ids, undisturbed_long_run)


@decides(resume.bad_last_event_id)
def test_a_bad_last_event_id_does_no_harm_in_flight(
    check: CheckFunction,
    retries_with_bad_ids_in_flight: list[tuple[Exchange, Exchange]],
    undisturbed_long_run: tuple[Exchange, Exchange] | None,
) -> None:
    check(retries_with_bad_ids_in_flight, undisturbed_long_run)


@decides(resume.failure_replayed)
def test_the_retry_of_a_failed_run_replays_its_failure(
    check: CheckFunction, replayed_run: tuple[Exchange, Exchange], replayed_failure: tuple[Exchange, Exchange]
) -> None:
    check(replayed_run, *replayed_failure)


@decides(resume.terminal_race)
def test_a_retry_that_races_the_terminal_event_loses_nothing(
    check: CheckFunction,
    retries_at_the_end: list[tuple[Exchange, Exchange]],
    replayed_long_run: tuple[Exchange, Exchange],
) -> None:
    check(retries_at_the_end, replayed_long_run)


@decides(resume.start)
def test_where_a_resumed_stream_starts(check: CheckFunction, cut_runs: list[CutRun]) -> None:
    check(cut_runs)


@decides(resume.retention)
def test_a_key_still_works_at_the_end_of_the_suite(
    check: CheckFunction,
    retained_key: tuple[Exchange, Exchange, Exchange],
    first_retries_at_several_ages: list[tuple[Exchange, Exchange]],
) -> None:
    check(*retained_key, first_retries_at_several_ages)
