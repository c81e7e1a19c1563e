import math
from statistics import fmean, stdev

import numpy as np
import pytest

from harness.gate.comparison import Comparison, compare, compare_shares
from harness.gate.confidence_intervals import (
    BUCKET_SD,
    STARTED_MS,
    least_sd_of_share,
    percentile_estimate,
    started_log,
    t_quantile,
)
from harness.gate.equivalence import Effects
from harness.gate.evaluate import evaluate
from harness.gate.noise import ASSUMED_RUN_SD, assumed_run_sd
from harness.gate.objective import parse_objectives
from harness.gate.report import ComparisonTerms, GateReport
from harness.results.histogram import Histogram
from harness.results.measurement_error import net_bounds
from harness.results.reader import Results
from harness.results.writer import ResultsWriter


@pytest.fixture
def recorded(tmp_path):
    """Writes results files of seeded loads: TTFT around 200 ms times a factor, by second."""
    opened = []

    def make(
        seed, factor=1.0, seconds=60, a_second=60, drift=0.01, metric="ttft_ms", spread=0.2, journey="fresh"
    ):
        rng = np.random.default_rng(seed)
        path = tmp_path / f"{len(opened)}.sqlite"
        with ResultsWriter(path) as writer:
            for second in range(seconds):
                histogram = Histogram()
                middle = 200 * factor * np.exp(rng.normal(0, drift))
                histogram.record_many(middle * np.exp(rng.normal(0, spread, a_second)))
                writer.add_histogram(metric, journey, 1_000 + second, "w", histogram)
            writer.add_ledger("w", 1_000, journey, "scheduled", seconds)
            writer.add_ledger("w", 1_000, journey, "done", seconds)
        opened.append(Results(path))
        return opened[-1]

    yield make
    for results in opened:
        results.close()


def p50(results, earlier, **options) -> Comparison:
    return compare(results, earlier, "ttft_p50_ms", "ttft_ms", "p50", **options)


def shown(difference, baseline_ms):
    """A difference on the scale of noise, as a share of the baseline."""
    return math.expm1(difference) * (baseline_ms + STARTED_MS) / baseline_ms


def steady(recorded, *factors):
    """Files in each of which all values are equal."""
    return [recorded(1, factor, seconds=3, drift=0, spread=0) for factor in factors]


@pytest.mark.parametrize(("factor", "verdict"), [(1.2, "worse"), (1.1, "worse"), (0.8, "better")])
def test_a_real_difference_between_two_files_is_found(recorded, factor, verdict):
    comparison = p50(recorded(1, factor), recorded(2))
    assert comparison.verdict == verdict
    assert comparison.difference == pytest.approx(factor - 1, abs=0.03)
    assert comparison.low < comparison.difference < comparison.high
    assert (comparison.low > 0) is (verdict == "worse")
    assert comparison.runs == (1, 1)
    assert (
        comparison.detail
        == "too few tests to estimate how much they vary: a standard deviation of 2.0% is assumed"
    )
    assert not comparison.repeats_may_tell


def test_a_file_against_itself_shows_no_difference_with_an_assumed_spread(recorded):
    results = recorded(1)
    comparison = p50(results, results)
    assert comparison.difference == 0.0
    assert comparison.value == comparison.baseline == pytest.approx(200, rel=0.03)
    # However steady the file: two runs may differ by so much.
    assert comparison.high >= 1.96 * math.sqrt(2) * ASSUMED_RUN_SD
    assert -comparison.low == pytest.approx(comparison.high, rel=0.1)


def test_the_variance_of_blocks_adds_to_the_assumed_variance(recorded):
    now, then = recorded(1, drift=0.1), recorded(2, drift=0.1)
    estimates = [percentile_estimate(file, "ttft_ms", 50) for file in (now, then)]
    found = p50(now, then)
    error = math.sqrt(sum(one.sd**2 + assumed_run_sd("ttft_ms", found.baseline) ** 2 for one in estimates))
    low, high = (started_log(found.baseline * (1 + end)) for end in (found.low, found.high))
    assert 2 * 1.96 * error < high - low < 2 * t_quantile(0.975, 3) * error


def test_repeats_that_agree_are_the_same(recorded):
    now = [recorded(seed) for seed in (1, 2, 3, 4)]
    then = [recorded(seed) for seed in (5, 6, 7, 8)]
    comparison = p50(now, then)
    assert (comparison.verdict, comparison.runs, comparison.detail) == ("same", (4, 4), "")
    assert -0.05 < comparison.low < comparison.difference < comparison.high < 0.05


