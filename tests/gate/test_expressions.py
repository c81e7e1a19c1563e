import pytest

from harness.gate.expressions import ExpressionError, limits_of, parse_expression
from harness.gate.objective import KEYS, Objective
from tests.cases import all_cases


@all_cases(
    ("text", "key", "limit"),
    [
        ("ttft_p95_ms<800", "ttft_p95_ms", 800),
        ("  ttft_p95_ms  <=  800 ms ", "ttft_p95_ms", 800),
        ("ttft_p95_ms ≤ 0.8s", "ttft_p95_ms", 800),
        ("duration_max_ms < 2m", "duration_max_ms", 120_000),
        ("stall_p99_ms < .5", "stall_p99_ms", 0.5),
        ("resume_p50_ms < 1e3", "resume_p50_ms", 1000),
        ("inter_token_p999_ms <= 0", "inter_token_p999_ms", 0),
        ("error_rate < 1%", "error_rate", 0.01),
        ("error_rate <= 0.1 %", "error_rate", 0.001),
        ("error_rate < 0.05", "error_rate", 0.05),
        ("goodput >= 99%", "goodput", 0.99),
        ("goodput > 0.995", "goodput", 0.995),
        ("goodput ≥ 100%", "goodput", 1),
        ("violations <= 3", "violations", 3),
        ("violations < 3", "violations", 2),
        ("violations < 1", "violations", 0),
        ("violations == 0", "violations", 0),
        ("error_rate == 0%", "error_rate", 0),
        ("error_rate == 0.00%", "error_rate", 0),
        ("goodput == 100%", "goodput", 1),
        ("goodput == 1", "goodput", 1),
        ("goodput == 1.0", "goodput", 1),
    ],
)
def test_an_expression_says_an_objective(text, key, limit):
    assert parse_expression(text) == Objective(key, limit)


@pytest.mark.parametrize(
    ("text", "journey", "key", "limit"),
    [
        ("resume.resume_p99_ms < 1500", "resume", "resume_p99_ms", 1500),
        (" fresh . error_rate < 1%", "fresh", "error_rate", 0.01),
        ("slow_reader.goodput >= 99%", "slow_reader", "goodput", 0.99),
        ("workflow.step2.ttft_p95_ms < 800", "workflow.step2", "ttft_p95_ms", 800),
        ("my-own.violations == 0", "my-own", "violations", 0),
        ("7.ttft_p50_ms < 1s", "7", "ttft_p50_ms", 1000),
    ],
)
def test_a_journey_may_stand_before_it(text, journey, key, limit):
    objective = parse_expression(text)
    assert objective == Objective(key, limit, journey)
    assert objective.name == f"{journey}.{key}"
    assert parse_expression(objective.expression) == objective


@all_cases(
    ("text", "problem"),
    [
        ("", "objective '' does not start with a name; write for example ttft_p95_ms < 800"),
        ("<800", "objective '<800' does not start with a name; write for example ttft_p95_ms < 800"),
        ("800 > ttft_p95_ms", "starts with the limit; write the name first, for example ttft_p95_ms < 800"),
        ("ttft_p95_ms", "is not a comparison with one limit; write for example ttft_p95_ms < 800"),
        ("ttft p95 < 800", "is not a comparison with one limit; write for example ttft_p95_ms < 800"),
        (
            "ttft_p95_ms < 800 < 900",
            "is not a comparison with one limit; write for example ttft_p95_ms < 800",
        ),
        ("goodput 99%", "is not a comparison with one limit; write for example goodput >= 99%"),
        ("error rate < 1%", "is not a comparison with one limit; write for example error_rate < 1%"),
        ("ttft_95_ms < 800", "has the unknown name 'ttft_95_ms'; did you mean 'ttft_p95_ms'?"),
        ("resume.ttft_95_ms < 800", "has the unknown name 'ttft_95_ms'; did you mean 'ttft_p95_ms'?"),
        ("a.b.c.ttft_p95_ms < 800", "is not a comparison with one limit; write for example"),
        ("fresh. < 800", "is not a comparison with one limit; write for example"),
        (
            "violations == 3",
            "violations has an upper limit; write violations <= 3 (== is allowed only in violations == 0)",
        ),
        (
            "goodput == 99%",
            "goodput has a lower limit; write goodput >= 99% (== is allowed only in goodput == 100%)",
        ),
        ("ttft_p95_ms > 800", "ttft_p95_ms has an upper limit; write ttft_p95_ms <= 800"),
        (
            "goodput == 1%",
            "goodput has a lower limit; write goodput >= 1% (== is allowed only in goodput == 100%)",
        ),
        ("error_rate == 1%", "error_rate has an upper limit; write error_rate <= 1%"),
        ("ttft_p95_ms == 800", "ttft_p95_ms has an upper limit; write ttft_p95_ms <= 800"),
        ("ttft_p95_ms =< 800", "ttft_p95_ms has an upper limit; write ttft_p95_ms <= 800"),
        ("goodput <= 99%", "goodput has a lower limit; write goodput >= 99%"),
        ("ttft_p95_ms <", "nothing follows <; write for example 800 or 0.5"),
        ("ttft_p95_ms < 8,5", "'8,5' is not a number >= 0; write for example 800 or 0.5"),
        ("ttft_p95_ms < -5", "'-5' is not a number >= 0; write for example 800 or 0.5"),
        ("ttft_p95_ms < 1.2.3", "'1.2.3' is not a number >= 0"),
        ("ttft_p95_ms < 800%", "ttft_p95_ms is not in '%'; use ms, s, m"),
        ("ttft_p95_ms < 1h", "ttft_p95_ms is not in 'h'; use ms, s, m"),
        ("error_rate < 10ms", "error_rate is not in 'ms'; use %"),
        ("error_rate < 5", "error_rate is a share and 5 is over 100%; write 5%"),
        ("goodput >= 99", "goodput is a share and 99 is over 100%; write 99%"),
        ("session_success >= 99", "session_success is a share and 99 is over 100%; write 99%"),
        ("session_success < 99%", "session_success has a lower limit"),
        ("goodput >= 150%", "goodput is a share and 150% is over 100%"),
        ("violations <= 1%", "violations is not in '%'; it is a count"),
        ("violations <= 1.5", "violations are counted; write a whole number"),
        ("violations < 0", "nothing is below 0; write violations <= 0"),
        ("ttft_p95_ms < 0", "nothing is below 0; write ttft_p95_ms <= 0"),
        ("ttft_p95_ms < 1e999", "has no limit: the number is too large"),
    ],
)
def test_an_invalid_expression_is_a_sentence_with_a_marked_position(text, problem):
    with pytest.raises(ExpressionError, match="objective ") as caught:
        parse_expression(text)
    sentence, shown, mark = str(caught.value).split("\n")
    assert problem in sentence
    assert shown == f"    {text}"
    assert set(mark.strip()) == {"^"}
    assert len(mark) <= len(shown) + 1  # just behind it, where something is missing


