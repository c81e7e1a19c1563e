"""The script that measures the gate: it must count the verdicts, and must be able to fail."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from harness.gate.objective import parse_objectives
from harness.results.reader import Results
from tests.truth import false_alarms
from tests.truth.false_alarms import BEGIN, END, OBJECTIVES, Plan, Server, Tally, decide, holds, trial

STEADY = Server(drift=0.0, shift=0.0, spread=0.01, tail=0.0, failing=0.0)


def tally(**verdicts: int) -> Tally:
    return Tally(Counter(verdicts), Counter(), sum(verdicts.values()), sum(verdicts.values()))


def test_a_steady_server_is_never_worse_than_itself_and_always_than_its_slowed_self() -> None:
    tallies = trial(Plan("", 20, 3, 1), 1, STEADY)
    assert [dict(tally.verdicts) for tally in tallies.values()][1:] == [{"worse": 1}] * 3
    assert tallies[0.0].verdicts["worse"] == 0
    assert tallies[0.0].objectives["ttft_p95_ms", "same"] == 1
    assert tallies[0.20].objectives["ttft_p95_ms", "worse"] == 1
    assert tallies[0.20].objectives["error_rate", "worse"] == 0


def test_a_trial_is_the_same_again() -> None:
    plan = Plan("", 20, 3, 1)
    first, second = (trial(plan, 7, Server()) for _ in range(2))
    assert {slow: tally.objectives for slow, tally in first.items()} == {
        slow: tally.objectives for slow, tally in second.items()
    }


def test_the_simulated_server_has_the_documented_properties(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    STEADY.write(tmp_path / "as-it-is", rng, 60, 0.0)
    STEADY.write(tmp_path / "slowed", rng, 60, 0.10)
    Server(failing=0.5).write(tmp_path / "failing", rng, 60, 0.0)
    with Results(tmp_path / "as-it-is") as usual, Results(tmp_path / "slowed") as slowed:
        medians = [file.histogram("ttft_ms").percentile(50) or 0.0 for file in (usual, slowed)]
        assert medians[0] == pytest.approx(200, rel=0.01)
        assert medians[1] == pytest.approx(220, rel=0.01)
        assert usual.histogram("ttft_ms").count == usual.ledger().scheduled == pytest.approx(1200, rel=0.1)
        assert usual.ledger().adds_up
    with Results(tmp_path / "failing") as failing:
        assert failing.rate_counts().failed / failing.rate_counts().judged == pytest.approx(0.5, abs=0.05)


def test_repeats_are_used_until_the_result_is_decided(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    objectives = parse_objectives(OBJECTIVES)
    opened = []
    for number in range(6):
        STEADY.write(tmp_path / str(number), rng, 20, 0.3 if number > 3 else 0.0)
        opened.append(Results(tmp_path / str(number)))
    assert decide(opened[4:], opened[:3], objectives, 1)[1] == 1
    for results in opened:
        results.close()


@pytest.mark.parametrize(
    ("same", "slowed", "good"),
    [
        (tally(same=95, worse=5), tally(worse=90, inconclusive=10), True),
        (tally(same=94, worse=6), tally(worse=100), False),
        (tally(same=100), tally(worse=89, inconclusive=11), False),
    ],
)
def test_both_targets_must_be_met(same: Tally, slowed: Tally, good: bool) -> None:
    assert holds({0.0: same, 0.10: slowed}) is good


def test_a_gate_that_calls_everything_worse_does_not_meet_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.gate.comparison.verdict_of", lambda *_: "worse")
    tallies = trial(Plan("", 20, 3, 0), 1, STEADY)
    assert not holds(tallies)


def test_simulated_tallies_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, keep = Plan("p", 20, 3, 0), tmp_path / "kept.json"
    found = {0.1: tally(worse=2, same=1)}
    found[0.1].objectives["ttft_p95_ms", "worse"] = 2
    monkeypatch.setattr(false_alarms, "simulate", lambda *_: found)
    assert false_alarms.simulated(plan, 3, 1, keep) == found
    monkeypatch.setattr(false_alarms, "simulate", None)
    assert false_alarms.simulated(plan, 3, 1, keep) == found


def test_a_table_has_shares_of_all_trials() -> None:
    lines = false_alarms.table([("p", 0.1, tally(worse=3, inconclusive=1))])
    assert lines[2] == "| p | 10% | 75.0% | 25.0% | 0.0% | 0.0% | 1.0 |"


def test_the_tables_go_between_the_markers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "gate.md"
    monkeypatch.setattr(false_alarms, "PAGE", page)
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    false_alarms.write(["new", "lines"])
    assert page.read_text() == f"before\n{BEGIN}\nnew\nlines\n{END}\nafter\n"
    page.write_text("no markers")
    with pytest.raises(ValueError, match="lacks the lines"):
        false_alarms.write(["new"])