def test_with_repeats_the_interval_is_students(recorded):
    factors = ((1.0, 1.04, 1.1), (0.9, 0.97, 0.99, 1.02))
    now, then = (steady(recorded, *side) for side in factors)
    comparison = p50(now, then)
    logs = [[started_log(file.histogram("ttft_ms").percentile(50)) for file in side] for side in (now, then)]
    pooled = math.sqrt((2 * stdev(logs[0]) ** 2 + 3 * stdev(logs[1]) ** 2) / 5)
    margin = 2.570582 * pooled * math.sqrt(1 / 3 + 1 / 4)
    difference = fmean(logs[0]) - fmean(logs[1])
    before = math.exp(fmean(logs[1]))
    assert comparison.baseline == pytest.approx(before - STARTED_MS)
    for end, moved in (("difference", 0.0), ("low", -margin), ("high", margin)):
        change = before * math.expm1(difference + moved) / comparison.baseline
        assert getattr(comparison, end) == pytest.approx(change), end


def test_a_higher_confidence_widens_it(recorded):
    now, then = steady(recorded, 1.0, 1.02, 1.04), steady(recorded, 1.0, 1.01, 1.03)
    usual, wide = p50(now, then), p50(now, then, confidence=0.99)
    assert wide.low < usual.low < usual.high < wide.high
    ratio = math.log1p(wide.high - wide.difference) / math.log1p(usual.high - usual.difference)
    assert ratio == pytest.approx(t_quantile(0.995, 4) / t_quantile(0.975, 4), rel=0.02)


def test_one_run_against_a_baseline_that_differs_among_itself_proves_nothing(recorded):
    then = steady(recorded, 0.9, 0.95, 1.0, 1.05, 1.1)
    assert p50(steady(recorded, 1.15), then).verdict == "inconclusive"
    assert p50(steady(recorded, 1.15), then).repeats_may_tell
    assert p50(steady(recorded, 1.5), then).verdict == "worse"
    calm = steady(recorded, 0.99, 1.0, 1.0, 1.0, 1.01)
    assert p50(steady(recorded, 1.15), calm).verdict == "worse"


def test_repeats_that_agree_by_chance_are_not_believed_beyond_their_own_noise(recorded):
    """Noisy files with equal percentiles: the blocks determine the uncertainty."""
    noisy = recorded(3, drift=0.3, a_second=20)
    comparison = p50([noisy, noisy], [noisy, noisy])
    sd = percentile_estimate(noisy, "ttft_ms", 50).sd
    assert comparison.difference == 0
    assert comparison.high == pytest.approx(shown(t_quantile(0.975, 2) * sd, comparison.baseline))


def test_no_interval_is_narrower_than_the_histogram_or_the_count_resolves(recorded, tallied):
    alike = steady(recorded, 1.0, 1.0, 1.0, 1.0)
    found = p50(alike[:2], alike[2:])
    assert found.high == pytest.approx(shown(t_quantile(0.975, 2) * BUCKET_SD, found.baseline))
    few_failed = [tallied(1, seconds=5) for _ in range(4)]
    found = compare_shares(few_failed[:2], few_failed[2:], "error_rate", "error_rate")
    assert found.high == -found.low == pytest.approx(t_quantile(0.975, 2) * least_sd_of_share(0.01, 500))
    assert 0.01 < found.high < 0.03


def test_no_failure_in_either_test_is_the_same_within_what_could_go_unseen(tallied):
    none = [tallied(0, seconds=5) for _ in range(2)]
    found = compare_shares(none[0], none[1], "error_rate", "error_rate")
    assert (found.verdict, found.difference) == ("same", 0.0)
    assert found.high == -found.low == pytest.approx(1 - 0.025 ** (1 / 500))  # exact, for none of 500
    assert compare_shares(none[0], tallied(50, seconds=5), "error_rate", "error_rate").verdict != "same"


def test_a_noisy_server_is_inconclusive_rather_than_guilty(recorded):
    comparison = p50(recorded(3, drift=1.0), recorded(4, drift=1.0))
    assert (comparison.verdict, comparison.repeats_may_tell) == ("inconclusive", True)


def test_equal_servers_are_hardly_ever_worse(recorded):
    rng = np.random.default_rng(9)
    pool = [recorded(seed, math.exp(rng.normal(0, 0.03)), seconds=6) for seed in range(40)]
    verdicts = []
    for _ in range(50):
        chosen = [pool[place] for place in rng.permutation(40)[:12]]
        verdicts.append(p50(chosen[:3], chosen[3:]).verdict)
    assert verdicts.count("worse") <= 3


