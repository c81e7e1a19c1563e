"""A violation under load is shown by bounded excerpts that say where to look."""

from __future__ import annotations

import json

from harness.contract.finding import Location
from harness.load.stats.violation_evidence import excerpts
from harness.protocol.request import HttpRequest
from tests.contract.exchanges import in_one_read
from tests.load.run_server import HEAD
from tests.load.stats.test_stream_metrics import DONE, END, TOKEN, exchange, frame

URL = "http://h"


def test_secrets_are_masked() -> None:
    one = exchange((30, HEAD + frame(type="token", content="s3cret") + DONE + END))
    request = HttpRequest("POST", "/x", (("Authorization", "Bearer s3cret"),), b'{"a":"s3cret it\'s"}')
    leaky = type(one)(one.label, request, one.timing, one.reads, one.ending, one.ending_detail)
    text = json.dumps(excerpts([Location(leaky)], URL, ("s3cret",)), ensure_ascii=False)
    assert "s3cret" not in text
    assert "$HARNESS_TARGET__TOKEN" in text


def test_a_secret_in_a_note_is_masked() -> None:
    one = exchange((30, HEAD + TOKEN + DONE + END))
    (shown,) = excerpts([Location(one, one.frames[0], "it repeats s3cret")], URL, ("s3cret",))
    (pointed,) = shown["pointed_at"]
    assert pointed["note"].startswith("it repeats ")
    assert "s3cret" not in pointed["note"]


def test_it_is_bounded() -> None:
    reads = [(30.0 + place, TOKEN) for place in range(10_000)]
    (shown,) = excerpts(
        [Location(exchange((25, HEAD), *reads, (20_000, frame(type="token", content="y" * 100_000))))],
        URL,
        (),
    )
    assert (len(shown["wire"]), shown["wire_left_out"]) == (120, 10_002 - 120)
    assert (len(shown["events"]), shown["events_left_out"]) == (120, 10_001 - 120)
    assert len(json.dumps(shown)) < 120_000


def test_pointed_at_frames_are_kept_with_their_neighbours() -> None:
    for reads in (1, 400):
        one = in_one_read(400, reads)
        (shown,) = excerpts([Location(one, one.frames[200]), Location(one, one.frames[3])], URL, ())
        indexes = [row["index"] for row in shown["events"]]
        assert indexes == [*range(60), *range(198, 203), *range(340, 400)]
        assert shown["events_left_out"] == 400 - len(indexes)
        here = [part["text"] for row in shown["wire"] for part in row.get("parts", ()) if part.get("here")]
        assert ["word3 " in here[0], "word200 " in here[1], len(here)] == [True, True, 2]


def test_a_secret_next_to_the_pointed_at_frame_is_masked() -> None:
    secrets = ("word199", "word200")
    one = in_one_read(400)
    (shown,) = excerpts([Location(one, one.frames[200])], URL, secrets)
    text = json.dumps(shown)
    assert not any(secret in text for secret in secrets)
    assert "word201" in text


def test_each_exchange_once_with_its_pointed_at_frames() -> None:
    one = exchange((30, HEAD + b"3\r\n:c\n\r\n1\r\n\n\r\n" + TOKEN + DONE + END))
    other = exchange((30, HEAD + DONE + END))
    places = [Location(one, one.frames[1], "first"), Location(other), Location(one, one.frames[0])]
    first, second = excerpts(places, URL, ())
    assert first["pointed_at"] == [{"event": 1, "note": "first"}, {"event": 0, "note": ""}]
    assert [row["index"] for row in first["events"]] == [0, 1, 2]
    assert second["pointed_at"] == []
