"""The Markdown summary, rendered as GitHub renders it: text of the server stays text."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from harness.ci.markdown import LIMIT_BYTES, code, markdown, plain
from harness.gate.comparison import Comparison
from harness.gate.report import GateReport, GateRow
from tests.ci.samples import HOSTILE, check, sample_outcome

OURS = {"h3", "h4", "p", "table", "thead", "tbody", "tr", "th", "td", "code", "details", "summary", "em"}
_RENDERER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def rendered(text: str) -> str:
    return _RENDERER.render(text)


def tags(html: str) -> set[str]:
    return {name.lower() for name in re.findall(r"<([a-zA-Z][\w-]*)", html)}


def cell(text: str) -> str:
    """The text that a table cell with this Markdown shows."""
    html = _RENDERER.render(f"| a | b |\n| --- | --- |\n| {text} | end |\n")
    cells = re.findall(r"<td>(.*?)</td>", html, re.DOTALL)
    assert len(cells) == 2, html
    assert cells[1] == "end"
    assert tags(cells[0]) <= {"code"}, html
    return unescape(re.sub(r"</?code>", "", cells[0]))


@pytest.mark.parametrize(
    "text",
    [
        "a | b || c",
        "`x` ``y`` `",
        "<script>alert(1)</script> <img src=x onerror=y> &lt; & &amp;",
        "*a* **b** _c_ __d__ ~~e~~ [f](g) ![h](i) [j]: k",
        "back\\slash \\| \\",
        "$x$ a_b_c snake_case",
        "<!-- not a comment -->",
    ],
)
def test_text_is_shown_as_it_is(text: str) -> None:
    assert cell(plain(text)) == text.strip()
    assert cell(code(text)).strip() == text.strip()


def test_lines_and_control_characters_are_shown() -> None:
    text = "a\r\nb\x00\x1b[31mc\u202ed\ud800e\x9b\u2066f\u200bg"
    shown = r"a\r\nb\x00\x1b[31mc\u202ed\ud800e\x9b\u2066f\u200bg"
    assert cell(plain(text)) == shown
    assert code(text) == f"`{shown}`"
    assert cell(code("a\n\n| b\ud800")) == r"a\n\n| b\ud800"


def test_no_link_and_no_mention_is_made_of_text() -> None:
    shown = plain("https://evil.example www.evil.example ftp://x @team a@b.example")
    assert "://" not in shown
    assert "www." not in shown
    assert "@" not in shown
    assert cell(shown) == "https://evil.example www.evil.example ftp://x @team a@b.example"


def test_long_text_is_truncated_with_a_note() -> None:
    assert cell(plain("x" * 10_000)) == "x" * 600 + "… (10000 characters)"


def test_the_summary_of_a_failed_test(tmp_path: Path) -> None:
    outcome = sample_outcome(
        tmp_path,
        checks=[
            check("framing.utf8", "fail", "a lone 0x80"),
            check("framing.bom", "pass"),
            check("headers.no-cache", "warn", "no Cache-Control"),
        ],
        ttft_ms=[100.0] * 20,
        failed=1,
        violated={"ids.unique": ["twice 1-2"]},
        objectives={"ttft_p95_ms": 8, "error_rate": 0.1, "violations": 0, "goodput": 0.99},
        problems=("the load was killed by signal 9",),
        report=Path("out/report.html"),
    )
    text = markdown(outcome, artifacts_url="https://github.com/a/b/actions/runs/1#artifacts")
    lines = text.splitlines()
    assert lines[0] == "### ❌ Agent runs: failed"
    assert "20 streams scheduled under load. Conformance: 3 requirements: 1 pass, 1 fail, 1 warn." in text
    assert "⚠️ the load was killed by signal 9" in lines
    assert "| `framing.utf8` | fail | a lone 0x80 |" in lines
    assert "| `ids.unique` | violated | violated once under load, first in fresh: twice 1-2 |" in lines
    (row,) = [line for line in lines if line.startswith("| `ttft_p95_ms`")]
    assert re.search(r"\| 8.00 ms \|  \| 1\dx the limit \| ❌ failed \|", row)
    assert "| `error_rate` | 5.000% | 10.000% |  | 50% | ✅ passed |  |" in lines
    assert "| `goodput` | - | at least 99.000% |  |  | ⚠️ not measured |  |" in lines
    assert "| area | pass | fail | warn |" in lines
    assert "| framing | 1 | 1 | · |" in lines
    assert "| headers | · | · | 1 |" in lines
    assert "| `headers.no-cache` | warn | no Cache-Control |" in lines
    assert lines[-1].startswith("Files: `out/report.html`, ")
    html = _RENDERER.render(text)
    assert tags(html) == (OURS | {"a"}) - {"em"}
    assert html.count("<table>") == 5
    assert re.findall(r'href="([^"]*)"', html) == ["https://github.com/a/b/actions/runs/1#artifacts"]


def test_a_comparison_with_a_baseline_is_a_table(tmp_path: Path) -> None:
    row = Comparison("ttft_p50_ms", 220.0, 200.0, 0.1, 0.08, 0.123, "worse")
    none = Comparison("stall_p50_ms", None, 5.0, None, None, None, "inconclusive", "not measured here")
    share = Comparison(
        "error_rate", 0.02, 0.01, 0.01, 0.008, 0.012, "worse", smallest_effect=0.001, relative=False
    )
    limit = GateRow("ttft_p50_ms", 220.0, 800.0, "passed", interval=(200.0, 240.0))
    gate = GateReport((limit,), (row, none, share), tested=True, notes=("other machine",))
    outcome = replace(sample_outcome(tmp_path, ttft_ms=[1.0]), gate=gate)
    lines = markdown(outcome).splitlines()
    assert "| `ttft_p50_ms` | 200.00 ms | 220.00 ms | +10.0% | +8.0% to +12.3% | ❌ worse |  |" in lines
    assert "| `error_rate` | 1.000% | 2.000% | +1.00 pp | +0.80 pp to +1.20 pp | ❌ worse |  |" in lines
    assert "| `ttft_p50_ms` | 220.00 ms | 800.00 ms | 200 to 240 | 72% | ✅ passed |  |" in lines
    assert "⚠️ other machine." in lines
    assert "| `stall_p50_ms` | 5.00 ms | - |  |  | ⚠️ inconclusive | not measured here |" in lines


def test_hostile_text_is_not_markup(tmp_path: Path) -> None:
    outcome = sample_outcome(
        tmp_path,
        checks=[check("framing.utf8", "fail", HOSTILE), check("ids.unique", "warn", HOSTILE)],
        ttft_ms=[1.0],
        violated={"resume.joins": [HOSTILE]},
        manifest={"target": {"base_url": HOSTILE}},
        problems=(HOSTILE,),
    )
    text = markdown(outcome)
    assert tags(_RENDERER.render(text)) <= OURS
    assert not re.search(r"^::", text, re.MULTILINE)


@pytest.mark.parametrize("limit", [0, 50, 200, 1000, 2000, 100_000])
def test_it_respects_the_size_limit(tmp_path: Path, limit: int) -> None:
    outcome = sample_outcome(
        tmp_path, checks=[check("framing.utf8", "fail", "ä" * 600), check("ids.unique", "fail", "ö" * 600)]
    )
    text = markdown(outcome, limit_bytes=limit)
    whole = markdown(outcome)
    assert len(text.encode()) <= limit
    assert text == whole or not text or text.endswith("The report is complete.*\n")
    assert (text == whole) == (limit >= len(whole.encode()))


def test_the_largest_possible_summary_fits(tmp_path: Path) -> None:
    from harness.contract.requirements import CATALOGUE

    outcome = sample_outcome(tmp_path, checks=[check(name, "fail", "|" * 10_000) for name in CATALOGUE])
    text = markdown(outcome)
    assert len(text.encode()) < LIMIT_BYTES
    assert "Truncated" not in text
