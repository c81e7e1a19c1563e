import functools
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from markupsafe import escape

from harness.contract.finding import Location
from harness.contract.requirements import CATALOGUE
from harness.load.stats.violation_evidence import excerpts
from harness.reports.heatmap import RAMPS
from harness.reports.html import TEMPLATES, write_report
from harness.results.histogram import Histogram
from harness.results.reader import Results
from harness.results.records import CheckRecord, StreamRecord
from harness.results.schema import ResultsError
from harness.results.writer import ResultsWriter
from tests.contract.exchanges import in_one_read

from . import samples
from .pagecheck import Checked, checked
from .samples import HOSTILE

SAMPLES: dict[str, Callable[[Path], Path]] = {
    "full": samples.full,
    "failing": samples.failing,
    "hostile": lambda path: samples.failing(path, HOSTILE),
    "load only": samples.load_only,
    "conformance only": samples.conformance_only,
    "empty": samples.empty,
}
SECTIONS = (
    "verdict", "objectives", "lag", "conformance", "policies", "charts", "metrics", "journeys", "ledger", "violations",
    "setup", "exchanges",
)  # fmt: skip


def _html(tmp_path: Path, make: Callable[[Path], Path]) -> str:
    return write_report(make(tmp_path / "results.sqlite"), tmp_path / "report.html").read_text(
        encoding="utf-8"
    )


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The page of one of SAMPLES, cached."""

    @functools.cache
    def made(name: str) -> str:
        return _html(tmp_path_factory.mktemp("sample"), SAMPLES[name])

    return made


def test_the_report_of_a_running_test_shows_one_moment_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test goes on while its report is made: a chart had a value in a second after its last one (IndexError)."""
    path = samples.full(tmp_path / "results.sqlite")
    by_second = Results.histograms_by_second
    with ResultsWriter(path) as writer:
        writer.commit()
        alone = write_report(path, tmp_path / "alone.html").read_text(encoding="utf-8")

        def after_another_second(results: Results, metric: str, *rest: object, **more: object) -> object:
            histogram = Histogram()
            histogram.record(300.0)
            writer.add_histogram(metric, "fresh", 4_000_000_000, "worker-0", histogram)
            writer.commit()
            return by_second(results, metric, *rest, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(Results, "histograms_by_second", after_another_second)
        page = write_report(path, tmp_path / "report.html").read_text(encoding="utf-8")
    assert page == alone


@pytest.mark.parametrize("name", SAMPLES)
def test_every_kind_of_results_gives_a_valid_page_with_every_section(
    sample: Callable[[str], str], name: str
) -> None:
    html = sample(name)
    page = checked(html)
    assert [name for name in page.ids if name in SECTIONS] == list(SECTIONS)
    assert html.startswith("<!doctype html>")
    assert len(html) < 3_000_000


def test_the_page_is_written_to_the_given_path(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "er" / "report.html"
    assert write_report(samples.empty(tmp_path / "r.sqlite"), out) == out
    assert out.is_file()


def test_the_same_results_give_the_same_page(tmp_path: Path) -> None:
    path = samples.full(tmp_path / "r.sqlite")
    pages = [write_report(path, tmp_path / f"{number}.html").read_bytes() for number in range(2)]
    assert pages[0] == pages[1]


def test_text_of_the_server_does_not_become_markup(sample: Callable[[str], str]) -> None:
    html = sample("hostile")
    page = checked(html)
    assert "<script" not in html
    assert "<img" not in html
    shown = HOSTILE.replace("\x00", "\\x00").replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")
    assert f"2 events follow the terminal event: {shown}" in page.text
    assert f"event 4 of the original is missing after the cut: {shown}" in page.text
    assert f"truncated: {shown}" in page.text


def test_hostile_names_do_not_become_markup(tmp_path: Path) -> None:
    def make(path: Path) -> Path:
        with ResultsWriter(path) as writer:
            writer.set_manifest(
                command=HOSTILE,
                started_at=HOSTILE,
                target={"base_url": HOSTILE, "path": HOSTILE},
                machine={HOSTILE: HOSTILE},
                workers_lost=[HOSTILE],
            )
            writer.add_exchange(
                HOSTILE, HOSTILE, HOSTILE, {**samples.document(1), "label": HOSTILE, "started_at": HOSTILE}
            )
            evidence = [
                {"exchange": HOSTILE, "event": 0, "note": HOSTILE},
                {"exchange": "gone", "event": None, "note": ""},
            ]
            for number, verdict in enumerate(("pass", "fail")):
                name = f"{HOSTILE}{number}"
                writer.add_checks(
                    [CheckRecord(id=name, level="MUST", verdict=verdict, detail=HOSTILE, evidence=evidence)]
                )
            writer.add_ledger(HOSTILE, samples.START, HOSTILE, "scheduled")
            writer.count_violation(HOSTILE, HOSTILE, HOSTILE)
            writer.add_violation(HOSTILE, HOSTILE, 1, HOSTILE, {HOSTILE: HOSTILE})
        return path

    html = _html(tmp_path, make)
    checked(html)
    assert "<script" not in html


def test_long_texts_are_bounded(tmp_path: Path) -> None:
    def make(path: Path) -> Path:
        return samples.failing(path, "A" * 50_000)

    html = _html(tmp_path, make)
    checked(html)
    assert len(html) < 1_000_000
    assert "more characters omitted" in html
    assert "A" * 5_000 not in html


def test_long_exchanges_are_bounded(tmp_path: Path) -> None:
    def make(path: Path) -> Path:
        with ResultsWriter(path) as writer:
            writer.set_manifest(**samples.MANIFEST)
            samples.write_conformance(writer)
            writer.add_exchange("completed_run/run", "completed_run", "run", samples.document(5_000))
        return path

    page = checked(_html(tmp_path, make))
    assert "4,940 events omitted" in page.text
    assert "4,940 reads omitted" in page.text


def test_the_matrix_links_to_every_check(tmp_path: Path) -> None:
    path = samples.failing(tmp_path / "r.sqlite")
    page = checked(write_report(path, tmp_path / "r.html").read_text(encoding="utf-8"))
    with Results(path) as results:
        checks = results.checks()
    assert {f"{check.id}: {check.verdict}" for check in checks} <= set(page.labels)
    assert {check.id for check in checks} <= set(page.links)
    assert CATALOGUE["terminal.last"].text in page.text


def test_a_failed_check_shows_curl_wire_log_and_decoded_events(sample: Callable[[str], str]) -> None:
    html = sample("failing")
    block = html[html.index('id="terminal.last"') :]
    block = block[: block.index('<details class="check">')]
    assert "curl -N -X POST" in block
    assert "HTTP/1.1 200 OK" in block
    assert re.search(r'<tr class="here"><td>2</td><td>81.2</td>', block)
    assert "id: 1790000000000-0\\ndata:" in block


def test_code_in_a_requirement_is_marked_up(sample: Callable[[str], str]) -> None:
    html = sample("conformance only")
    assert (
        "Only <code>data</code>, <code>id</code>, <code>event</code>, <code>retry</code> and comment lines"
        in html
    )


def test_names_may_be_broken_behind_dots_and_underscores_only(sample: Callable[[str], str]) -> None:
    html = sample("full")
    assert "<code>ttft_<wbr>p95_<wbr>ms</code>" in html
    assert "<dt>load.<wbr>journeys.<wbr>fresh</dt>" in html
    assert "0.<wbr>1" not in html


def test_a_requirement_that_is_not_met_shows_how_to_fix_it(sample: Callable[[str], str]) -> None:
    html = sample("failing")
    block = html[html.index('id="terminal.last"') :]
    assert f"How to fix it:</strong> {escape(CATALOGUE['terminal.last'].fix)}" in block.replace(
        "<code>", "`"
    ).replace("</code>", "`").replace("<wbr>", "")
    page = checked(html)
    # Two failed checks, a warning, and two requirements violated under load.
    assert page.text.count("How to fix it:") == 5
    assert "How to fix it:" not in checked(sample("full")).text


def test_policies_are_listed_and_link_to_their_evidence(sample: Callable[[str], str]) -> None:
    page = checked(sample("full"))
    assert (
        "Where a resume without Last-Event-ID starts: replay or tail replay: the first event is sent again"
        in page.text
    )
    assert page.links.count("resume.start") == 2


def test_the_legend_of_a_heat_map_has_its_colours() -> None:
    css = (TEMPLATES / "base.css").read_text(encoding="utf-8")
    heat_colours = re.findall(r"--heat-(\d): (#[0-9a-f]{6});", css)
    assert heat_colours == [
        (str(place), colour) for ramp in RAMPS.values() for place, colour in enumerate(ramp, start=1)
    ]


def test_a_journey_with_any_name_is_drawn(tmp_path: Path) -> None:
    def make(path: Path) -> Path:
        with ResultsWriter(path) as writer:
            writer.add_ledger("w0", samples.START, HOSTILE, "scheduled")
            row = StreamRecord(
                journey=f"$\\frac{{1}}$\U0001f600{HOSTILE}",
                step="run",
                worker="w0",
                intended_ns=samples.START * 10**9,
                outcome="done",
                duration_ms=12.0,
                run_id=HOSTILE,
            )
            writer.add_streams([row])
        return path

    html = _html(tmp_path, make)
    checked(html)
    assert "The slowest run" in html
    assert "<script" not in html


def test_the_slowest_runs_link_to_their_traces(tmp_path: Path) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"

    def make(path: Path) -> Path:
        with ResultsWriter(path) as writer:
            writer.set_manifest(settings={"report": {"trace_url": 'https://t.example/{trace_id}?"><script>'}})
            writer.add_ledger("w0", samples.START, "fresh", "scheduled")
            row = StreamRecord(
                journey="fresh",
                step="run",
                worker="w0",
                intended_ns=samples.START * 10**9,
                outcome="done",
                duration_ms=12.0,
                trace_id=trace_id,
            )
            writer.add_streams([row])
        return path

    html = _html(tmp_path, make)
    address = f'https://t.example/{trace_id}?"><script>'
    assert Checked(html).problems == [f"<a href={address!r}> leaves the page"]
    assert (
        f'<a href="https://t.example/{trace_id}?&#34;&gt;&lt;script&gt;" rel="noreferrer">{trace_id}</a>'
        in html
    )
    assert "<script" not in html


def test_an_empty_file_has_a_note_in_every_section(sample: Callable[[str], str]) -> None:
    text = checked(sample("empty")).text
    for sentence in (
        "Nothing tested",
        "The results file does not record an end",
        "No objectives were set for this test.",
        "The conformance suite did not run",
        "No check for a policy ran.",
        "No streams ran under load, so there are no charts.",
        "No journeys ran: this test had no load.",
        "No streams were scheduled: this test had no load.",
        "No streams were checked under load.",
        "The harness's own lag was not measured.",
        "Not recorded in the results file.",
        "No exchanges were recorded.",
    ):
        assert sentence in text


def test_the_secret_settings_stay_masked(sample: Callable[[str], str]) -> None:
    assert "**********" in checked(sample("full")).text


def test_a_missing_file_raises_an_error(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="no such results file"):
        write_report(tmp_path / "none.sqlite", tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_file_that_is_not_a_results_file_raises_an_error(tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    other.write_bytes(b"not a database at all, but long enough to be one" * 50)
    with pytest.raises(ResultsError, match="not a results file"):
        write_report(other, tmp_path / "report.html")


def test_an_event_in_a_read_of_hundreds_is_marked_on_the_page(tmp_path: Path) -> None:
    recorded_run = in_one_read(400)
    path = tmp_path / "results.sqlite"
    with ResultsWriter(path) as writer:
        evidence = excerpts([Location(recorded_run, recorded_run.frames[200])], "http://h", ())
        writer.count_violation("ids.unique", "fresh", "w")
        writer.add_violation("ids.unique", "fresh", 1, "twice", evidence)
    page = write_report(path, tmp_path / "report.html").read_text()
    (here,) = re.findall("<mark>(.*?)</mark>", page)
    assert "word200 " in here
    before, after = page.split(f"<mark>{here}</mark>")
    assert re.search(
        r'<td><span class="gap">13,\d{3} bytes omitted</span>\n<span>[^<]*word199 [^<]*</span>\n$', before
    )
    assert re.match(
        r'\n<span>[^<]*word201 [^<]*</span>\n<span class="gap">13,\d{3} bytes omitted</span></td>', after
    )
