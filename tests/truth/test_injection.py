"""The short form of the injection, and proof that its own bookkeeping can fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.reference.faults.rare import SpoiltFrame
from harness.results.records import StreamRecord
from tests.cases import all_cases
from tests.truth.injection import KINDS, Found, Reported, compare, inject, right_requirements

LOST = {
    "resume.replay",
    "resume.every-cut",
    "resume.last-event-id",
    "resume.joins",
    "resume.first-reader-kept",
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_spoilt_frame_that_shows_is_found(tmp_path: Path, kind: str) -> None:
    found = inject(tmp_path, kind, one_in=1000, streams=60, seconds=3, tokens=100)
    assert found.holds, found.problem()
    assert found.streams >= 60


def frame(kind: str, **values: object) -> SpoiltFrame:
    default = SpoiltFrame(
        fault=f"{kind}-one-frame-in",
        key="k",
        run_id="r",
        connection=0,
        first=0,
        event=4,
        id="100-4",
        type="token",
        place=5,
    )
    return replace(default, **values)  # type: ignore[arg-type]


def rows(journey: str, *streams: tuple[str, str, int]) -> list[StreamRecord]:
    return [
        StreamRecord(
            journey=journey,
            step=step,
            worker="local",
            intended_ns=number,
            sent_ns=number,
            outcome=outcome,
            events=events,
            idempotency_key="k",
        )
        for number, (step, outcome, events) in enumerate(streams)
    ]


REPLAY = (("original", "done", 9), ("retry", "done", 9))
RESUME = (("cut", "abandoned", 5), ("resumed", "done", 5), ("reread", "done", 10))
JOIN = (("original", "done", 9), ("joined", "done", 10))


@all_cases(
    ("one", "journey", "streams", "right"),
    [
        # The duplicate, or the overtaking frame, must have arrived too.
        (frame("doubles"), "replay", REPLAY, {"ids.unique"}),
        (frame("doubles"), "resume", RESUME, set()),
        (frame("doubles", place=4), "resume", RESUME, {"ids.unique"}),
        (frame("swaps"), "replay", REPLAY, {"ids.increasing"}),
        (frame("swaps"), "resume", RESUME, set()),
        # A lost frame in the middle shows if the reader got further and another stream has the frame.
        (frame("drops"), "replay", REPLAY, LOST),
        (frame("drops"), "replay", REPLAY[:1], set()),
        (frame("drops", connection=1), "replay", REPLAY, LOST),
        (frame("drops", connection=1), "replay", REPLAY[:1], set()),
        (frame("drops"), "replay", (REPLAY[0], ("retry", "in flight", 9)), set()),
        (frame("drops"), "resume", RESUME, LOST),
        (frame("drops", place=6), "resume", RESUME, set()),
        (frame("drops"), "resume", RESUME[:2], set()),
        (frame("drops"), "resume", (("cut", "done", 9), ("resumed", "done", 10)), LOST),
        (frame("drops"), "resume", (("cut", "done", 9),), set()),
        # Cut after its last event, it is read from the first one again; so there is the whole without more.
        (frame("drops"), "resume", (("cut", "abandoned", 9), ("resumed", "done", 10)), LOST),
        (frame("drops", connection=1), "resume", (("cut", "abandoned", 10), ("resumed", "done", 9)), LOST),
        (frame("drops", connection=1, first=1), "resume", (RESUME[0], ("resumed", "done", 9)), set()),
        (frame("drops"), "join", JOIN, LOST),
        (frame("drops"), "join", JOIN[:1], set()),
        (frame("drops"), "join", (JOIN[0], ("joined", "abandoned", 4)), set()),
        (frame("drops"), "join", (JOIN[0], ("joined", "abandoned", 5)), LOST),
        # Any of the joiners may have received the frame.
        (frame("drops", connection=1), "join", (("original", "done", 10), JOIN[1]), LOST),
        (frame("drops", connection=1), "join", (*JOIN, ("joined", "abandoned", 4)), set()),
        # A lost terminal event shows on its own stream, unless that was cut.
        (frame("drops", type="done"), "replay", REPLAY[:1], {"terminal.always"}),
        (frame("drops", type="done"), "resume", RESUME, set()),
    ],
)
def test_frames_that_a_reader_could_notice(
    one: SpoiltFrame, journey: str, streams: Sequence[tuple[str, str, int]], right: set[str]
) -> None:
    assert right_requirements(one, rows(journey, *streams), 10) == right


@pytest.mark.parametrize(
    ("reported", "missed"),
    [
        ([Reported("resume.replay", "event 5 is id 100-5 instead of id 100-4: 1 event lost before it")], 0),
        ([], 1),
        (
            [Reported("resume.replay", "event 6 is id 100-6 instead of id 100-5")],
            1,
        ),  # of another event
        ([Reported("ids.unique", "id '100-4' appears twice in one stream")], 1),  # by the wrong requirement
    ],
)
def test_frames_that_are_not_correctly_reported_are_missed(reported: list[Reported], missed: int) -> None:
    server_report = {"spoilt": [{name: getattr(frame("drops"), name) for name in SpoiltFrame.__slots__}]}
    visible, missing = compare("drops", server_report, rows("replay", *REPLAY), {"k": reported}, 10)
    assert (len(visible), len(missing)) == (1, missed)
    other = {"another": reported}
    assert len(compare("drops", server_report, rows("replay", *REPLAY), other, 10)[1]) == 1


def test_no_visible_frame_or_any_other_problem_is_not_a_success() -> None:
    seen = Found("drops", 10, 1, True, visible=[frame("drops")])
    assert seen.holds
    assert not replace(seen, visible=[]).holds
    assert not replace(seen, adds_up=False).holds
    assert not replace(seen, missed=[(frame("drops"), [], [])]).holds
    wrong = replace(seen, invented=[("other", Reported("ids.unique", "…"))])
    assert not wrong.holds
    assert "invented for other" in wrong.problem()
    assert "run the load for longer" in replace(seen, visible=[]).problem()
