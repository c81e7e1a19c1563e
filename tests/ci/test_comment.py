"""The comment of a pull request: short, marked, and safe from text of the server."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from harness.ci.comment import LIMIT_CHARS, MARKER, comment, comment_without_results
from harness.ci.outcome import Case
from harness.contract.requirements import CATALOGUE
from harness.gate.comparison import Comparison
from harness.gate.report import GateReport
from tests.ci.samples import HOSTILE, check, sample_outcome
from tests.ci.test_markdown import OURS, rendered, tags

GITHUB = {
    "GITHUB_WORKFLOW": "Agent runs",
    "GITHUB_JOB": "check",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "acme/agent",
    "GITHUB_RUN_ID": "42",
}
GITLAB = {"CI_JOB_NAME": "agent-runs: [a, b]", "CI_JOB_URL": "https://gitlab.example.com/acme/agent/-/jobs/7"}


def test_a_red_test_says_what_broke_and_what_got_worse(tmp_path: Path) -> None:
    outcome = sample_outcome(
        tmp_path, checks=[check("framing.utf8", "fail", "a lone 0x80"), check("ids.unique", "pass")]
    )
    worse = Comparison("ttft_p50_ms", 220.0, 200.0, 0.1, 0.08, 0.123, "worse")
    same = Comparison("duration_p50_ms", 200.0, 200.0, 0.0, -0.01, 0.01, "same")
    gate = GateReport((), (worse, same), tested=True)
    lines = comment(replace(outcome, gate=gate), GITHUB).splitlines()
    assert lines[0] == "<!-- agent-run-harness: Agent-runs-check -->"
    assert lines[2].startswith("### ")
    assert "| `framing.utf8` | fail | a lone 0x80 |" in lines
    assert "| `ttft_p50_ms` | 200.00 ms | 220.00 ms | +10.0% | +8.0% to +12.3% |" in lines
    assert "[Report and results](https://github.com/acme/agent/actions/runs/42#artifacts)" in lines
    text = "\n".join(lines)
    assert "ids.unique" not in text
    assert "duration_p50_ms" not in text


def test_an_inconclusive_comparison_that_fails_is_listed(tmp_path: Path) -> None:
    outcome = sample_outcome(tmp_path, ttft_ms=[1.0])
    case = Case("baseline", "stall_p50_ms", "error", "inconclusive", "not measured here")
    assert "| `stall_p50_ms` | inconclusive | not measured here |" in comment(
        replace(outcome, cases=(*outcome.cases, case)), {}
    )


def test_a_green_test_is_short(tmp_path: Path) -> None:
    outcome = sample_outcome(tmp_path, checks=[check("ids.unique", "pass")], ttft_ms=[1.0])
    text = comment(outcome, GITLAB)
    assert text.startswith("<!-- agent-run-harness: agent-runs-a-b -->\n\n### ✅ Agent runs: passed\n")
    assert "https://gitlab.example.com/acme/agent/-/jobs/7/artifacts/browse" in text
    assert "|" not in text


@pytest.mark.parametrize(
    "environment", [{}, GITHUB, GITLAB, {"CI_JOB_NAME": HOSTILE}, {"CI_JOB_NAME": "-->"}]
)
def test_the_marker_is_one_comment(tmp_path: Path, environment: dict[str, str]) -> None:
    for text in (
        comment(sample_outcome(tmp_path, ttft_ms=[1.0]), environment),
        comment_without_results(environment),
    ):
        assert MARKER.fullmatch(text.partition("\n")[0])
        assert "agent-run-harness:" not in rendered(text).partition("-->")[2]


def test_two_jobs_have_two_markers() -> None:
    texts = {comment_without_results({**GITHUB, "GITHUB_JOB": name}).partition("\n")[0] for name in "ab"}
    assert len(texts) == 2


def test_hostile_text_is_not_markup(tmp_path: Path) -> None:
    outcome = sample_outcome(
        tmp_path,
        checks=[check("framing.utf8", "fail", HOSTILE)],
        manifest={"target": {"base_url": HOSTILE}},
        problems=(HOSTILE,),
    )
    assert tags(rendered(comment(outcome, {}))) <= OURS | {"strong"}


def test_the_longest_comment_is_accepted(tmp_path: Path) -> None:
    outcome = sample_outcome(tmp_path, checks=[check(name, "fail", "|" * 10_000) for name in CATALOGUE])
    text = comment(outcome, GITHUB)
    assert len(text) < LIMIT_CHARS / 4
    assert re.search(r"^and \d+ more$", text, re.MULTILINE)
