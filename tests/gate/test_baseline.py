import numpy as np
import pytest

from harness.gate import baseline
from harness.gate.baseline import Comparison, compare
from harness.gate.objectives import GateReport, judge, parse_objectives
from harness.results.histogram import Histogram
from harness.results.store import Results, ResultsWriter


@pytest.fixture
def recorded(tmp_path):
    """Makes results files of seeded loads: TTFT around 200 ms times a factor, second by second."""
    opened = []

    def make(seed, factor=1.0, seconds=60, a_second=60, drift=0.02, metric="ttft_ms"):
        rng = np.random.default_rng(seed)
        path = tmp_path / f"{len(opened)}.sqlite"
        with ResultsWriter(path) as writer:
            for second in range(seconds):
                histogram = Histogram()
                middle = 200 * factor * np.exp(rng.normal(0, drift))
                histogram.record_many(middle * np.exp(rng.normal(0, 0.2, a_second)))
                writer.add_histogram(metric, "fresh", 1_000 + second, "w", histogram)
            writer.add_ledger("w", 1_000, "fresh", "scheduled", seconds)
            writer.add_ledger("w", 1_000, "fresh", "done", seconds)
        opened.append(Results(path))
        return opened[-1]

    yield make
    for results in opened:
        results.close()


def p50(results, earlier) -> Comparison:
    return compare(results, earlier, "ttft_p50_ms", "ttft_ms", "p50")


def test_a_file_against_itself_is_the_same(recorded):
    results = recorded(1)
    comparison = p50(results, results)
    assert (comparison.verdict, comparison.difference) == ("same", 0.0)
    assert comparison.low <= 0.0 <= comparison.high
    assert comparison.value == comparison.baseline == pytest.approx(200, rel=0.03)


@pytest.mark.parametrize(("factor", "verdict"), [(1.2, "worse"), (1.1, "worse"), (0.8, "better")])
def test_a_real_difference_is_found(recorded, factor, verdict):
    comparison = p50(recorded(1, factor), recorded(2))
    assert comparison.verdict == verdict
    assert comparison.difference == pytest.approx(factor - 1, abs=0.03)
    assert comparison.low <= comparison.difference <= comparison.high
    assert (comparison.low > 0) is (verdict == "worse")


def test_equal_loads_are_never_better_or_worse(recorded):
    usual = recorded(0)
    verdicts = [p50(recorded(seed), usual).verdict for seed in range(1, 21)]
    assert {"worse", "better"}.isdisjoint(verdicts)
    assert verdicts.count("same") >= 15


def test_a_noisy_server_is_inconclusive_rather_than_guilty(recorded):
    assert p50(recorded(3, drift=0.5), recorded(4, drift=0.5)).verdict == "inconclusive"


def test_seconds_that_hang_together_widen_the_interval(recorded, tmp_path, monkeypatch):
    rng = np.random.default_rng(5)
    with ResultsWriter(tmp_path / "phases.sqlite") as writer:
        for second, middle in enumerate(np.repeat(200 * np.exp(rng.normal(0, 0.1, 12)), 10)):
            histogram = Histogram()
            histogram.record_many(middle * np.exp(rng.normal(0, 0.2, 60)))
            writer.add_histogram("ttft_ms", "fresh", second, "w", histogram)
    steady = recorded(1, drift=0)
    with Results(tmp_path / "phases.sqlite") as phases:
        blocks = p50(phases, steady)
        monkeypatch.setattr(baseline, "BLOCK_S", 1)
        seconds = p50(phases, steady)
    assert blocks.high - blocks.low > 1.4 * (seconds.high - seconds.low)


def test_independent_seconds_do_not_widen_it(recorded, monkeypatch):
    noisy, steady = recorded(1, drift=0.3, seconds=120), recorded(2, drift=0)
    blocks = p50(noisy, steady)
    monkeypatch.setattr(baseline, "BLOCK_S", 1)
    seconds = p50(noisy, steady)
    assert blocks.high - blocks.low < 1.4 * (seconds.high - seconds.low)


def test_a_resample_uses_the_percentile_that_is_shown(tmp_path):
    for name, pair in (("now", [15.0, 80.0]), ("then", [10.0, 20.0])):
        with ResultsWriter(tmp_path / name) as writer:
            for second in range(30):
                histogram = Histogram()
                histogram.record_many(pair)
                writer.add_histogram("ttft_ms", "fresh", second, "w", histogram)
    with Results(tmp_path / "now") as now, Results(tmp_path / "then") as then:
        comparison = p50(now, then)
    assert comparison.difference == pytest.approx(0.5, abs=0.02)
    assert comparison.low == comparison.high == pytest.approx(comparison.difference, abs=0.02)


def test_the_same_files_give_the_same_answer(recorded):
    now, then = recorded(1, 1.05), recorded(2)
    assert p50(now, then) == p50(now, then)


@pytest.mark.parametrize(
    ("now", "then", "word", "detail"),
    [
        ({"metric": "stall_ms"}, {}, "p50", "not measured here"),
        ({}, {"metric": "stall_ms"}, "p50", "not measured in the baseline"),
        ({"seconds": 19}, {}, "p50", "19 s of data are too few: it takes 20 s"),
        ({}, {"seconds": 5}, "p50", "5 s of data are too few: it takes 20 s"),
        ({"a_second": 16}, {}, "p99", "960 values are too few: 10 must lie beyond the percentile"),
        ({}, {"factor": 0.0}, "p50", "the baseline is not above 0"),
        ({}, {}, "max", "a maximum is a single value and has no confidence interval"),
    ],
)
def test_too_little_for_an_answer_is_inconclusive_and_says_why(recorded, now, then, word, detail):
    comparison = compare(recorded(1, **now), recorded(2, **then), f"ttft_{word}_ms", "ttft_ms", word)
    assert (comparison.verdict, comparison.detail) == ("inconclusive", detail)
    assert comparison.low is comparison.high is None


def test_worse_than_the_baseline_misses_a_gate_whose_objectives_hold(recorded):
    objectives = parse_objectives({"ttft_p50_ms": 1_000, "error_rate": 0.01, "ttft_max_ms": 10_000})
    slow, usual, again = recorded(1, 1.3), recorded(2), recorded(3)
    assert judge(slow, objectives).exit_code == 0
    report = judge(slow, objectives, baseline=usual)
    assert [(c.key, c.verdict) for c in report.comparisons] == [
        ("ttft_p50_ms", "worse"),
        ("ttft_max_ms", "inconclusive"),
    ]
    assert (report.outcome, report.exit_code) == ("missed", 1)
    assert judge(again, objectives, baseline=usual).exit_code == 0
    assert judge(usual, objectives, baseline=slow).exit_code == 0


def test_a_comparison_does_not_make_a_test_of_nothing():
    worse = Comparison("ttft_p50_ms", 2.0, 1.0, 1.0, 0.9, 1.1, "worse")
    assert GateReport((), (worse,), tested=False).exit_code == 2
    assert GateReport((), (worse,), tested=True).exit_code == 1
