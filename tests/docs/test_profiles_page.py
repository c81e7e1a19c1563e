"""docs/profiles.md describes every profile and every field."""

from __future__ import annotations

import re
import tomllib

from pydantic import BaseModel

from harness.config.sources import settings_alone
from harness.config.target import Target
from harness.profiles import event_rules, library, profile
from harness.profiles.capability import Capability
from tests.cases import all_cases
from tests.docs.pages import ROOT, read

PAGE = read(ROOT / "docs" / "profiles.md")
MODELS = [
    model
    for model in {**vars(profile), **vars(event_rules)}.values()
    if isinstance(model, type) and issubclass(model, BaseModel)
]
PROSE = re.sub(r"^```.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL)
NAMED = set(re.findall(r"[\w.-]+", " ".join(re.findall(r"`([^`]+)`", PROSE))))


@all_cases(
    "field",
    sorted(
        {
            field.alias or name
            for model in MODELS
            if model is not profile.Cancel  # its fields are those of a request, and `disconnect`
            for name, field in model.model_fields.items()
        }
        | {"disconnect"}
    ),
)
def test_every_field_is_described(field: str) -> None:
    assert field in NAMED


def test_every_profile_is_listed() -> None:
    assert set(re.findall(r"^\| `([\w-]+)` \| ", PAGE, re.MULTILINE)) >= set(library.names())


def test_the_example_is_a_profile() -> None:
    (example,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert library.parse(example, "the example").capabilities == {
        Capability.OUTCOME,
        Capability.END,
        Capability.ERROR_EVENT,
        Capability.BODY,
        Capability.JSON_BODY,
    }


def test_the_settings_for_agno_are_nine_lines_and_enough() -> None:
    how_to = read(ROOT / "docs" / "how-to.md")
    (text,) = [
        block
        for block in re.findall(r"^```toml\n(.*?)^```$", how_to, re.MULTILINE | re.DOTALL)
        if '"agno"' in block
    ]
    assert len(text.splitlines()) == 9
    target = Target(settings_alone(tomllib.loads(text), "the example"))
    request = target.run("long")
    assert request.target == "/agents/my-agent/runs"
    assert b"Write 200 words about rivers." in request.body
