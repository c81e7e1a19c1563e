from pathlib import Path
from typing import Any

import pytest

from harness.contract.requirements import CATALOGUE
from harness.reports.conformance_section import (
    INLINE,
    LINKS,
    MEANINGS,
    SYMBOLS,
    CheckView,
    Citation,
    ConformanceMatrix,
    matrix,
    source_text,
)
from harness.reports.exchange_index import SHOWN_FIRST, ExchangeGroup, ExchangeIndex, ExchangeLink
from harness.reports.exchange_view import EventRow, SizeBudget, exchange_view
from harness.results.reader import Results
from harness.results.records import VERDICTS, CheckRecord
from harness.results.writer import ResultsWriter

from .samples import document


def _matrix(path: Path, *checks: CheckRecord, budget: SizeBudget | None = None) -> ConformanceMatrix | None:
    with ResultsWriter(path) as writer:
        writer.add_exchange("one", "completed_run", "run", document(6))
        writer.add_exchange("two", "replayed_run", "retry", document(6))
        writer.add_checks(checks)
    with Results(path) as results:
        return matrix(results, ExchangeIndex(results, budget or SizeBudget()))


def _only(path: Path, verdict: str, evidence: list[dict[str, Any]]) -> CheckView:
    row = CheckRecord(
        id="ids.unique", level="MUST", verdict=verdict, detail="detail", duration_s=0.1, evidence=evidence
    )
    made = _matrix(path, row)
    assert made is not None
    return made.areas[0].checks[0]


def test_every_verdict_has_its_own_symbol_and_a_meaning() -> None:
    assert set(SYMBOLS) == set(MEANINGS) == set(VERDICTS)
    assert len(set(SYMBOLS.values())) == len(VERDICTS)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("W", "WHATWG HTML 9.2 (server-sent events)"),
        ("RFC 9110", "RFC 9110"),
        ("W 9.2.3", "WHATWG HTML 9.2 (server-sent events), section 9.2.3"),
        ("D 2.3", "draft-ietf-httpapi-idempotency-key-header, section 2.3"),
        (
            "api, reading 2",
            "the API's documentation; our interpretation 2, where the API's documentation is silent",
        ),
    ],
)
def test_sources_are_written_out(source: str, text: str) -> None:
    assert source_text(source) == text


def test_no_source_of_the_catalogue_stays_abbreviated() -> None:
    texts = {source_text(requirement.source) for requirement in CATALOGUE.values()}
    assert all(len(part) > 7 for text in texts for part in text.split("; "))


def test_no_matrix_without_checks(tmp_path: Path) -> None:
    assert _matrix(tmp_path / "r.sqlite") is None


def test_checks_are_by_area_and_level_in_the_order_of_the_catalogue(tmp_path: Path) -> None:
    made = _matrix(
        tmp_path / "r.sqlite",
        CheckRecord(id="ids.unique", level="MUST", verdict="pass"),
        CheckRecord(id="framing.fields", level="SHOULD", verdict="warn"),
        CheckRecord(id="ids.clock", level="SHOULD", verdict="pass"),
        CheckRecord(id="ids.present", level="MUST", verdict="fail"),
    )
    assert made is not None
    assert [area.name for area in made.areas] == ["framing", "ids"]
    ids = made.areas[1]
    assert [[check.id for check in cell] for cell in ids.cells] == [
        ["ids.present", "ids.unique"],
        ["ids.clock"],
        [],
    ]
    assert ids.tally == "3 requirements: 2 pass, 1 fail"
    assert made.levels == ("MUST", "SHOULD", "INFO")
    assert [(row.verdict, row.count) for row in made.legend] == [("pass", 2), ("fail", 1), ("warn", 1)]
    assert made.unchecked == tuple(
        name for name in CATALOGUE if name not in {"ids.unique", "framing.fields", "ids.clock", "ids.present"}
    )


def test_an_area_without_failures_is_quiet(tmp_path: Path) -> None:
    made = _matrix(
        tmp_path / "r.sqlite",
        CheckRecord(id="ids.unique", level="MUST", verdict="pass"),
        CheckRecord(id="framing.utf8", level="MUST", verdict="inconclusive", duration_s=0.1),
        CheckRecord(id="resume.start", level="INFO", verdict="info"),
    )
    assert made is not None
    assert {area.name: area.quiet for area in made.areas} == {"framing": False, "ids": True, "resume": True}


def test_what_was_not_selected_is_not_called_inconclusive(tmp_path: Path) -> None:
    made = _matrix(
        tmp_path / "r.sqlite",
        CheckRecord(id="ids.unique", level="MUST", verdict="pass"),
        CheckRecord(id="ids.clock", level="SHOULD", verdict="inconclusive", detail="not tested"),
    )
    assert made is not None
    assert made.tally == "1 requirement: 1 pass"
    assert "ids.clock" in made.unchecked