@all_cases("key", KEYS)
@all_cases("limit", [0, 0.001, 0.07, 1])
def test_an_objective_is_written_as_it_is_read(key, limit):
    objective = Objective.parse(key, 3 * (limit > 0) if key == "violations" else limit)
    assert parse_expression(objective.expression) == objective


@all_cases(
    ("text", "mark"),
    [
        ("ttft_95_ms < 800", "^^^^^^^^^^"),
        ("resume.ttft_95_ms < 800", "       ^^^^^^^^^^"),
        ("ttft_p95_ms > 800", "            ^"),
        ("ttft_p95_ms == 800", "            ^^"),
        ("ttft_p95_ms < 8,5 ms", "              ^^^"),
        ("ttft_p95_ms < 800 h", "                  ^"),
        ("ttft_p95_ms <", "             ^"),
        ("ttft_p95_ms", "           ^"),
        ("ttft_p95_ms < 800 < 900", "              ^^^^^^^^^"),
        ("goodput >= 150%", "           ^^^"),
        ("  <800", "  ^^^^"),
        ("", "^"),
    ],
)
def test_the_mark_stands_under_the_mistake(text, mark):
    with pytest.raises(ExpressionError) as caught:
        parse_expression(text)
    assert str(caught.value).split("\n")[2] == f"    {mark}"


def test_a_hostile_text_stays_on_its_line():
    with pytest.raises(ExpressionError) as caught:
        parse_expression("ttft_p95_ms <\n\x1b[31m\t800")
    lines = str(caught.value).split("\n")
    assert len(lines) == 3
    assert lines[1] == "    ttft_p95_ms <??[31m?800"


def test_a_table_of_limits_is_read_in_all_its_forms():
    table = {
        "ttft_p95_ms": 800,
        "error_rate": "1%",
        "stall_max_ms": "0.5s",
        "goodput": "99%",
        "duration_p99_ms": "2000",
        "fresh.error_rate": 0.02,
        "resume": {"resume_p99_ms": "1.5s", "violations": 0},
        "expressions": ["join.ttft_p50_ms < 1s", "violations == 0"],
    }
    assert limits_of(table) == {
        "ttft_p95_ms": 800.0,
        "error_rate": 0.01,
        "stall_max_ms": 500.0,
        "goodput": 0.99,
        "duration_p99_ms": 2000.0,
        "fresh.error_rate": 0.02,
        "resume.resume_p99_ms": 1500.0,
        "resume.violations": 0.0,
        "join.ttft_p50_ms": 1000.0,
        "violations": 0.0,
    }
    assert limits_of(limits_of(table)) == limits_of(table)
    assert limits_of({"expressions": "error_rate < 1%"}) == {"error_rate": 0.01}


@all_cases(
    ("table", "problem"),
    [
        ({"ttft_p95_ms": 1, "expressions": ["ttft_p95_ms < 2"]}, "objective ttft_p95_ms is set twice"),
        ({"fresh.error_rate": 1, "fresh": {"error_rate": 0}}, "objective fresh.error_rate is set twice"),
        ({"expressions": [3]}, "expressions must be a list of texts"),
        ({"expressions": {"a": "b"}}, "expressions must be a list of texts"),
        ({"ttft_95_ms": 1}, "unknown objective 'ttft_95_ms'; did you mean 'ttft_p95_ms'"),
        (
            {"resume": {"resume_99_ms": 1}},
            "unknown objective 'resume_99_ms'; did you mean 'resume_p99_ms'",
        ),
        ({"error_rate": "1 ms"}, "error_rate is not in 'ms'; use %"),
        ({"goodput": "120%"}, "goodput is a share and 120% is over 100%"),
        ({"ttft_p95_ms": [800]}, "the limit must be a number >= 0"),
        ({"ttft_p95_ms": True}, "the limit must be a number >= 0"),
        ({"ttft_p95_ms": 10**400}, "the limit must be below 1e308"),
        ({"ttft_p95_ms": "9" * 400}, "the limit must be a number >= 0, not inf"),
        (
            {"a": {"b": {"c": {"ttft_p50_ms": 1}}}},
            "objective a.b.c.ttft_p50_ms: a journey name has at most one dot",
        ),
    ],
)
def test_an_invalid_table_is_refused(table, problem):
    with pytest.raises(ValueError, match=r"objective|expressions") as caught:
        limits_of(table)
    assert problem in str(caught.value)
