"""Until when a response must go on: the budget that applies at the moment, and what to say when it ran out."""

from __future__ import annotations

from harness.contract.expectations import Budgets


def next_deadline(
    budgets: Budgets,
    started_ns: int,
    sent_ns: int | None,
    last_read_ns: int,
    end_ns: int | None,
    *,
    has_events: bool,
) -> tuple[int, str]:
    """The current deadline, and the message if it is missed. All times on the monotonic clock, ns.

    sent_ns: when the request had been sent, or None. last_read_ns: arrival of the newest read. end_ns: arrival of
    the event that ended the run, or None.
    """
    if sent_ns is None:
        limit_s = budgets.first_event_s
        return started_ns + int(limit_s * 1e9), f"could not connect and send within {limit_s:g} s"
    if end_ns is not None:
        limit_s = budgets.terminal_close_s
        return (
            end_ns + int(limit_s * 1e9),
            f"the stream was still open {limit_s:g} s after its terminal event",
        )
    whole = sent_ns + int(budgets.run_s * 1e9)
    if not has_events:
        limit_s, message = budgets.patience_s, "no event within"
        silent = sent_ns + int(limit_s * 1e9)
    else:
        limit_s, message = budgets.silence_s, "silent for"
        silent = last_read_ns + int(limit_s * 1e9)
    if silent < whole:
        return silent, f"{message} {limit_s:g} s"
    return whole, f"no terminal event within {budgets.run_s:g} s"
