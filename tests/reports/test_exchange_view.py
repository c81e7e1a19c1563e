from typing import Any

import pytest

from harness.contract.evidence import document as evidence
from harness.contract.finding import Location
from harness.load.stats.violation_evidence import excerpts
from harness.reports.exchange_view import (
    DATA_LIMIT,
    FIRST_ROWS,
    LAST_ROWS,
    EventRow,
    ExchangeView,
    ReadSegment,
    SizeBudget,
    WireRow,
    exchange_view,
    is_exchange,
    pretty,
)
from harness.reports.text import Gap
from tests.contract.exchanges import in_one_read

from .samples import HOSTILE, document


def test_an_exchange_is_shown_with_its_offsets_and_events() -> None:
    view = exchange_view(document(2), anchor="exchange-1", label="run")
    assert view.outcome == "status 200, complete"
    assert view.wire[1] == WireRow(
        "61.2", "62", 'id: 1790000000000-1\\ndata: {"type": "done", "runId": "run-7"}\\n\\n'
    )
    assert view.events[0] == EventRow(
        0, "41.2", "1790000000000-0", '{"type": "token", "content": "Result: 42 0"}', pointed_at=False
    )


def test_the_event_pointed_at_is_marked_and_kept_with_its_neighbours() -> None:
    view = exchange_view(document(500), pointed_at=frozenset({250}))
    indexes = [row.index for row in view.events if isinstance(row, EventRow)]
    assert indexes == [*range(FIRST_ROWS), *range(248, 253), *range(500 - LAST_ROWS, 500)]
    assert [row.index for row in view.events if isinstance(row, EventRow) and row.pointed_at] == [250]
    assert [row.index for row in view.pointed_at] == [250]
    assert [row for row in view.events if isinstance(row, Gap)] == [Gap(248 - FIRST_ROWS), Gap(227)]


def test_rows_omitted_by_the_recorder_are_counted() -> None:
    recorded = document(4, note="here")
    recorded |= {
        "events_left_out": 96,
        "wire_left_out": 10,
        "pointed_at": [{"event": 99, "note": "the terminal event"}],
    }
    for row, index in zip(recorded["events"], (0, 1, 98, 99), strict=True):
        row["index"] = index
    view = exchange_view(recorded)
    assert [row if isinstance(row, Gap) else row.index for row in view.events] == [0, 1, Gap(96), 98, 99]
    assert view.events[-1].pointed_at
    assert view.wire[2] == Gap(10)
    assert view.notes == ("event 99: the terminal event",)


def test_a_servers_text_is_made_visible_and_bounded() -> None:
    recorded = document(1)
    recorded["events"] = [{"at_ms": 1, "id": "\u202e1", "data": "\x00" * 5000}]
    recorded["ending_detail"] = HOSTILE
    view = exchange_view(recorded)
    (event,) = view.events
    assert isinstance(event, EventRow)
    assert event.id == "\\u202e1"
    assert event.data == "\\x00" * (DATA_LIMIT // 4) + "… (19,500 more characters omitted)"
    assert "\\x1b[31m\\u202egnp" in view.outcome


def test_an_empty_document_is_a_view() -> None:
    view = exchange_view({})
    assert view == ExchangeView(
        anchor="", label="exchange", outcome="no response", started_at="", curl="", head=""
    )


def test_a_document_of_wrong_types_is_a_view() -> None:
    wrong: dict[str, Any] = {
        "wire": "none", "events": [3, {"at_ms": True, "id": 7, "data": None}], "curl": ["x"], "status": "200",
        "pointed_at": {"event": 1}, "events_left_out": "many", "head": None,
    }  # fmt: skip
    view = exchange_view(wrong)
    assert view.events == (EventRow(0, "\u2013", "7", "\u2013"),)
    assert view.curl == "['x']"
    assert view.wire == ()


def test_evidence_beyond_the_budget_is_listed_without_content() -> None:
    view = exchange_view(document(10))
    budget = SizeBudget(int(view.weight * 1.5))
    assert budget.truncate(view) == view
    withheld = budget.truncate(view)
    assert (withheld.curl, withheld.wire, withheld.events) == ("", (), ())
    assert withheld.withheld == "Omitted to limit the size of this page; the results file has it."
    assert (withheld.label, withheld.outcome) == (view.label, view.outcome)


def test_the_weight_is_about_the_size_on_the_page() -> None:
    light, heavy = (exchange_view(document(events)).weight for events in (1, 41))
    assert 40 * 150 < heavy - light < 40 * 500


def test_what_is_an_exchange() -> None:
    assert is_exchange({"curl": ""})
    assert not is_exchange({"ids": [1]})
    assert not is_exchange("wire")


def test_other_evidence_is_bounded_json() -> None:
    assert pretty({"id": "1-9"}) == '{\n  "id": "1-9"\n}'
    assert pretty("x" * 5000).endswith("… (2,002 more characters omitted)")


@pytest.mark.parametrize("under_load", [False, True])
@pytest.mark.parametrize("event", [3, 200, 399])
def test_an_event_in_a_read_of_hundreds_is_marked_in_its_surroundings(event: int, under_load: bool) -> None:
    """A conformance check has the recorded exchange, an example from the load only an excerpt."""
    recorded_run = in_one_read(400)
    if under_load:
        (recorded,) = excerpts([Location(recorded_run, recorded_run.frames[event])], "http://h", ())
        view = exchange_view(recorded)
    else:
        view = exchange_view(
            evidence.document(recorded_run, base_url="http://h"), pointed_at=frozenset({event})
        )
    assert [row.index for row in view.pointed_at] == [event]
    indexes = [row.index for row in view.events if isinstance(row, EventRow)]
    assert set(range(event - 2, min(event + 3, 400))) <= set(indexes)
    (read,) = view.wire
    assert isinstance(read, WireRow)
    parts = [part for part in read.parts if isinstance(part, ReadSegment)]
    (here,) = [part.text for part in parts if part.here]
    assert here.count("id: ") == 1
    assert recorded_run.frames[event].frame.id in here
    place = [part.here for part in parts].index(True)
    shown = "".join(part.text for part in parts[:place]), "".join(part.text for part in parts[place + 1 :])
    for near, text in ((event - 1, shown[0]), (event + 1, shown[1])):
        if near < 400:
            assert (recorded_run.frames[near].frame.id or "?") in text
    left_out = [part.left_out for part in read.parts if isinstance(part, Gap)]
    assert len(left_out) == (2 if event == 200 else 1)
    shown_bytes = sum(left_out) + len("".join(part.text for part in parts).encode().decode("unicode_escape"))
    assert shown_bytes == recorded_run.size_bytes
    assert len(read.text) < 2600


def test_reads_with_an_event_in_question_are_kept_with_their_neighbours() -> None:
    recorded_run = in_one_read(400, reads=400)
    for recorded in (
        evidence.document(recorded_run, base_url="http://h"),
        evidence.excerpt(recorded_run, base_url="http://h", pointed_at={200}),
    ):
        view = exchange_view(recorded, pointed_at=frozenset({200}))
        marked = [row for row in view.wire if isinstance(row, WireRow) and row.parts]
        assert [[part.here for part in row.parts if isinstance(part, ReadSegment)] for row in marked] == [
            [True]
        ]
        assert "word200 " in marked[0].text
        place = view.wire.index(marked[0])
        near = [view.wire[place + step] for step in (-2, -1, 1, 2)]
        assert [isinstance(row, WireRow) for row in near] == [True] * 4
        assert isinstance(view.wire[place - 3], Gap)
