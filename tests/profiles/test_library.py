from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from harness.errors import SettingsError
from harness.input_file import SETTINGS_BYTES
from harness.profiles import library
from harness.profiles.capability import Capability

MINIMAL = """
name = "mine"
[run]
path = "/run"
[events]
token = "token"
done = "done"
"""

SHIPPED = (
    "a2a",
    "ag-ui",
    "agno",
    "ai-sdk",
    "anthropic-messages",
    "gemini",
    "langgraph",
    "mcp",
    "openai-chat",
    "openai-responses",
    "resumable-stream",
    "workflow-actions",
)


def test_the_shipped_profiles() -> None:
    assert library.names() == list(SHIPPED)
    for name in SHIPPED:
        profile = library.load(name)
        assert profile.name == name
        assert profile.title
        assert "prompt" in set(profile.run.placeholders()) or name in {"mcp", "workflow-actions"}


@pytest.mark.parametrize(
    ("name", "promised", "not_promised"),
    [
        (
            "workflow-actions",
            {Capability.KEY_CONFLICT, Capability.RESUME_AFTER_ID, Capability.ORDERED_IDS},
            set(),
        ),
        ("openai-chat", {Capability.USAGE}, {Capability.RESUME, Capability.EVENT_IDS, Capability.CANCEL}),
        ("agno", {Capability.IDEMPOTENCY_KEY, Capability.CANCEL}, {Capability.KEY_CONFLICT}),
        ("langgraph", {Capability.OUTCOME_REQUEST, Capability.RESUME_AFTER_ID}, {Capability.IDEMPOTENCY_KEY}),
        ("a2a", {Capability.RESUME, Capability.CANCEL}, {Capability.RESUME_AFTER_ID}),
        ("mcp", {Capability.EVENT_IDS}, {Capability.ORDERED_IDS}),
    ],
)
def test_what_they_promise(name: str, promised: set[Capability], not_promised: set[Capability]) -> None:
    capabilities = library.load(name).capabilities
    assert promised <= capabilities
    assert not not_promised & capabilities


def test_a_file_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(MINIMAL)
    profile = library.load(str(tmp_path / "mine.toml"))
    assert profile.name == "mine"
    assert profile.capabilities == {Capability.OUTCOME, Capability.END}


def test_a_file_is_parsed_once_until_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MINIMAL)
    first = library.load(str(path))
    assert library.load(str(path)) is first
    part = {"disconnect": True}
    assert library.with_cancellation(first, part, "mine") is library.with_cancellation(first, part, "mine")
    path.write_text(MINIMAL.replace('"done"', '"finished"'))
    assert library.load(str(path)).events.done != first.events.done


def test_the_name_of_the_profile_with_a_reader_of_its_own_is_refused(tmp_path: Path) -> None:
    """Its reader would ignore the file's [events]."""
    path = tmp_path / "mine.toml"
    path.write_text(MINIMAL.replace("mine", "workflow-actions"))
    with pytest.raises(SettingsError) as problem:
        library.load(str(path))
    assert str(problem.value) == (
        f"the profile {path}: name: workflow-actions is the harness's own profile, whose events are not read by "
        "[events]; use a different name"
    )


def test_a_profile_of_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package harness.profiles.shipped stands in for another one."""
    point = EntryPoint("agno", "harness.profiles.shipped", library.ENTRY_POINTS)

    def points(group: str, name: str = "agno") -> list[EntryPoint]:
        return [point] if (group, name) == (library.ENTRY_POINTS, "agno") else []

    monkeypatch.setattr(library, "entry_points", points)
    monkeypatch.setattr(library, "_shipped", dict)
    assert library.names() == ["agno"]
    assert library.load("agno").name == "agno"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("openai-caht", "there is no profile 'openai-caht'; did you mean openai-chat?"),
        ("zzz", "there is no profile 'zzz': use one of a2a, ag-ui,"),
        ("nowhere/mine.toml", "cannot read the profile nowhere/mine.toml: No such file or directory"),
    ],
)
def test_what_is_not_there(name: str, says: str) -> None:
    with pytest.raises(SettingsError) as problem:
        library.load(name)
    assert says in str(problem.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xff\xfe", "is not UTF-8"),
        (b"name = ", "is not valid TOML"),
        (b"x" * (SETTINGS_BYTES + 1), "it is larger than 1 MiB"),
        (b"a = " + b"[" * 3000 + b"]" * 3000, "nested more than 64 levels deep"),
    ],
)
def test_what_is_no_profile(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "mine.toml").write_bytes(content)
    with pytest.raises(SettingsError, match=says):
        library.load(str(tmp_path / "mine.toml"))
