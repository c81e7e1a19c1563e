"""The conditions of --abort-on: their grammar, which is that of the objectives, and what meets them."""

from __future__ import annotations

import pytest

from harness.gate.abort_condition import DEFAULT_WINDOW_S, AbortCondition
from harness.gate.expressions import ExpressionError, parse_abort_condition
from harness.gate.objective import KEYS, Objective
from tests.cases import all_cases


@all_cases(
    ("text", "name", "limit", "inclusive", "window_s"),
    [
        ("error_rate > 20% for 10s", "error_rate", 0.2, False, 10),
        ("error_rate>0.2", "error_rate", 0.2, False, DEFAULT_WINDOW_S),
        ("  fresh . error_rate  >=  50 %  for  1 m ", "fresh.error_rate", 0.5, True, 60),
        ("error_rate >= 100% for 2s", "error_rate", 1.0, True, 2),
        ("ttft_p95_ms > 5s for 30s", "ttft_p95_ms", 5000, False, 30),
        ("resume.resume_p99_ms ≥ 800 for 1500ms", "resume.resume_p99_ms", 800, True, 1.5),
        ("goodput < 50% for 1m", "goodput", 0.5, False, 60),
        ("goodput <= 0 for 60m", "goodput", 0.0, True, 3600),
        ("violations > 0", "violations", 0, False, DEFAULT_WINDOW_S),
        ("violations >= 100 for 30s", "violations", 100, True, 30),
        ("receive_lag_p95_ms > 50 for 10s", "receive_lag_p95_ms", 50, False, 10),
        ("schedule_lag_max_ms > 1s for 10s", "schedule_lag_max_ms", 1000, False, 10),
        ("for.error_rate > 1% for 10s", "for.error_rate", 0.01, False, 10),
    ],
)
def test_an_expression_says_a_condition(
    text: str, name: str, limit: float, inclusive: bool, window_s: float
) -> None:
    condition = parse_abort_condition(text)
    assert condition == AbortCondition(Objective.parse(name, limit), inclusive, window_s)
    assert parse_abort_condition(condition.expression) == condition


@all_cases("key", KEYS)
def test_every_objective_can_abort_a_load(key: str) -> None:
    sign = "<" if key in ("goodput", "session_success") else ">"
    assert parse_abort_condition(f"{key} {sign} 1 for 5s" if key != "error_rate" else "error_rate > 0.5")


@all_cases(
    ("text", "problem"),
    [
        ("", "condition '' is not a comparison with one limit; write for example error_rate > 20% for 10s"),
        ("for 10s", "is not a comparison with one limit"),
        ("20% < error_rate", "is not a comparison with one limit"),
        ("error_rate for 10s", "is not a comparison with one limit"),
        ("eror_rate > 20%", "has the unknown name 'eror_rate'; did you mean 'error_rate'?"),
        ("lag > 50", "has the unknown name 'lag'; did you mean 'schedule_lag_p95_ms'?"),
        ("ttft > 5s", "has the unknown name 'ttft'; did you mean 'ttft_p95_ms'?"),
        ("error_rate < 20%", "a load is aborted if error_rate is above the limit; write error_rate > 20%"),
        ("error_rate == 20%", "has the wrong sign"),
        ("goodput > 50%", "a load is aborted if goodput is below the limit; write goodput < 50%"),
        ("error_rate > 120%", "is out of range: error_rate is a share and 120% is over 100%"),
        ("error_rate > 100%", "can never be met: nothing is above 100%; write error_rate >= 100%"),
        ("error_rate > 1", "can never be met"),
        ("goodput < 0", "can never be met: nothing is below 0"),
        ("violations >= 0", "is always met; write violations > 0"),
        ("violations > 1.5", "violations are counted; write a whole number"),
        ("error_rate > 20ms", "has the wrong unit"),
        ("error_rate >", "has no limit: nothing follows >"),
        ("error_rate > many", "has no limit"),
        ("error_rate > 20% for", "needs a time from 1s to 60m after for; write for example for 10s"),
        ("error_rate > 20% for 10", "needs a time from 1s to 60m after for"),
        ("error_rate > 20% for 0.5s", "needs a time from 1s to 60m after for"),
        ("error_rate > 20% for 61m", "needs a time from 1s to 60m after for"),
        ("error_rate > 20% for -1s", "needs a time from 1s to 60m after for"),
        ("error_rate > 20% for 10s for 3s", "needs a time from 1s to 60m after for"),
        ("error_rate > 20% for " + "9" * 400 + "s", "needs a time from 1s to 60m after for"),
    ],
)
def test_a_mistake_is_one_sentence(text: str, problem: str) -> None:
    with pytest.raises(ExpressionError) as raised:
        parse_abort_condition(text)
    sentence, shown, marked = str(raised.value).split("\n")
    assert problem in sentence
    assert sentence.startswith("condition ")
    assert shown.startswith("    ")
    assert set(marked) <= {" ", "^"}
    assert "^" in marked


def test_what_meets_a_condition() -> None:
    above = parse_abort_condition("error_rate > 20%")
    assert [above.is_met_by(value) for value in (0.1, 0.2, 0.21)] == [False, False, True]
    at_least = parse_abort_condition("error_rate >= 20%")
    assert [at_least.is_met_by(value) for value in (0.1, 0.2, 0.21)] == [False, True, True]
    below = parse_abort_condition("goodput < 50%")
    assert [below.is_met_by(value) for value in (0.4, 0.5, 0.6)] == [True, False, False]
