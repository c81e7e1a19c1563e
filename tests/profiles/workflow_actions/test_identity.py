from __future__ import annotations

from typing import Any

import pytest

from harness.profiles.workflow_actions import identity
from harness.profiles.workflow_actions.identity import EventIdentity

TOKEN = '{"type":"token","content":"a"}'


def test_the_same_bytes_are_the_same_event_without_parsing_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "tagged_value", lambda _: pytest.fail("it was parsed"))
    assert EventIdentity("1-0", TOKEN) == EventIdentity("1-0", TOKEN)
    assert not EventIdentity("1-0", TOKEN) != EventIdentity("1-0", TOKEN)  # noqa: SIM202 - both operators
    assert EventIdentity("1-0", TOKEN) != EventIdentity("1-1", TOKEN)
    assert len({EventIdentity("1-0", TOKEN), EventIdentity("1-0", TOKEN)}) == 1


@pytest.mark.parametrize("own_id", ["1-0", None])
def test_the_same_value_is_the_same_event(own_id: str | None) -> None:
    stored = EventIdentity(own_id, '{"content": "\\u0061", "type": "token"}')
    assert EventIdentity(own_id, TOKEN) == stored
    assert len({EventIdentity(own_id, TOKEN), stored}) == 1
    assert stored in (EventIdentity("0-0", "{}"), EventIdentity(own_id, TOKEN))


@pytest.mark.parametrize(
    "other",
    [
        EventIdentity("1-1", TOKEN),
        EventIdentity(None, TOKEN),
        EventIdentity("1-0", TOKEN, "token"),
        EventIdentity("1-0", '{"type":"token","content":"A"}'),
        EventIdentity("1-0", '{"type":"token","content":"a","n":null}'),
        EventIdentity("1-0", ""),
        EventIdentity("1-0", None),
        TOKEN,
    ],
)
def test_another_event(other: Any) -> None:
    assert EventIdentity("1-0", TOKEN) != other
    assert not EventIdentity("1-0", TOKEN) == other  # noqa: SIM201 - both operators


@pytest.mark.parametrize("kind", ["done", "error", "cancelled"])
def test_the_run_id_of_a_terminal_event_makes_no_difference(kind: str) -> None:
    def ended(rest: str) -> EventIdentity:
        return EventIdentity("1-0", f'{{"type":"{kind}"{rest}}}')

    assert ended(',"runId":"a"') == ended(',"runId":"b"') == ended(',"runId" : "a\\"b"')
    assert ended(',"runId":"a","usage":1') != ended(',"runId":"a","usage":2')
    assert ended(',"output":{"runId":"a"}') != ended(',"output":{"runId":"b"}')


def test_the_run_id_of_a_token_does() -> None:
    assert EventIdentity("1-0", '{"type":"token","runId":"a"}') != EventIdentity(
        "1-0", '{"type":"token","runId":"b"}'
    )


@pytest.mark.parametrize("data", ["", "text", "{", "[" * 100_000, '{"type":'])
def test_what_is_not_json_is_compared_as_text(data: str) -> None:
    assert EventIdentity(None, data) == EventIdentity(None, data)
    assert EventIdentity(None, data) != EventIdentity(None, data + " ")
    assert hash(EventIdentity(None, data)) == hash(EventIdentity(None, data))