def test_the_smallest_effect_is_of_both_kinds(recorded):
    slow, usual = steady(recorded, 1.03, 1.03), steady(recorded, 1.0, 1.0)
    assert p50(slow, usual).verdict == "same"
    assert p50(slow, usual, effects=Effects(relative=0.02)).verdict == "worse"
    assert p50(slow, usual, effects=Effects(relative=0.02, ms=20)).verdict == "same"
    assert p50(usual, slow, effects=Effects(relative=0.02)).verdict == "better"
    assert p50(slow, usual, effects=Effects(ms=20)).smallest_effect == pytest.approx(0.1, rel=0.01)
    # 20% of 0.2 ms are not worth failing for.
    assert p50(steady(recorded, 0.0012, 0.0012), steady(recorded, 0.001, 0.001)).verdict == "same"


def test_the_same_files_give_the_same_answer(recorded):
    now, then = recorded(1, 1.05), recorded(2)
    assert p50(now, then) == p50(now, then)


def test_a_comparison_may_be_of_one_journey(recorded):
    now, then = recorded(1, 1.2, journey="resume"), recorded(2, journey="resume")
    assert p50(now, then, journey="resume").verdict == "worse"
    assert p50(now, then, journey="fresh").detail == "not measured here"


@pytest.mark.parametrize(
    ("now", "then", "word", "detail", "tell"),
    [
        ({"metric": "stall_ms"}, {}, "p50", "not measured here", False),
        ({}, {"metric": "stall_ms"}, "p50", "not measured in the baseline", False),
        ({"seconds": 15}, {}, "p50", "too few seconds of data (15): at least 16 are needed", True),
        ({}, {"seconds": 5}, "p50", "too few seconds of data (5): at least 16 are needed", True),
        (
            {"a_second": 16},
            {},
            "p99",
            "too few values (960): at least 10 must lie beyond the percentile",
            True,
        ),
        ({}, {}, "max", "a maximum is a single value and has no confidence interval", False),
    ],
)
def test_too_little_data_is_inconclusive_with_a_reason(recorded, now, then, word, detail, tell):
    comparison = compare(recorded(1, **now), recorded(2, **then), f"ttft_{word}_ms", "ttft_ms", word)
    assert (comparison.verdict, comparison.detail) == ("inconclusive", detail)
    assert comparison.low is comparison.high is None
    assert comparison.repeats_may_tell is tell


def test_repeats_need_enough_values(recorded):
    short = [recorded(seed, seconds=3) for seed in (1, 2, 3, 4)]
    assert p50(short[:2], short[2:]).low is not None
    tail = compare(short[:2], short[2:], "ttft_p99_ms", "ttft_ms", "p99")
    assert tail.detail == "too few values in a file (180): at least 3 must lie beyond the percentile"
    other = recorded(5, metric="stall_ms")
    assert p50(short[:2], [short[2], other]).detail == "not measured in the baseline in 1 of 2 files"
    assert p50(short[0], []).detail == "no baseline"


@pytest.fixture
def tallied(tmp_path):
    opened = []

    def make(failed, judged=100, seconds=30, words=("failed", "judged")):
        with ResultsWriter(tmp_path / f"t{len(opened)}.sqlite") as writer:
            for second in range(seconds):
                writer.add_rate_counts("w", second, "fresh", words[0], failed)
                writer.add_rate_counts("w", second, "fresh", words[1], judged)
        opened.append(Results(writer.path))
        return opened[-1]

    yield make
    for results in opened:
        results.close()


def test_more_errors_are_worse_and_fewer_better(tallied):
    few, many = tallied(1), tallied(5)
    worse = compare_shares(many, few, "error_rate", "error_rate")
    assert (worse.verdict, worse.relative, worse.smallest_effect) == ("worse", False, 0.005)
    assert worse.difference == pytest.approx(0.04)
    assert 0.02 < worse.low < 0.04 < worse.high < 0.06
    assert compare_shares(few, many, "error_rate", "error_rate").verdict == "better"
    fewer = tallied(5, seconds=17)
    assert (
        compare_shares(fewer, fewer, "error_rate", "error_rate").verdict == "inconclusive"
    )  # 1,700 streams are few
    assert compare_shares([few] * 4, [few] * 4, "error_rate", "error_rate").verdict == "same"


def test_less_goodput_is_worse(tallied):
    words = ("good", "runs")
    good, bad = tallied(99, words=words), tallied(90, words=words)
    worse = compare_shares(bad, good, "goodput", "goodput")
    assert (worse.verdict, round(worse.difference, 6)) == ("worse", -0.09)
    assert worse.low < worse.difference < worse.high < 0
    assert compare_shares(good, bad, "goodput", "goodput").verdict == "better"
    assert compare_shares(good, tallied(0), "goodput", "goodput").detail == "not measured in the baseline"


