from pathlib import Path

from harness.reports.page import ReportPage, page
from harness.reports.setup_section import FACTS_SHOWN, FactTable
from harness.results.reader import Results
from harness.results.writer import ResultsWriter


def _page(path: Path) -> ReportPage:
    with Results(path) as results:
        return page(results)


def test_a_manifest_of_unexpected_types_still_gives_a_page(path: Path) -> None:
    with ResultsWriter(path) as writer:
        writer.set_manifest(
            started_at=7, ended_at=None, target="here", machine=["a"], state=None, extra={"a": [1]}
        )
    made = _page(path)
    assert (made.target, made.started, made.took) == ("", "7", "")
    assert made.facts[-1] == FactTable("Other", (("extra.a", "[1]"),), 0)


def test_facts_are_flattened_and_bounded(path: Path) -> None:
    with ResultsWriter(path) as writer:
        many = {f"key{number}": number for number in range(FACTS_SHOWN + 5)}
        writer.set_manifest(command=["harness", "check"], settings={"load": {"rate": 2.5}}, machine=many)
    facts = {table.title: table for table in _page(path).facts}
    assert facts["Test"].rows == (("command", "harness check"),)
    assert facts["Settings"].rows == (("load.rate", "2.5"),)
    assert (len(facts["Machine"].rows), facts["Machine"].left_out) == (FACTS_SHOWN, 5)
    assert facts["Versions"].rows == ()
