"""The faults that spoil one frame in many: what they send, and which frames they list as spoilt."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from harness.contract.requirements import CATALOGUE
from harness.reference.faults import RARE_FAULTS, SPOILT_FRAMES_PATH, faulty_api
from harness.reference.faults.base import FAULTS
from tests.reference.support import Answer, Client, action, ask, body

FIVE = body(action("echo", text="one two three four five"))
"""A run of five tokens and a done."""


async def spoilt_report(client: Client) -> dict[str, Any]:
    async with client.session.get(client.server.base_url + SPOILT_FRAMES_PATH) as answer:
        assert answer.status == 200
        report: dict[str, Any] = json.loads(await answer.text())
        return report


def contents(answer: Answer) -> list[str]:
    return [event.get("content", event["type"]).strip() for event in answer.events]


def scenario(fault: str, play: Callable[[Client], Awaitable[None]]) -> None:
    ask(play, [fault])


def test_a_dropped_frame_is_missing_on_one_connection_alone() -> None:
    async def play(client: Client) -> None:
        first = await client.post(FIVE, key="k")
        second = await client.post(FIVE, key="k")
        third = await client.post(FIVE, key="k")
        whole = ["one", "two", "three", "four", "five", "done"]
        assert contents(first) == whole
        assert contents(second) == ["one", "three", "four", "five", "done"]
        assert contents(third) == [
            "one",
            "two",
            "three",
            "five",
            "done",
        ]  # the 16th frame: none is counted twice
        report = await spoilt_report(client)
        assert report["frames"] == 18
        frame = {
            "fault": "drops-one-frame-in",
            "key": "k",
            "run_id": first.events[-1]["runId"],
            "connection": 1,
            "first": 0,
            "event": 1,
            "id": first.ids[1],
            "type": "token",
            "place": 2,
        }
        assert report["spoilt"] == [
            frame,
            {**frame, "connection": 2, "event": 3, "id": first.ids[3], "place": 4},
        ]

    scenario("drops-one-frame-in-8", play)


def test_a_doubled_frame_comes_twice_in_a_row() -> None:
    async def play(client: Client) -> None:
        first = await client.post(FIVE, key="k")
        second = await client.post(FIVE, key="k")
        assert contents(first) == ["one", "two", "three", "four", "four", "five", "done"]
        assert contents(second) == ["one", "two", "two", "three", "four", "five", "done", "done"]
        assert second.ids[1] == second.ids[2] == first.ids[1]
        spoilt = (await spoilt_report(client))["spoilt"]
        assert [(frame["connection"], frame["event"], frame["place"]) for frame in spoilt] == [
            (0, 3, 4),
            (1, 1, 2),
            (1, 5, 7),  # an earlier doubled frame takes its own place
        ]

    scenario("doubles-one-frame-in-4", play)


def test_a_swapped_frame_comes_after_the_next_one() -> None:
    async def play(client: Client) -> None:
        first = await client.post(FIVE, key="k")
        again = await client.post(FIVE, key="k")
        assert contents(first) == ["one", "two", "three", "five", "four", "done"]
        assert contents(again) == ["one", "three", "two", "four", "five", "done"]
        assert sorted(first.sequence) == sorted(again.sequence)

    scenario("swaps-one-frame-in-4", play)


def test_a_swapped_frame_waits_for_the_next_one() -> None:
    async def play(client: Client) -> None:
        paced = body(action("long", tokens=4, intervalMs=40))
        answer = await client.post(paced, key="k")
        assert contents(answer) == ["étape 1", "étape 3", "étape 2", "done", "étape 4"]

    scenario("swaps-one-frame-in-2", play)


def test_nothing_can_overtake_the_last_frame_so_the_next_one_that_can_is_swapped() -> None:
    async def play(client: Client) -> None:
        first = await client.post(FIVE, key="k")
        second = await client.post(FIVE, key="k")
        assert contents(first) == ["one", "two", "three", "four", "five", "done"]
        assert contents(second) == ["two", "one", "three", "four", "five", "done"]
        (spoilt,) = (await spoilt_report(client))["spoilt"]
        assert (spoilt["connection"], spoilt["event"], spoilt["place"]) == (1, 0, 1)

    scenario("swaps-one-frame-in-6", play)


def test_where_every_frame_is_to_be_swapped_each_pair_is() -> None:
    async def play(client: Client) -> None:
        assert contents(await client.post(FIVE)) == ["two", "one", "four", "three", "done", "five"]

    scenario("swaps-one-frame-in-1", play)


def test_the_report_of_a_resumed_connection() -> None:
    async def play(client: Client) -> None:
        first = await client.post(FIVE, key="k")
        rest = await client.post(FIVE, key="k", Last_Event_ID=first.ids[2] or "")
        assert contents(rest) == ["four", "done"]
        (spoilt,) = (await spoilt_report(client))["spoilt"]
        assert (spoilt["first"], spoilt["event"], spoilt["place"]) == (3, 4, 2)
        assert spoilt["id"] == first.ids[4]

    scenario("drops-one-frame-in-8", play)


def test_the_report_of_a_run_without_a_key() -> None:
    async def play(client: Client) -> None:
        answer = await client.post(FIVE)
        assert contents(answer) == ["one", "two", "three", "four", "done"]
        (spoilt,) = (await spoilt_report(client))["spoilt"]
        assert (spoilt["key"], spoilt["run_id"]) == (None, answer.events[-1]["runId"])

    scenario("drops-one-frame-in-5", play)


def test_a_correct_server_has_no_report() -> None:
    async def play(client: Client) -> None:
        async with client.session.get(client.server.base_url + SPOILT_FRAMES_PATH) as answer:
            assert answer.status == 404

    ask(play)


@pytest.mark.parametrize("name", RARE_FAULTS)
def test_they_are_described_and_are_not_mutants(name: str) -> None:
    fault = RARE_FAULTS[name]
    assert name == f"{fault.stem}-n"
    assert fault.breaks in CATALOGUE
    assert (fault.__doc__ or "").endswith(".")
    assert not {other for other in FAULTS.values() if issubclass(other, fault)}
    made = faulty_api([f"{fault.stem}-500"])
    assert issubclass(made, fault)
    assert made.one_in == 500


@pytest.mark.parametrize(
    "name",
    [
        "drops-one-frame-in-0",
        "drops-one-frame-in-n",
        "drops-one-frame-in--5",
        "drops-one-frame-in-\u0661",
        "-5",
        "5",
    ],
)
def test_an_invalid_number(name: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(f"unknown fault {name!r}")):
        faulty_api([name])


def test_the_name_that_lacks_a_number_is_suggested() -> None:
    with pytest.raises(ValueError, match="did you mean 'drops-one-frame-in-n'"):
        faulty_api(["drop-one-frame-in-n"])


def test_two_of_them_at_once_are_refused() -> None:
    with pytest.raises(ValueError, match="only one fault of the form"):
        faulty_api(["drops-one-frame-in-5", "doubles-one-frame-in-5"])