def test_worse_than_the_baseline_misses_a_gate_whose_objectives_hold(recorded):
    objectives = parse_objectives({"ttft_p50_ms": 1_000, "violations": 0, "ttft_max_ms": 10_000})
    slow, usual, again = recorded(1, 1.3), recorded(2), recorded(3)
    assert evaluate(slow, objectives).exit_code == 0
    report = evaluate(slow, objectives, baseline=usual)
    assert [(c.key, c.verdict) for c in report.comparisons] == [
        ("ttft_p50_ms", "worse"),
        ("ttft_max_ms", "inconclusive"),
    ]
    assert (report.outcome, report.exit_code, report.repeats_may_decide) == ("failed", 1, False)
    assert evaluate(again, objectives, baseline=usual).exit_code == 0
    assert evaluate(usual, objectives, baseline=[slow]).exit_code == 0


def test_repeats_are_pooled_and_each_is_checked_against_the_objectives(recorded):
    objectives = parse_objectives({"ttft_p50_ms": 250})
    then = [recorded(seed) for seed in (1, 2, 3)]
    now, repeat, slow = recorded(4), recorded(5), recorded(6, 1.5)
    report = evaluate(now, objectives, then, repeats=[repeat])
    assert report.comparisons[0].runs == (2, 3)
    assert [row.name for row in report.rows] == ["ttft_p50_ms", "ledger"]
    report = evaluate(now, objectives, then, repeats=[repeat, slow])
    assert [(row.name, row.verdict) for row in report.rows] == [
        ("ttft_p50_ms", "passed"),
        ("ledger", "passed"),
        ("repeat 2: ttft_p50_ms", "failed"),
    ]
    assert report.exit_code == 1


def test_more_comparisons_and_looks_ask_for_more_confidence(recorded):
    assert ComparisonTerms().confidence(1) == ComparisonTerms().confidence(2) == 0.95
    assert ComparisonTerms().confidence(4) == pytest.approx(0.975)
    assert ComparisonTerms(looks=5).confidence(4) == pytest.approx(0.995)
    assert ComparisonTerms().confidence(0) == 0.95
    objectives = parse_objectives(
        {"ttft_p50_ms": 1e3, "ttft_p95_ms": 1e3, "ttft_max_ms": 1e4, "violations": 0}
    )
    report = evaluate(recorded(1), objectives, recorded(2), terms=ComparisonTerms(looks=3))
    assert report.confidence == pytest.approx(1 - 0.1 / 6)
    assert [one.key for one in report.comparisons] == ["ttft_p50_ms", "ttft_p95_ms", "ttft_max_ms"]


def test_a_comparison_without_any_interval_is_inconclusive(recorded):
    objectives = parse_objectives({"ttft_p99_ms": 1_000})
    short, other = recorded(1, seconds=5), recorded(2, seconds=5)
    report = evaluate(short, objectives, other)
    assert (report.outcome, report.exit_code, report.repeats_may_decide) == ("inconclusive", 1, True)
    assert evaluate(short, objectives).exit_code == 0
    assert report.may_join_baseline  # which otherwise would never get as many as it takes
    missed = evaluate(short, parse_objectives({"ttft_p99_ms": 1}), other)
    assert not missed.may_join_baseline
    elsewhere = evaluate(short, parse_objectives({"resume_p99_ms": 1}), other)
    assert not elsewhere.may_join_baseline


def test_noise_may_pass_unless_none_may_be_left(recorded):
    objectives = parse_objectives({"ttft_p50_ms": 1_000})
    now, then = recorded(3, drift=1.0), recorded(4, drift=1.0)
    report = evaluate(now, objectives, then)
    assert (report.comparisons[0].verdict, report.outcome, report.repeats_may_decide) == (
        "inconclusive",
        "passed",
        True,
    )
    strict = evaluate(now, objectives, then, terms=ComparisonTerms(inconclusive_fails=True))
    assert (strict.outcome, strict.exit_code) == ("inconclusive", 1)
    now, then = recorded(1), recorded(2)
    report = evaluate(now, objectives, then)
    assert (report.comparisons[0].verdict, report.outcome, report.repeats_may_decide) == (
        "same",
        "passed",
        True,
    )
    assert "a smaller one may be noise" in report.comparisons[0].detail
    strict = evaluate(now, objectives, then, terms=ComparisonTerms(inconclusive_fails=True))
    assert (strict.outcome, strict.exit_code) == ("inconclusive", 1)


