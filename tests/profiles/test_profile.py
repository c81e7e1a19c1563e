"""A wrong profile gets a sentence with the place and what is wrong there."""

from __future__ import annotations

import pytest

from harness.errors import SettingsError
from harness.profiles.capability import Capability
from harness.profiles.event_rules import OUTCOMES
from harness.profiles.library import parse
from harness.profiles.profile import Profile
from tests.cases import all_cases
from tests.profiles.test_library import MINIMAL


def profile(text: str = "", events: str = "") -> Profile:
    """The minimal profile with further parts, and further lines in [events]."""
    return parse(f"{MINIMAL}{events}\n{text}", "mine.toml")


@all_cases(
    ("text", "events", "says"),
    [
        ("[other]", "", "mine.toml: other: there is no such field"),
        ("", "tokens = 'x'", "mine.toml: events.tokens: there is no such field"),
        ("", "error = {}", "mine.toml: events.error: a rule needs is, where, or both"),
        (
            "",
            "error = { where = 'data..x' }",
            "mine.toml: events.error.where: 'data..x' is not a JMESPath expression",
        ),
        (
            "",
            "error = [{ is = 'failed' }, { is = 'lost' }]",
            "mine.toml: events.error: a meaning has one rule: list the types in is, and join conditions with ||",
        ),
        ("", "run_id = 3", "mine.toml: events.run_id"),
        ("", "pairs = [['a']]", "mine.toml: events.pairs.0"),
        (
            "[ids]\nat = 'id'\norder = 'random'",
            "",
            "mine.toml: ids.order: Input should be 'ms-seq', 'counter' or 'opaque'",
        ),
        ("[resume]\nfrom = 'after'", "", "[resume] needs a path"),
        ("[resume]\nfrom = 'later'\npath = '/r'", "", "mine.toml: resume.from"),
        ("[resume]\nfrom = 'after'\npath = 'r'", "", "mine.toml: resume.path"),
        (
            "[resume]\nfrom = 'after'\npath = '/r/${run_id}'",
            "",
            "[resume] uses ${run_id}, but events.run_id does not say where it stands",
        ),
        (
            "[resume]\nfrom = 'after'\npath = '/r?after=${last_id}'",
            "",
            "[resume] uses ${last_id}, but there is no part [ids]",
        ),
        (
            "[resume]\nfrom = 'after'\njson = {a = 1}\n[idempotency]\nheader = 'Idempotency-Key'",
            "",
            "a body needs a path",
        ),
        ("[cancel]", "", "cancel needs a request or disconnect = true, and not both"),
        (
            "[cancel]\npath = '/c'\ndisconnect = true",
            "",
            "cancel needs a request or disconnect = true, and not both",
        ),
        (
            "[cancel]\npath = '/c/${thread}'",
            "",
            "[cancel] uses ${thread}, which is nowhere defined; it may use",
        ),
        (
            "[cancel]\npath = '/c'\njson = {a = 1}\nform = {a = '1'}",
            "",
            "a request has json or form, not both",
        ),
        (
            "[create]\npath = '/a'\n[[create.then]]\npath = '/b/${x}'\nkeep = { x = 'body.x' }",
            "",
            "[create.then] uses ${x}, which is nowhere defined",
        ),
        ("[idempotency]\nheader = 'Key'\nconflict = 200", "", "mine.toml: idempotency.conflict"),
        ("[rejects]\nmalformed = 500", "", "mine.toml: rejects.malformed.0"),
        (
            "[create]\npath = '/threads'\nkeep = { id = 'body.' }",
            "",
            "mine.toml: create.keep.id: 'body.' is not a JMESPath",
        ),
    ],
)
def test_what_is_wrong_is_said(text: str, events: str, says: str) -> None:
    with pytest.raises(SettingsError) as problem:
        profile(text, events)
    assert says in str(problem.value)


def test_a_stream_that_ends_with_its_outcome_has_one() -> None:
    with pytest.raises(SettingsError, match='end = "outcome" needs a rule for done'):
        parse(MINIMAL.replace('done = "done"', ""), "mine.toml")
    assert parse(MINIMAL.replace('done = "done"', 'end = "close"'), "mine.toml").events.done is None


def test_what_create_keeps_can_be_used_later() -> None:
    made = profile(
        "[create]\npath = '/threads'\nkeep = { thread = 'body.id' }\n[cancel]\npath = '/threads/${thread}/cancel'"
    )
    assert made.cancel is not None
    assert made.cancel.request is not None
    assert list(made.cancel.request.placeholders()) == ["thread"]


def test_rules_keep_the_order_of_the_file() -> None:
    made = profile(events="cancelled = 'c'\nerror = 'e'")
    assert [name for name, _ in made.events.rules(OUTCOMES)] == ["done", "cancelled", "error"]


def test_short_forms() -> None:
    made = profile("[rejects]\nmalformed = 400\nrequired = 'model'", "error = ['failed', 'error']")
    assert made.rejects.malformed == (400,)
    assert made.rejects.required == ("model",)
    assert made.events.error is not None
    assert made.events.error.types == ("failed", "error")
    assert made.events.token.types == ("token",)


def test_the_schema_describes_what_is_written() -> None:
    schema = Profile.model_json_schema(by_alias=True)
    assert {"name", "run", "events", "ids", "resume", "vars"} <= schema["properties"].keys()
    assert "is" in schema["$defs"]["EventRule"]["properties"]


def test_what_is_sent_as_a_body_is_known() -> None:
    bodies = {Capability.BODY, Capability.JSON_BODY}
    for run, expected in (
        ("", set()),
        ("json = {}", bodies),
        ("json = ['${prompt}']", {Capability.BODY}),
        ("form = { q = '${prompt}' }", {Capability.BODY}),
    ):
        text = MINIMAL.replace('path = "/run"', f'path = "/run"\n{run}')
        assert parse(text, "mine.toml").capabilities & bodies == expected
