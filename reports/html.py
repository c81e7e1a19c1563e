"""Renders self-contained HTML pages from results files: they load nothing and run no scripts."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from harness import __version__
from harness.atomic_file import write_text
from harness.gate.report import GateReport
from harness.reports.comparison_page import ComparisonPage
from harness.reports.harness_error_section import PROCESS_COLUMNS
from harness.reports.load_section import JOURNEY_COLUMNS, PERCENTILE_COLUMNS
from harness.reports.page import ReportPage, page
from harness.reports.trend_page import TrendPage
from harness.results.reader import Results

from .text import Gap, agree, bounded, count, counted, visible

TEMPLATES = Path(__file__).parent / "templates"
_CODE = re.compile(r"`([^`]+)`")
_JOINT = re.compile(r"([._/]+)(?=[A-Za-z])")
"""Where a name may be broken into two lines."""

_ICON_COLOURS = {"good": "%231a7f4b", "bad": "%23b3261e", "warn": "%23a86a00", "none": "%236b7280"}


def write_report(
    results_path: str | os.PathLike[str],
    out_path: str | os.PathLike[str],
    gate: GateReport | None = None,
) -> Path:
    """Write the page of a results file and return its path; creates missing parent directories.

    gate: what the gate of the test found, with its baseline and repeats; None evaluates the file alone.

    The same results give the same page. Raises ResultsError when the results file is missing or not a results
    file, and FileWriteError when the page cannot be written.
    """
    with Results(results_path) as results, results.snapshot():
        html = render(page(results, gate))
    return _write(html, out_path)


def write_comparison(content: ComparisonPage, out_path: str | os.PathLike[str]) -> Path:
    """Write a comparison page and return its path. Raises FileWriteError."""
    return _write(render_comparison(content), out_path)


def write_paired(content: ComparisonPage, out_path: str | os.PathLike[str]) -> Path:
    """Write the page of an interleaved comparison and return its path. Raises FileWriteError."""
    return _write(_rendered("paired.html.j2", ("base.css", "compare.css"), content), out_path)


def write_trend(content: TrendPage, out_path: str | os.PathLike[str]) -> Path:
    """Write the page of a baseline's history and return its path. Raises FileWriteError."""
    return _write(_rendered("trend.html.j2", ("base.css", "compare.css"), content), out_path)


def _write(html: str, out_path: str | os.PathLike[str]) -> Path:
    out = Path(out_path)
    write_text(out, html)
    return out


def render(content: ReportPage) -> str:
    """A report page as HTML."""
    return _rendered(
        "report.html.j2",
        ("base.css", "report.css"),
        content,
        journey_columns=JOURNEY_COLUMNS,
        percentile_columns=PERCENTILE_COLUMNS,
        process_columns=PROCESS_COLUMNS,
    )


def render_comparison(content: ComparisonPage) -> str:
    """A comparison page as HTML."""
    return _rendered("compare.html.j2", ("base.css", "compare.css"), content)


def _rendered(
    template: str,
    style_sheets: tuple[str, ...],
    content: ReportPage | ComparisonPage | TrendPage,
    **context: Any,
) -> str:
    css = "\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in style_sheets)
    html: str = (
        _environment()
        .get_template(template)
        .render(
            page=content,
            css=Markup(css),  # noqa: S704 - our own file
            policy=content_security_policy(css),
            icon=_icon(content.headline.tone),
            version=__version__,
            **context,
        )
    )
    return html


def content_security_policy(css: str) -> str:
    """The page's policy: allows only its own style sheet, by hash, and images from data URLs."""
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode("ascii")
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; script-src 'none'; "
        "base-uri 'none'; form-action 'none'"
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "prose": _prose,
        "name": _name,
        "count": count,
        "counted": counted,
        "agree": agree,
    }
    environment.tests["gap"] = lambda row: isinstance(row, Gap)
    return environment


def _finalize(value: Any) -> Any:
    """Applied to every printed expression: bounds the text and escapes unprintable characters."""
    if isinstance(value, Markup):
        return value
    if value is None:
        raise ValueError("the template prints None")
    return visible(bounded(str(value)))


def _prose(text: str) -> Markup:
    """Escaped text in which `backquotes` mark code."""
    escaped = str(escape(visible(bounded(text))))
    return Markup(_CODE.sub(lambda code: f"<code>{_breakable(code[1])}</code>", escaped))  # noqa: S704 - escaped here


def _name(text: str) -> Markup:
    """The escaped name of a setting, metric or requirement. It may be broken only behind a dot or an underscore."""
    return Markup(_breakable(str(escape(visible(bounded(text))))))  # noqa: S704 - escaped here


def _breakable(escaped: str) -> str:
    return _JOINT.sub(r"\1<wbr>", escaped)


def _icon(tone: str) -> Markup:
    circle = f"<circle cx='8' cy='8' r='7' fill='{_ICON_COLOURS[tone]}'/>"
    svg = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>{circle}</svg>"
    return Markup(f"data:image/svg+xml,{quote(svg, safe='%')}")  # noqa: S704 - quoted here
