"""harness profile, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.cli import main
from tests.profiles.test_captures import CAPTURES
from tests.profiles.test_library import SHIPPED


def harness(*words: str | Path) -> Result:
    return CliRunner().invoke(main, ["profile", *map(str, words)])


def test_list_names_every_profile() -> None:
    printed = harness("list").stdout
    assert all(name in printed for name in SHIPPED)


def test_show_says_what_an_api_promises_and_prints_its_profile() -> None:
    printed = harness("show", "langgraph").stdout
    assert "set assistant: id of the graph or assistant" in printed
    lacking = " ".join(printed.split()).partition("promises no: ")[2].partition(" name = ")[0].split(", ")
    assert {"idempotency key", "rejection of a reused key"} <= set(lacking)
    assert 'path = "/threads/${thread_id}/runs/stream"' in printed


def test_what_show_prints_can_be_changed_and_used(tmp_path: Path) -> None:
    printed = harness("show", "openai-chat").stdout
    mine = tmp_path / "mine.toml"
    mine.write_text(printed[printed.index('name = "') :].replace("/v1/chat", "/openai/v1/chat"))
    assert harness("check", mine, CAPTURES / "aimock-chat/success.http").exit_code == 0


def test_check_shows_each_event() -> None:
    done = harness("check", "agno", CAPTURES / "agno/success.http")
    assert done.exit_code == 0
    assert "RunContent" in done.stdout
    assert "6 more tokens" in done.stdout
    assert "done + end" in done.stdout
    assert "10 tokens with 50 characters; outcome done" in done.stdout
    assert "1 stream of 1 fit the profile agno." in done.stdout


def test_check_names_what_does_not_fit() -> None:
    done = harness("check", "agno", CAPTURES / "agno/cancelled.http", CAPTURES / "agno/success.http")
    assert done.exit_code == 1
    assert "does not fit: 2 outcomes: cancelled, done" in done.stdout
    assert "1 stream of 2 fit the profile agno." in done.stdout


def test_check_with_another_profile_fails() -> None:
    done = harness("check", "openai-chat", CAPTURES / "agno/success.http")
    assert done.exit_code == 1
    assert "UNKNOWN" in done.stdout
    assert "decide which of them to change" in done.stdout


def test_rejections_alone_say_nothing_about_a_profile() -> None:
    done = harness("check", "agno", CAPTURES / "agno/auth-bad.http")
    assert done.exit_code == 2
    assert "not a stream: status 401, application/json" in done.stdout
    assert "none of the files has an event stream" in done.stderr


def test_no_control_character_reaches_the_terminal(tmp_path: Path) -> None:
    capture = tmp_path / "answer.txt"
    text = json.dumps({"choices": [{"delta": {"content": "\x1b]0;x\x07 \u202e"}}], "id": "\x1b[2J"})
    capture.write_text(f"data: {text}\n\n")
    printed = harness("check", "openai-chat", capture).stdout
    assert not set(printed) & {"\x1b", "\x07", "\u202e"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("show", "openai-caht"), "did you mean openai-chat?"),
        (("check", "nothing.toml", "answer.txt"), "cannot read the profile nothing.toml: No such file"),
        (("check", "agno", "answer.txt"), "cannot read the recorded answer answer.txt: No such file"),
        (("check", "agno", CAPTURES.parent / "test_captures.py"), "is not a recorded answer"),
    ],
)
def test_bad_input_gets_one_sentence(words: tuple[str | Path, ...], says: str) -> None:
    done = harness(*words)
    assert done.exit_code == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_schema_is_json() -> None:
    assert json.loads(harness("schema").stdout)["title"] == "Profile"
