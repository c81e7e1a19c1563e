"""The script that measures `harness ab`: it must count the verdicts, and must be able to fail."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from harness.gate.confidence_intervals import started_log
from harness.gate.paired import BlockValue, LoadBlock
from tests.truth import false_alarms, interleaved
from tests.truth.interleaved import BEGIN, BLOCKS, END, Measured, Trials, lines_of, meets, simulate


def block(ttft_ms: float) -> LoadBlock:
    net = started_log(ttft_ms)
    return LoadBlock({"ttft_p50_ms": BlockValue(ttft_ms, net, net, net)})


def measured(slowdown: float) -> Measured:
    """Rounds on a machine that is slower from round to round, with a noise of 1%."""
    rounds = [
        {
            "target": block(200.0 * (1 + number / 10) * (1 + 0.01 * (number % 3 - 1))),
            "equal": block(200.0 * (1 + number / 10)),
            "slowed": block(200.0 * (1 + number / 10) * (1 + slowdown) * (1 + 0.01 * (number % 2))),
        }
        for number in range(12)
    ]
    return Measured(("ttft_p50_ms",), tuple(rounds), "here")


def test_equal_servers_pass_and_a_slowed_one_is_found() -> None:
    equal, slowed = (simulate(measured(0.05), target, 20) for target in ("target", "slowed"))
    assert equal.outcomes == {"passed": 20}
    assert slowed.outcomes == {"worse": 20}
    assert (slowed.found, slowed.trials) == (20, 20)
    assert meets(equal, slowed)


def test_a_slowdown_that_is_not_there_is_not_found() -> None:
    slowed = simulate(measured(0.0), "slowed", 20)
    assert slowed.found == 0


@pytest.mark.parametrize(
    ("equal", "slowed", "good"),
    [
        (Trials(Counter(passed=95, worse=5), 5, 100, 0), Trials(Counter(worse=90), 90, 100, 0), True),
        (Trials(Counter(passed=94, worse=6), 6, 100, 0), Trials(Counter(worse=100), 100, 100, 0), False),
        (Trials(Counter(passed=100), 0, 100, 0), Trials(Counter(worse=100), 89, 100, 0), False),
    ],
)
def test_both_targets_must_be_met(equal: Trials, slowed: Trials, good: bool) -> None:
    assert meets(equal, slowed) is good
    assert ("This meets" in lines_of(measured(0.05), equal, slowed)[-1]) is good


def test_blocks_are_kept(tmp_path: Path) -> None:
    measured(0.05).write(tmp_path / "blocks.json")
    assert Measured.read(tmp_path / "blocks.json") == measured(0.05)


def test_the_measured_blocks_are_of_a_machine_with_noise() -> None:
    kept = Measured.read(BLOCKS)
    assert len(kept.rounds) >= 20
    assert {"ttft_p50_ms", "ttft_p95_ms", "inter_token_p50_ms", "error_rate", "goodput"} <= set(
        kept.objectives
    )


def test_the_page_has_what_the_script_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "gate.md"
    monkeypatch.setattr(false_alarms, "PAGE", page)
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    monkeypatch.setattr(interleaved.Measured, "read", lambda _: measured(0.05))
    assert interleaved.main(["--trials", "5", "--write"]) == 0
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\nBlocks measured here")
    assert "| TTFT 5% longer | 100.0% | 0.0% | 0.0% | 100.0% |" in text
    assert "old" not in text
