"""How a failure is explained in the terminal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.config.settings import Settings
from harness.contract.finding import Finding, Location, Verdict
from harness.contract.requirements import find
from harness.contract.verdicts import Check
from harness.suite.terminal_report import LineWriter, explain, write_summary
from tests.contract.exchanges import POST, STREAM, head, in_one_read, scripted, whole_run


def explanation(event: int, reads: int = 1) -> list[str]:
    run = in_one_read(400, reads)
    finding = Finding("ids.unique", Verdict.FAIL, "twice", (Location(run, run.frames[event]),))
    return explain(finding, find("ids.unique"), Settings()).splitlines()


def test_how_to_fix_it_follows_what_happened() -> None:
    assert explanation(3)[1:3] == ["FAIL: twice", f"How to fix it: {find('ids.unique').fix}"]


def test_the_summary_says_how_to_fix_what_failed_and_only_that(capsys: pytest.CaptureFixture[str]) -> None:
    verdicts = {
        "ids.unique": Verdict.FAIL,
        "ids.clock": Verdict.WARN,
        "ids.present": Verdict.INCONCLUSIVE,
        "ids.increasing": Verdict.PASS,
    }
    write_summary(LineWriter(), [Check(find(name), verdict, "so") for name, verdict in verdicts.items()])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "How to fix it" in line] == [
        f"    How to fix it: {find(name).fix}" for name in ("ids.unique", "ids.clock")
    ]
    assert (
        lines[lines.index("fail: ids.unique (MUST): so") + 1]
        == f"    How to fix it: {find('ids.unique').fix}"
    )


def test_all_places_are_named() -> None:
    places = tuple(Location(whole_run(label=f"field {number}"), note=f"note {number}") for number in range(9))
    finding = Finding("conflict.any-field", Verdict.FAIL, "note 0; and 8 more", places)
    text = explain(finding, find("conflict.any-field"), Settings())
    assert all(f"note {number}" in text for number in range(9))
    assert "also field 8: note 8" in text


@pytest.mark.parametrize("event", [3, 200, 399])
def test_the_place_is_shown_and_marked_also_in_a_read_of_hundreds(event: int) -> None:
    lines = explanation(event)
    (here,) = [place for place, line in enumerate(lines) if line.startswith("  > ")]
    assert lines[here].count("id: ") == 1
    assert f"id: {1717000000000 + event * 10}-0" in lines[here]
    assert f"word{event - 1} " in lines[here - 1]
    assert "bytes left out" in " ".join(lines[here - 2 : here + 3])


def test_a_place_in_a_read_of_its_own_is_one_line() -> None:
    lines = explanation(200, reads=400)
    (here,) = [line for line in lines if line.startswith("  > ")]
    assert "2000.0 ms" in here
    assert "word200 " in here
    assert any("word196 " in line for line in lines)
    assert any("word203 " in line for line in lines)
    assert any("more reads" in line for line in lines)


TOKEN = "canary-7f3a9c2e-of-many-letters"


def test_no_part_of_a_token_is_shown_wherever_a_text_is_cut() -> None:
    settings = Settings.model_validate({"target": {"token": TOKEN, "base_url": "http://127.0.0.1:9"}})
    for before in range(0, 260, 8):
        body = b"x" * before + TOKEN.encode() + b"y" * 2500
        answer = scripted(
            (0, head(200, STREAM)), (1, b": " + body + b"\n\n"), request=replace(POST, body=body)
        )
        finding = Finding(
            "ids.unique", Verdict.FAIL, f"it said {TOKEN}", (Location(answer, note=f"as {TOKEN}"),)
        )
        text = explain(finding, find("ids.unique"), settings)
        assert "more bytes" in text or "bytes)" in text
        assert TOKEN[:9] not in text, before