def test_violations_cannot_be_compared_which_is_noted(recorded):
    report = evaluate(recorded(1), parse_objectives({"violations": 0}), recorded(2))
    assert report.comparisons == ()
    assert report.notes == ("nothing can be compared with the baseline: only a load has latencies and rates",)


def test_a_comparison_does_not_make_a_test_of_nothing():
    worse = Comparison("ttft_p50_ms", 2.0, 1.0, 1.0, 0.9, 1.1, "worse")
    assert GateReport((), (worse,), tested=False).exit_code == 2
    assert GateReport((), (worse,), tested=True).exit_code == 1


@pytest.fixture
def delayed(tmp_path):
    """Writes results files of an open loop: TTFT without each stream's lag, and how long its connection took."""
    opened = []

    def make(seed, factor=1.0, spread=0.2, connect_ms=1.0, late_connects=0.1, service=False):
        rng = np.random.default_rng(seed)
        with ResultsWriter(tmp_path / f"delayed-{len(opened)}.sqlite") as writer:
            writer.set_manifest(receive_stamp="kernel")
            for second in range(20):
                net = 40 * factor * np.exp(rng.normal(0, spread, 10))
                connects = np.where(rng.random(10) < late_connects, connect_ms, 0.1)
                measured = {"ttft_ms": net + 0.5, "net_ttft_ms": net, "connect_ms": connects}
                if service:
                    measured["service_ttft_ms"] = net - connects
                for metric, values in measured.items():
                    histogram = Histogram()
                    histogram.record_many(values)
                    writer.add_histogram(metric, "fresh", 1_000 + second, "w", histogram)
        opened.append(Results(writer.path))
        return opened[-1]

    yield make
    for results in opened:
        results.close()


OWN_DELAYS = "the harness's own delays may be the reason for the change"


@pytest.mark.parametrize("seed", range(4))
def test_an_unchanged_latency_is_the_same_where_its_whole_range_excludes_a_factor(delayed, seed):
    """Delays of a few connections, at most 5 ms of 40 ms, hide no change by the factor 1.5."""
    comparison = p50(delayed(seed, connect_ms=5.0, late_connects=0.6), delayed(seed + 10))
    assert comparison.verdict == "same", comparison
    assert "smaller than the smallest effect of 5 ms" in comparison.detail
    assert comparison.high - comparison.low > 0.2


def test_delays_that_could_hide_a_large_change_leave_it_inconclusive(delayed):
    comparison = p50(delayed(1, connect_ms=25.0, late_connects=1.0), delayed(2))
    assert (comparison.verdict, comparison.detail.partition(";")[0]) == ("inconclusive", OWN_DELAYS)


@pytest.mark.parametrize(("factor", "spread"), [(1.25, 0.2), (1.15, 0.01)])
def test_a_change_that_only_the_harness_may_explain_is_not_the_same(delayed, factor, spread):
    """More than the smallest effect and significant: not noise, and not certainly of the server."""
    comparison = p50(delayed(3, factor, spread, 8.0, 1.0), delayed(4, spread=spread), confidence=0.8)
    assert (comparison.verdict, comparison.detail.partition(";")[0]) == ("inconclusive", OWN_DELAYS)


@pytest.mark.parametrize("seed", range(4))
def test_a_slowdown_is_never_the_same_however_the_harness_is_delayed(delayed, seed):
    slow = delayed(seed, (40 + 150) / 40, connect_ms=25.0, late_connects=1.0)
    assert p50(slow, delayed(seed + 20, connect_ms=25.0, late_connects=1.0)).verdict == "worse"


def test_what_is_known_of_each_stream_limits_the_error_of_the_median(delayed):
    """Which connections were slow is known through the service TTFT: the tail of all of them does not matter."""
    known = net_bounds(delayed(5, connect_ms=20.0, late_connects=0.3, service=True), "ttft_ms", 50)
    unknown = net_bounds(delayed(5, connect_ms=20.0, late_connects=0.3), "ttft_ms", 50)
    assert known.high == unknown.high
    assert known.high - known.low < 0.8 * (unknown.high - unknown.low)


def test_an_interval_that_excludes_nothing_is_none(recorded):
    """Each second has a level of its own: the median of a resample can be any of them."""
    rough = [recorded(seed, factor=100, seconds=20, drift=8.0) for seed in (1, 2)]
    comparison = p50(*rough)
    assert (comparison.verdict, comparison.low, comparison.high) == ("inconclusive", None, None)
    assert "not even a change by a factor of 10 is excluded" in comparison.detail
    assert comparison.repeats_may_tell
