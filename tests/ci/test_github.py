"""What GitHub is told, read by the rules of its runner."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest

from harness.ci.github import annotate, artifacts_url, command, in_github, outputs, suspend_workflow_commands
from harness.ci.outcome import Case
from tests.ci.samples import HOSTILE, account, check

_COMMAND = re.compile(r"::(?P<name>[\w-]+)(?: (?P<properties>[^\n]*?))?::(?P<data>[^\n]*)")


def parsed(line: str) -> tuple[str, dict[str, str], str]:
    """A workflow command as the runner takes it (actions/runner, ActionCommand.TryParseV2)."""
    assert "\n" not in line
    assert "\r" not in line
    found = _COMMAND.fullmatch(line)
    assert found, line
    properties = {}
    for one in filter(None, (found["properties"] or "").split(",")):
        name, _, value = one.partition("=")
        for code, letter in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
            value = value.replace(code, letter)
        properties[name] = value
    data = found["data"]
    for code, letter in (("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        data = data.replace(code, letter)
    return found["name"], properties, data


@pytest.mark.parametrize(
    "text",
    ["plain", "100%", "a\nb\r\nc", "::error::x", "%0A is no line break", "a,b=c:d", "", "ä \U0001f600"],
)
def test_a_command_gives_back_what_went_in(text: str) -> None:
    name, properties, data = parsed(command("error", text, title=text, file="a,b:c.toml"))
    assert (name, data) == ("error", text)
    assert properties == {**({"title": text} if text else {}), "file": "a,b:c.toml"}


def test_half_a_surrogate_pair_can_be_written() -> None:
    assert parsed(command("error", "\ud800", title="\ud800"))[2] == "\\ud800"
    command("error", "\ud800").encode("utf-8")


def test_what_is_red_is_an_error_and_what_deserves_a_look_a_warning(tmp_path: Path) -> None:
    found = account(
        tmp_path,
        checks=[
            check("framing.utf8", "fail", "a lone 0x80"),
            check("headers.no-cache", "warn", "no Cache-Control"),
            check("resume.start", "info"),
            check("ids.unique", "pass"),
        ],
        ttft_ms=[100.0],
        objectives={"ttft_p95_ms": 8},
    )
    said = [parsed(line) for line in annotate(found)]
    assert [(name, properties["title"]) for name, properties, _ in said] == [
        ("error", "ttft_p95_ms: failed"),
        ("error", "framing.utf8: fail"),
        ("warning", "headers.no-cache: warn"),
    ]
    assert said[1][2].splitlines()[0] == "a lone 0x80"
    assert said[1][2].splitlines()[1].startswith("MUST: The stream is strict UTF-8")


def test_a_green_test_is_a_notice(tmp_path: Path) -> None:
    (line,) = annotate(account(tmp_path, checks=[check("ids.unique", "pass")]))
    assert parsed(line) == ("notice", {"title": "Agent runs"}, "passing")


@pytest.mark.parametrize("count", [9, 10, 11, 90])
def test_there_are_no_more_than_github_shows(tmp_path: Path, count: int) -> None:
    cases = [Case("conformance", f"area.n{number}", "failed", "fail", "x") for number in range(count)]
    cases += [replace(case, result="skipped", warns=True) for case in cases]
    found = replace(account(tmp_path, ttft_ms=[1.0]), cases=tuple(cases))
    said = [parsed(line) for line in annotate(found)]
    for kind in ("error", "warning"):
        of_kind = [one for one in said if one[0] == kind]
        assert len(of_kind) == min(count, 10)
        if count > 10:
            assert of_kind[-1][1]["title"] == f"{count - 9} more"
            assert of_kind[-1][2].startswith("area.n9")
            assert ("more: see" in of_kind[-1][2]) == (count > 29)
        else:
            assert "more" not in of_kind[-1][1]["title"]


def test_objectives_point_to_their_line(tmp_path: Path) -> None:
    settings = tmp_path / "ci" / "harness.toml"
    settings.parent.mkdir()
    settings.write_text(
        '[target]\n# ttft_p95_ms\npath = "/ttft_p95_ms"\n\n[objectives]\n'
        "# ttft_p95_ms = 1\nduration_ttft_p95_ms = 3\nttft_p95_ms = 8\nviolations = 0\n[budgets]\n"
    )
    found = account(
        tmp_path,
        checks=[check("framing.utf8", "fail")],
        ttft_ms=[100.0],
        objectives={"ttft_p95_ms": 8, "violations": 0},
    )
    places = {
        properties["title"]: (properties.get("file"), properties.get("line"))
        for _, properties, _ in (parsed(line) for line in annotate(found, settings, tmp_path))
    }
    assert places == {
        "ttft_p95_ms: failed": ("ci/harness.toml", "8"),
        "violations: failed": ("ci/harness.toml", "9"),
        "framing.utf8: fail": (None, None),
    }
    elsewhere = [parsed(line)[1] for line in annotate(found, tmp_path / "none.toml", tmp_path)]
    assert all("file" not in properties for properties in elsewhere)


def test_hostile_words_are_no_commands(tmp_path: Path) -> None:
    found = account(tmp_path, checks=[check("framing.utf8", "fail", HOSTILE)], problems=(HOSTILE,))
    lines = annotate(found)
    assert len(lines) == 2
    assert "::error::mine" in parsed(lines[1])[2]


def test_outputs_cannot_be_broken_out_of(tmp_path: Path) -> None:
    found = replace(account(tmp_path, ttft_ms=[1.0]), results=Path("a\nverdict=passed\nEND"), exit_code=1)
    text = outputs(found, "END-1234")
    assert text.splitlines() == [
        *("verdict<<END-1234", "failed", "END-1234"),
        *("exit-code<<END-1234", "1", "END-1234"),
        *("results<<END-1234", "a", "verdict=passed", "END", "END-1234"),
        *("report<<END-1234", "", "END-1234"),
    ]


def test_words_of_others_are_between_unguessable_marks() -> None:
    out = io.StringIO()
    with suspend_workflow_commands(out, "harness check", {"GITHUB_ACTIONS": "true"}):
        out.write("::add-mask::a\n")
    first, stop, inner, resume, last = out.getvalue().splitlines()
    assert (first, inner, last) == ("::group::harness check", "::add-mask::a", "::endgroup::")
    token = stop.removeprefix("::stop-commands::")
    assert resume == f"::{token}::"
    assert len(token) > 30
    again = io.StringIO()
    with pytest.raises(KeyError), suspend_workflow_commands(again, "", {"GITHUB_ACTIONS": "true"}):
        raise KeyError
    lines = again.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[1] == f"::{lines[0].removeprefix('::stop-commands::')}::"
    assert token not in again.getvalue()


def test_outside_of_github_nothing_is_said() -> None:
    out = io.StringIO()
    with suspend_workflow_commands(out, "x", {"GITHUB_ACTIONS": "false"}):
        out.write("y")
    assert out.getvalue() == "y"
    assert not in_github({})


def test_the_address_of_the_files() -> None:
    told = {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "a/b", "GITHUB_RUN_ID": "7"}
    assert artifacts_url(told) == "https://github.com/a/b/actions/runs/7#artifacts"
    assert artifacts_url({**told, "GITHUB_RUN_ID": ""}) == ""
