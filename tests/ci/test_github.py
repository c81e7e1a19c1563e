"""Output for GitHub, parsed as its runner parses it."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest

from harness.ci.github import annotate, artifacts_url, outputs
from harness.ci.outcome import Case
from harness.ci.workflow_commands import in_github, suspend_workflow_commands, workflow_command
from tests.ci.samples import HOSTILE, check, sample_outcome

_COMMAND = re.compile(r"::(?P<name>[\w-]+)(?: (?P<properties>[^\n]*?))?::(?P<data>[^\n]*)")


def parsed(line: str) -> tuple[str, dict[str, str], str]:
    """A workflow command as the runner parses it (actions/runner, ActionCommand.TryParseV2)."""
    assert "\n" not in line
    assert "\r" not in line
    match = _COMMAND.fullmatch(line)
    assert match, line
    properties = {}
    for one in filter(None, (match["properties"] or "").split(",")):
        name, _, value = one.partition("=")
        for code, letter in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
            value = value.replace(code, letter)
        properties[name] = value
    data = match["data"]
    for code, letter in (("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        data = data.replace(code, letter)
    return match["name"], properties, data


@pytest.mark.parametrize(
    "text",
    ["plain", "100%", "a\nb\r\nc", "::error::x", "%0A is no line break", "a,b=c:d", "", "ä \U0001f600"],
)
def test_a_workflow_command_round_trips(text: str) -> None:
    name, properties, data = parsed(workflow_command("error", text, title=text, file="a,b:c.toml"))
    assert (name, data) == ("error", text)
    assert properties == {**({"title": text} if text else {}), "file": "a,b:c.toml"}


def test_half_a_surrogate_pair_can_be_written() -> None:
    assert parsed(workflow_command("error", "\ud800", title="\ud800"))[2] == "\\ud800"
    workflow_command("error", "\ud800").encode("utf-8")


def test_failures_are_errors_and_warnings_are_warnings(tmp_path: Path) -> None:
    outcome = sample_outcome(
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
    annotations = [parsed(line) for line in annotate(outcome)]
    assert [(name, properties["title"]) for name, properties, _ in annotations] == [
        ("error", "ttft_p95_ms: failed"),
        ("error", "framing.utf8: fail"),
        ("warning", "headers.no-cache: warn"),
    ]
    assert annotations[1][2].splitlines()[0] == "a lone 0x80"
    assert annotations[1][2].splitlines()[1].startswith("MUST: The stream is strict UTF-8")


def test_a_green_test_is_a_notice(tmp_path: Path) -> None:
    (line,) = annotate(sample_outcome(tmp_path, checks=[check("ids.unique", "pass")]))
    assert parsed(line) == ("notice", {"title": "Agent runs"}, "passing")


@pytest.mark.parametrize("count", [9, 10, 11, 90])
def test_annotations_respect_the_limit_of_github(tmp_path: Path, count: int) -> None:
    cases = [Case("conformance", f"area.n{number}", "failed", "fail", "x") for number in range(count)]
    cases += [replace(case, result="skipped", warns=True) for case in cases]
    outcome = replace(sample_outcome(tmp_path, ttft_ms=[1.0]), cases=tuple(cases))
    annotations = [parsed(line) for line in annotate(outcome)]
    for kind in ("error", "warning"):
        of_kind = [one for one in annotations if one[0] == kind]
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
    outcome = sample_outcome(
        tmp_path,
        checks=[check("framing.utf8", "fail")],
        ttft_ms=[100.0],
        objectives={"ttft_p95_ms": 8, "violations": 0},
    )
    places = {
        properties["title"]: (properties.get("file"), properties.get("line"))
        for _, properties, _ in (parsed(line) for line in annotate(outcome, settings, tmp_path))
    }
    assert places == {
        "ttft_p95_ms: failed": ("ci/harness.toml", "8"),
        "violations: failed": ("ci/harness.toml", "9"),
        "framing.utf8: fail": (None, None),
    }
    elsewhere = [parsed(line)[1] for line in annotate(outcome, tmp_path / "none.toml", tmp_path)]
    assert all("file" not in properties for properties in elsewhere)


def test_hostile_text_is_not_a_workflow_command(tmp_path: Path) -> None:
    outcome = sample_outcome(tmp_path, checks=[check("framing.utf8", "fail", HOSTILE)], problems=(HOSTILE,))
    lines = annotate(outcome)
    assert len(lines) == 2
    assert "::error::mine" in parsed(lines[1])[2]


def test_outputs_cannot_be_broken_out_of(tmp_path: Path) -> None:
    outcome = replace(
        sample_outcome(tmp_path, ttft_ms=[1.0]), results=Path("a\nverdict=passed\nEND"), exit_code=1
    )
    text = outputs(outcome, "END-1234")
    assert text.splitlines() == [
        *("verdict<<END-1234", "failed", "END-1234"),
        *("exit-code<<END-1234", "1", "END-1234"),
        *("results<<END-1234", "a", "verdict=passed", "END", "END-1234"),
        *("report<<END-1234", "", "END-1234"),
    ]


def test_foreign_output_is_enclosed_in_random_markers() -> None:
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


def test_outside_github_nothing_is_written() -> None:
    out = io.StringIO()
    with suspend_workflow_commands(out, "x", {"GITHUB_ACTIONS": "false"}):
        out.write("y")
    assert out.getvalue() == "y"
    assert not in_github({})


def test_the_address_of_the_files() -> None:
    told = {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "a/b", "GITHUB_RUN_ID": "7"}
    assert artifacts_url(told) == "https://github.com/a/b/actions/runs/7#artifacts"
    assert artifacts_url({**told, "GITHUB_RUN_ID": ""}) == ""