def test_an_id_that_is_not_in_the_catalogue_does_not_become_an_anchor(tmp_path: Path) -> None:
    made = _matrix(tmp_path / "r.sqlite", CheckRecord(id='x"><b>.y', level="MUST", verdict="fail"))
    assert made is not None
    (check,) = made.areas[0].checks
    assert (check.anchor, check.requirement) == ("check-1", "not in this version's catalogue")


def test_a_failure_shows_its_exchange_once_with_every_event_pointed_at(tmp_path: Path) -> None:
    check = _only(
        tmp_path / "r.sqlite",
        "fail",
        [
            {"exchange": "one", "event": 2, "note": "the first"},
            {"exchange": "one", "event": 4, "note": "the second"},
            {"exchange": "two", "event": None, "note": ""},
        ],
    )
    first, second = check.shown
    assert first.note == "event 2: the first; event 4: the second"
    assert first.exchange is not None
    assert [row.index for row in first.exchange.events if isinstance(row, EventRow) and row.pointed_at] == [
        2,
        4,
    ]
    assert second.exchange is not None
    assert (second.note, second.exchange.anchor, second.exchange.label) == ("", "", "retry")
    assert check.links == ()


def test_a_pass_links_to_its_exchange(tmp_path: Path) -> None:
    check = _only(tmp_path / "r.sqlite", "pass", [{"exchange": "two", "event": None, "note": "seen"}])
    assert check.shown == ()
    assert check.links == (ExchangeLink("retry", "exchange-2", "seen"),)


def test_a_missing_exchange_is_reported(tmp_path: Path) -> None:
    check = _only(tmp_path / "r.sqlite", "fail", [{"exchange": "gone", "event": 1, "note": "here"}])
    assert check.shown == (Citation("event 1: here (exchange 'gone' is not in the results file)"),)


def test_a_note_without_an_exchange_is_kept(tmp_path: Path) -> None:
    check = _only(
        tmp_path / "r.sqlite", "inconclusive", [{"exchange": None, "event": None, "note": "too fast to cut"}]
    )
    assert check.shown == (Citation("too fast to cut"),)


def _suite(
    path: Path, exchanges: int, verdict: str, budget: SizeBudget
) -> tuple[CheckView, tuple[ExchangeGroup, ...], int]:
    """A check with many exchanges of one scenario, and one exchange of a second scenario after them.

    Returns the check, the list of exchanges, and how many are not in that list.
    """
    names = [f"x{number}" for number in range(exchanges)]
    with ResultsWriter(path) as writer:
        for name in names:
            writer.add_exchange(name, "every_cut", name, document(6))
        writer.add_exchange("last", "race", "the last", document(6))
        evidence = [{"exchange": name, "event": None, "note": ""} for name in names]
        writer.add_checks([CheckRecord(id="ids.unique", level="MUST", verdict=verdict, evidence=evidence)])
    with Results(path) as results:
        index = ExchangeIndex(results, budget)
        made = matrix(results, index)
        assert made is not None
        return made.areas[0].checks[0], tuple(index.groups()), index.unlisted


def test_a_check_of_many_exchanges_shows_some_links_to_some_and_counts_the_rest(tmp_path: Path) -> None:
    check, _, _ = _suite(tmp_path / "r.sqlite", 40, "fail", SizeBudget())
    assert len(check.shown) == INLINE
    assert [link.label for link in check.links] == [f"x{number}" for number in range(INLINE, INLINE + LINKS)]
    assert check.unlinked == 40 - INLINE - LINKS


def test_a_long_scenario_leaves_space_for_the_next(tmp_path: Path) -> None:
    room = SizeBudget(exchange_view(document(6)).weight * (SHOWN_FIRST + 3))
    _, (long, short), _ = _suite(tmp_path / "r.sqlite", 20, "pass", room)
    assert (long.scenario, short.scenario) == ("every_cut", "race")
    assert [bool(view.withheld) for view in long.exchanges] == [
        place >= SHOWN_FIRST + 2 for place in range(20)
    ]
    assert [bool(view.withheld) for view in short.exchanges] == [False]
    assert long.exchanges[7].label == "x7"


def test_a_failure_gets_space_before_the_list_of_all_exchanges(tmp_path: Path) -> None:
    room = SizeBudget(exchange_view(document(6)).weight * INLINE)
    check, groups, _ = _suite(tmp_path / "r.sqlite", 5, "fail", room)
    assert [citation.exchange.withheld for citation in check.shown if citation.exchange] == [""] * INLINE
    assert all(view.withheld for group in groups for view in group.exchanges)


def test_exchanges_above_the_bound_are_only_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.reports.exchange_index.LISTED", 3)
    check, groups, unlisted = _suite(tmp_path / "r.sqlite", 5, "pass", SizeBudget())
    assert unlisted == 3
    assert [len(group.exchanges) for group in groups] == [3]
    assert [link.anchor for link in check.links] == [
        "exchange-1",
        "exchange-2",
        "exchange-3",
        "",
        "",
    ]
