"""The suite as its users run it: options, selection, reports, exit codes, and nothing secret in any of them."""

from __future__ import annotations

import re
import socket
import sqlite3
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from harness.contract.evidence.document import restore
from harness.contract.finding import Verdict
from harness.contract.requirements import CATALOGUE, Level
from harness.results.reader import Results
from harness.results.summary import summarize
from tests.conformance.null_server import SERVERS, NullServer
from tests.conformance.raw_server import (
    PATH,
    PRINCIPALS,
    SECOND_TOKEN,
    TOKEN,
    RawServer,
    Refused,
    Request,
    Run,
    Style,
    settings_values,
)
from tests.conformance.suite import SUITE, Ran, run, write_config
from tests.forked import embedded_server

pytestmark = pytest.mark.slow

UNTESTED = "inconclusive"
AREAS = ("-m", "terminal or framing or ids")
#: None of these needs what the target of `with_gaps` lacks, but the last three.
OF_GAPS = (
    "-k",
    "resumes_the_run or test_ids_increase or exactly_one"
    " or belongs_to_its_organization or failing_action or test_a_run_without_tokens",
)

Suite = tuple[Ran, dict[str, Any]]


class TellTale(RawServer):
    """Repeats the Authorization header in what it says about a refusal."""

    def run_for(self, request: Request) -> tuple[Run, int]:
        try:
            return super().run_for(request)
        except Refused as refused:
            sent = request.header("authorization") or request.target
            raise Refused(
                refused.status, refused.reason, f"{refused.detail}; you sent {sent}", *refused.headers
            ) from None


@pytest.fixture(scope="module")
def server() -> Iterator[RawServer]:
    with RawServer(Style(unknown_fields=True)) as running:
        yield running


@pytest.fixture
def config(server: RawServer, tmp_path: Path) -> Path:
    return write_config(tmp_path, settings_values(server.base_url))


def suite(config: Path, *arguments: str, **environment: str) -> tuple[Ran, dict[str, Any]]:
    """pytest on the suite, and its JSON report."""
    given = ("--harness-config", str(config), "--harness-json", "verdicts.json")
    done = run("pytest", str(SUITE), *given, *arguments, folder=config.parent, **environment)
    return done, done.report(config.parent / "verdicts.json")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `plain` ran, and left results.sqlite and junit.xml."""
    return tmp_path_factory.mktemp("plain")


@pytest.fixture(scope="module")
def plain(server: RawServer, kept: Path) -> Suite:
    """Three areas on a server that does all right but for a SHOULD."""
    config = write_config(kept, settings_values(server.base_url))
    return suite(config, *AREAS, "--harness-results", "results.sqlite", "--junitxml", "junit.xml")


@pytest.fixture(scope="module")
def with_gaps(server: RawServer, tmp_path_factory: pytest.TempPathFactory) -> Suite:
    """On a target that does not offer all that the tests chosen need, and of which one setting is wrong."""
    values = settings_values(server.base_url)
    del values["target"]["second_principal"], values["target"]["actions"]["failure"]
    values["target"]["actions"]["silent"] = values["target"]["actions"]["success"]
    return suite(write_config(tmp_path_factory.mktemp("gaps"), values), *OF_GAPS)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[NullServer, Ran, dict[str, Any]]]:
    """On a server that answers everything with 500, up to the first failure."""
    with SERVERS["500"]() as null:
        config = write_config(tmp_path_factory.mktemp("stopped"), settings_values(null.base_url))
        yield null, *suite(config, "-x")


def verdicts(document: dict[str, Any]) -> dict[str, str]:
    return {check["id"]: check["verdict"] for check in document["checks"]}


def checked(document: dict[str, Any]) -> set[str]:
    return {check["id"] for check in document["checks"] if check["detail"] != "not tested"}


def assert_well_formed(document: dict[str, Any]) -> None:
    assert document["schema"] == 1
    assert [check["id"] for check in document["checks"]] == list(CATALOGUE)
    for check in document["checks"]:
        assert check["level"] == str(CATALOGUE[check["id"]].level)
        assert check["verdict"] in set(map(str, Verdict))
        assert check["detail"]
        assert all(set(one) == {"exchange", "event", "note"} for one in check["evidence"])
    counted = Counter(check["verdict"] if check["tested"] else "not tested" for check in document["checks"])
    names = [*map(str, Verdict), "not tested"]
    assert document["counts"] == {name: counted[name] for name in names}


# Selection.


def test_k_selects_by_name(config: Path, server: RawServer) -> None:
    done, document = suite(config, "-k", "closes_after or blank_line")
    assert done.code == 0, done.output
    assert_well_formed(document)
    assert document["target"] == {
        "base_url": server.base_url,
        "path": PATH,
        "organization_id": PRINCIPALS[TOKEN],
    }
    assert checked(document) == {"terminal.closes", "framing.blank-line"}
    assert {verdicts(document)[name] for name in checked(document)} == {"pass"}


class CountingServer(RawServer):
    """Counts the requests that it receives."""

    received = 0

    async def converse(self, connection: socket.socket) -> None:
        self.received += 1
        await super().converse(connection)


def test_a_budget_of_requests_is_never_exceeded(tmp_path: Path) -> None:
    with CountingServer(Style()) as server:
        config = write_config(tmp_path, settings_values(server.base_url))
        flags = ("--config", str(config), "--json", "verdicts.json", "--budget-requests", "24")
        done = run("harness", "conformance", *flags, "-k", "framing or resume", folder=tmp_path)
        assert server.received == 24, "each was needed, and each counts"
    document = done.report(tmp_path / "verdicts.json")
    assert done.code == 0, done.output
    told = re.search(
        r"the suite sends at most about (\d+) requests, which start at most about \d+ runs", done.output
    )
    assert told is not None, done.output
    assert int(told[1]) > 100
    assert "never more than 24 requests" in done.output
    assert {verdicts(document)[name] for name in checked(document)} == {"pass", UNTESTED}
    undecided = [check for check in document["checks"] if check["id"] in checked(document)]
    details = {check["detail"] for check in undecided if check["verdict"] == UNTESTED}
    assert details
    reason = "the suite's budget of 24 requests (limits.budget_requests"
    assert [detail for detail in details if reason not in detail] == []
    assert "The suite's budget of 24 requests" in done.output.partition("conformance by area")[2]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ("--harness-budget-requests", "5", "-n", "2"),
            "limits.budget_requests needs the suite in one process",
        ),
        (("--harness-budget-requests", "0"), "limits.budget_requests"),
    ],
)
def test_a_budget_that_cannot_be_kept_is_refused(config: Path, flags: tuple[str, ...], message: str) -> None:
    done, _ = suite(config, *flags, "-k", "ids.increasing")
    assert (done.code, message in done.output) == (2, True), done.output


def test_what_was_not_selected_is_not_counted_as_inconclusive(config: Path) -> None:
    done, document = suite(config, "-k", "ids.increasing", "--harness-results", "results.sqlite")
    counts = {name: count for name, count in document["counts"].items() if count}
    assert counts == {"pass": 1, "not tested": len(CATALOGUE) - 1}, done.output
    table = done.output.partition("conformance by area")[2]
    assert "inconclusive" not in table
    assert f"{len(CATALOGUE) - 1} requirements not selected or not reached" in table
    with Results(config.parent / "results.sqlite") as results:
        assert summarize(results)["checks"]["inconclusive"] == 0
    assert not (config.parent / ".hypothesis").exists()


def test_k_selects_by_the_id_of_a_requirement(config: Path) -> None:
    done, document = suite(config, "-k", "terminal.closes or framing.blank-line")
    assert done.code == 0, done.output
    assert checked(document) == {"terminal.closes", "framing.blank-line"}


def suite_state(path: Path) -> object:
    with Results(path) as results:
        return results.manifest.get("suite_state")


def test_the_results_tell_that_the_suite_came_to_its_end(plain: Suite, kept: Path) -> None:
    assert (plain[0].code, suite_state(kept / "results.sqlite")) == (0, "finished"), plain[0].output


BREAKERS = {
    "KeyboardInterrupt": 130,
    "RuntimeError": 3,  # of the suite itself, not of a test
}


@pytest.mark.parametrize("what", BREAKERS)
def test_the_results_tell_that_the_suite_was_broken_off(config: Path, what: str) -> None:
    breaker = f"""
def pytest_runtest_logfinish(nodeid):
    if "closes_after" in nodeid:
        raise {what}("broken off")
"""
    (config.parent / "breaker.py").write_text(breaker, encoding="utf-8")
    done, _ = suite(
        config, "-p", "breaker", "-k", "closes_after or blank_line", "--harness-results", "results.sqlite"
    )
    assert done.code == BREAKERS[what], done.output
    assert suite_state(config.parent / "results.sqlite") == "interrupted"


def test_pytest_settings_of_the_user_take_no_check_away(config: Path, plain: Suite) -> None:
    command = ("harness", "conformance", "--config", str(config), "--json", "c.json", *AREAS)
    done = run(*command, folder=config.parent, PYTEST_ADDOPTS="-k charset", PYTEST_PLUGINS="no_such_plugin")
    assert done.code == 0, done.output
    document = done.report(config.parent / "c.json")
    assert verdicts(document) == verdicts(plain[1])
    assert checked(document) == checked(plain[1])
    assert verdicts(document)["terminal.closes"] == "pass"
    plugins = next(line for line in done.output.splitlines() if line.startswith("plugins:"))
    assert re.findall(r"[a-z-]+(?=-[0-9])", plugins) == ["agent-run-harness", "xdist"]


def test_m_selects_an_area(config: Path) -> None:
    done, document = suite(config, "-m", "run_id and must")
    assert done.code == 0, done.output
    assert checked(document) == {
        name for name, row in CATALOGUE.items() if row.area == "run-id" and row.level is Level.MUST
    }


def test_level_and_area_select_together(config: Path) -> None:
    arguments = ("--harness-level", "must", "--harness-area", "ids", "--harness-area", "terminal")
    done, document = suite(config, *arguments)
    assert done.code == 0, done.output
    assert checked(document) == {
        name for name, row in CATALOGUE.items() if row.area in {"ids", "terminal"} and row.level is Level.MUST
    }
    assert "deselected" in done.output


def test_an_unknown_area_is_refused(config: Path) -> None:
    done = run(
        "harness",
        "conformance",
        "--config",
        str(config),
        "--harness-area",
        "resumption",
        folder=config.parent,
    )
    assert done.code == 2
    assert "'resume'" in done.output


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["in one process", "distributed"])
def test_selecting_nothing_is_not_green(config: Path, workers: tuple[str, ...]) -> None:
    done, document = suite(config, "-k", "nonsense", *workers)
    assert done.code == 2, done.output
    assert "nothing was tested" in done.output
    assert_well_formed(document)
    assert checked(document) == set()


def test_x_stops_at_the_first_failure(stopped: tuple[NullServer, Ran, dict[str, Any]]) -> None:
    _, done, document = stopped
    assert done.code == 1, done.output
    assert "stopping after 1 failures" in done.output
    assert document["counts"]["fail"] == 1
    failed = {check["id"] for check in document["checks"] if check["verdict"] == "fail"}
    assert failed == {"headers.event-stream"}
    assert len(checked(document)) < 10
    assert_well_formed(document)


# What is shown.


def test_a_failure_says_what_where_and_how_to_repeat_it(
    stopped: tuple[NullServer, Ran, dict[str, Any]],
) -> None:
    null, done, document = stopped
    assert done.code == 1
    assert "headers.event-stream (MUST): A successful response is 200" in done.output
    assert "a valid request got status 500, not 200" in done.output
    assert "HTTP/1.1 500 Internal Server Error" in done.output
    assert "curl" in done.output
    assert null.base_url + PATH in done.output
    assert "Traceback" not in done.output
    assert "pytest_plugin.py" not in done.output
    (check,) = [check for check in document["checks"] if check["verdict"] == "fail"]
    assert check["evidence"][0]["exchange"].startswith("exchange-")


def test_a_warning_is_no_failure_but_under_strict(config: Path, plain: Suite) -> None:
    done, document = plain
    assert (done.code, verdicts(document)["framing.fields"]) == (0, "warn"), done.output
    assert "'x-trace'" in done.output
    done, document = suite(config, "-k", "known_fields", "--harness-strict")
    assert (done.code, verdicts(document)["framing.fields"]) == (1, "warn"), done.output


def test_an_inconclusive_must_fails_only_under_strict(
    server: RawServer, tmp_path: Path, with_gaps: Suite
) -> None:
    done, document = with_gaps
    assert (done.code, verdicts(document)["terminal.no-tokens"]) == (0, "inconclusive"), done.output
    assert "configure one that produces none" in done.output
    values = settings_values(server.base_url)
    values["target"]["actions"]["silent"] = values["target"]["actions"]["success"]
    done, document = suite(write_config(tmp_path, values), *OF_GAPS, "--harness-strict")
    assert done.code == 1, done.output
    assert {verdicts(document)[name] for name in checked(document)} == {"pass", "inconclusive"}


def test_what_the_target_does_not_offer_is_not_applicable(with_gaps: Suite) -> None:
    done, document = with_gaps
    assert done.code == 0, done.output
    assert verdicts(document)["auth.key-scope"] == "not applicable"
    assert verdicts(document)["terminal.failure"] == "not applicable"
    assert verdicts(document)["terminal.exactly-one"] == "pass"
    assert "[target.second_principal]" in done.output
    assert "[target.actions.failure]" in done.output


def test_only_what_is_not_applicable_tested_nothing(server: RawServer, tmp_path: Path) -> None:
    values = settings_values(server.base_url)
    del values["target"]["second_principal"]
    done, document = suite(write_config(tmp_path, values), "-k", "belongs_to_its_organization")
    assert done.code == 2, done.output
    assert document["counts"]["pass"] == 0


# Reports.


def test_junit_names_requirement_and_verdict(plain: Suite, kept: Path) -> None:
    done, document = plain
    assert done.code == 0, done.output
    cases = list(ET.parse(kept / "junit.xml").getroot().iter("testcase"))
    told: dict[str, set[str]] = {}
    for case in cases:
        values = {one.get("name"): one.get("value") for one in case.iter("property")}
        assert values["requirement"], case.get("name")
        told.setdefault(str(values["requirement"]), set()).add(str(values["verdict"]))
        assert case.find("error") is None
    assert set(told) == checked(document)
    assert told["framing.blank-line"] == {"pass"}
    assert told["framing.fields"] == {"warn"}


def test_distributed_or_not_the_verdicts_are_the_same(config: Path, plain: Suite) -> None:
    alone, first = plain
    done, document = suite(config, *AREAS, "-n", "2", "--harness-results", "results.sqlite")
    assert (alone.code, done.code) == (0, 0), done.output
    assert_well_formed(document)
    assert verdicts(document) == verdicts(first)
    assert "conformance by area" in done.output
    with closing(sqlite3.connect(config.parent / "results.sqlite")) as results:
        stored = dict(results.execute("SELECT id, verdict FROM checks"))
        kept = {name for (name,) in results.execute("SELECT id FROM exchanges")}
    assert stored == verdicts(document)
    pointed = {one["exchange"] for check in document["checks"] for one in check["evidence"]}
    assert pointed
    assert pointed <= kept


# No target, no test.


def assert_untested(done: Ran, *words: str) -> None:
    assert done.code == 2, done.output
    assert "Traceback" not in done.output
    assert "INTERNALERROR" not in done.output
    sentence = next((line for line in done.output.splitlines() if "harness: " in line), "")
    for word in words:
        assert word in sentence, done.output


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["in one process", "distributed"])
def test_without_a_target_pytest_says_what_to_give(tmp_path: Path, workers: tuple[str, ...]) -> None:
    done = run("pytest", str(SUITE), "--harness-json", "v.json", *workers, folder=tmp_path)
    assert_untested(done, "no target is set", "--harness-target")
    document = done.report(tmp_path / "v.json")
    assert_well_formed(document)
    assert {check["verdict"] for check in document["checks"]} == {UNTESTED}
    assert "no target is set" in document["checks"][0]["detail"]


def test_without_a_target_the_command_says_what_to_give(tmp_path: Path) -> None:
    done = run("harness", "conformance", "--json", "v.json", folder=tmp_path)
    assert_untested(done, "no target is set", "--target")
    assert_well_formed(done.report(tmp_path / "v.json"))


def test_a_target_that_is_not_there(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    done, document = suite(write_config(tmp_path, settings_values(f"http://127.0.0.1:{port}")))
    assert_untested(done, "cannot be reached", f"127.0.0.1:{port}")
    assert "cannot be reached" in document["checks"][0]["detail"]


def test_a_wrong_token(server: RawServer, tmp_path: Path) -> None:
    values = settings_values(server.base_url, token="of-nobody-77aa")
    done, document = suite(write_config(tmp_path, values), "--harness-results", "results.sqlite")
    assert_untested(done, "rejected the token", "401", "HARNESS_TARGET__TOKEN")
    assert document["counts"]["not tested"] == len(CATALOGUE)
    assert suite_state(tmp_path / "results.sqlite") == "interrupted"
    assert "of-nobody-77aa" not in done.output


def test_a_missing_token(server: RawServer, tmp_path: Path) -> None:
    values = settings_values(server.base_url)
    del values["target"]["token"]
    done, _ = suite(write_config(tmp_path, values))
    assert_untested(done, "requires a token", "HARNESS_TARGET__TOKEN")


def test_a_foreign_organization(server: RawServer, tmp_path: Path) -> None:
    done, _ = suite(
        write_config(tmp_path, settings_values(server.base_url)), "--harness-organization", "org-else"
    )
    assert_untested(done, "org-else", "403")


def test_a_misspelt_setting_names_the_nearest(server: RawServer, tmp_path: Path) -> None:
    values = settings_values(server.base_url, organisation_id="org-raw")
    done, _ = suite(write_config(tmp_path, values))
    assert_untested(done, "organisation_id", "organization_id")


def test_a_misspelt_variable_names_the_nearest(config: Path) -> None:
    done, _ = suite(config, HARNESS_TARGET__TOKN="x")
    assert_untested(done, "tokn", "token")


def test_a_token_file_that_is_not_there(config: Path) -> None:
    done, _ = suite(config, "--harness-token-file", "nowhere")
    assert_untested(done, "token file", "nowhere")


def test_flags_and_variables_outrank_the_file(server: RawServer, tmp_path: Path) -> None:
    values = settings_values("http://127.0.0.1:9", token="wrong", organization_id="wrong")
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    done, document = suite(
        write_config(tmp_path, values),
        "--harness-target",
        server.base_url,
        "--harness-token-file",
        "token",
        "-k",
        "exactly_one",
        HARNESS_TARGET__ORGANIZATION_ID=PRINCIPALS[TOKEN],
    )
    assert done.code == 0, done.output
    assert verdicts(document)["terminal.exactly-one"] == "pass"


def test_the_options_name_profile_and_variables(tmp_path: Path) -> None:
    with embedded_server(profile="openai-chat", needs_token=False) as base_url:
        options = (
            "--harness-target",
            base_url,
            "--harness-profile",
            "openai-chat",
            "--harness-json",
            "v.json",
        )
        done = run(
            "pytest", str(SUITE), *options, "--harness-var", "model=m", "-k", "exactly_one", folder=tmp_path
        )
        found = verdicts(done.report(tmp_path / "v.json"))
        assert (found["terminal.exactly-one"], found["ids.present"]) == ("pass", "inconclusive")
        assert_untested(
            run("pytest", str(SUITE), *options, folder=tmp_path),
            "needs the variable model",
            "--harness-var model=VALUE",
        )
    wrong = run("pytest", str(SUITE), "--harness-var", "model", folder=tmp_path)
    assert "'model' is not a variable; write NAME=VALUE, or NAME:=JSON" in wrong.output


# Tests that are wrong are the harness's own fault, and said to be.

OWN_SUITE = """
import pytest
from harness.contract.exchange import Ending, Exchange, Timing
from harness.contract.rules import ids, terminal
from harness.protocol.request import HttpRequest
from harness.suite.fixtures import check, scenario_runner
from harness.suite.pytest_plugin import decides

@decides(terminal.last)
def test_checks_nothing(check):
    pass

@decides(terminal.closes)
def test_checks_twice(check):
    check(None)
    check(None)

@decides(ids.unique)
def test_breaks():
    raise RuntimeError("its own fault")

@pytest.mark.harness_requirement("ids.present")
def test_has_no_such_fixture(nonesuch):
    pass

@decides(terminal.exactly_one)
def test_checks_an_exchange(check):
    timing = Timing(0, 0, None, None, None, 0)
    check(Exchange("", HttpRequest("GET", "/", ()), timing, (), Ending.REFUSED, "refused"))

def test_of_something_else():
    pass
"""


COUNTS_FINDINGS = """
import gc
from harness.suite.evidence_store import Evaluated

def pytest_sessionfinish():
    print("findings in memory:", sum(isinstance(one, Evaluated) for one in gc.get_objects()))
"""


def test_a_test_that_checks_nothing_or_breaks_is_an_error(config: Path) -> None:
    (config.parent / "test_own.py").write_text(OWN_SUITE)
    (config.parent / "conftest.py").write_text(COUNTS_FINDINGS)
    done = run(
        "pytest",
        "test_own.py",
        "--harness-config",
        str(config),
        "--harness-json",
        "v.json",
        folder=config.parent,
    )
    assert done.code == 1, done.output
    document = done.report(config.parent / "v.json")
    details = {check["id"]: check["detail"] for check in document["checks"] if check["verdict"] == "error"}
    assert details.keys() == {"terminal.last", "terminal.closes", "ids.unique", "ids.present"}
    assert details["terminal.last"] == "the test checked nothing"
    assert "the harness itself failed" in details["terminal.closes"]
    assert "RuntimeError: its own fault" in details["ids.unique"]
    assert document["counts"]["pass"] == 0
    decided = {check["id"] for check in document["checks"] if check["tested"]}
    assert "terminal.exactly-one" in decided
    assert "findings in memory: 0" in done.output  # each may have events of megabytes


def test_a_requirement_that_is_not_in_the_catalogue_is_refused(config: Path) -> None:
    (config.parent / "test_own.py").write_text(OWN_SUITE.replace("ids.present", "ids.presnt"))
    done = run("pytest", "test_own.py", "--harness-config", str(config), folder=config.parent)
    assert done.code == 4
    assert "did you mean 'ids.present'" in done.output
    assert "INTERNALERROR" not in done.output


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["in one process", "distributed"])
def test_other_peoples_tests_are_left_alone(tmp_path: Path, workers: tuple[str, ...]) -> None:
    (tmp_path / "test_theirs.py").write_text("def test_of_theirs():\n    pass\n")
    done = run("pytest", "test_theirs.py", *workers, folder=tmp_path)
    assert done.code == 0, done.output
    assert "conformance" not in done.output


# Secrets.


def test_no_token_is_in_anything_that_is_left_behind(tmp_path: Path) -> None:
    with TellTale() as server:
        config = write_config(tmp_path, settings_values(server.base_url))
        out = tmp_path / "out"
        done = run(
            "harness",
            "conformance",
            "--config",
            str(config),
            "--out",
            str(out),
            "--json",
            str(tmp_path / "v.json"),
            "--junit",
            str(tmp_path / "junit.xml"),
            "-m",
            "security or auth",
            "-rA",
            folder=tmp_path,
        )
    assert done.code == 1, done.output
    document = done.report(tmp_path / "v.json")
    assert verdicts(document)["security.no-secrets"] == "fail"
    left = [tmp_path / "v.json", tmp_path / "junit.xml", *(path for path in out.rglob("*") if path.is_file())]
    assert {path.suffix for path in left} >= {".json", ".xml", ".sqlite", ".html"}
    for secret in (TOKEN, SECOND_TOKEN):
        assert secret not in done.output
        for path in left:
            assert secret.encode() not in path.read_bytes(), path
        with closing(sqlite3.connect(out / "results.sqlite")) as results:
            assert secret not in "\n".join(results.iterdump())
    came, went = recorded(out / "results.sqlite")
    assert TOKEN.encode() not in came + went
    assert SECOND_TOKEN.encode() not in came + went
    masked = b"you sent Bearer " + b"*" * len(TOKEN)
    assert masked in came


def recorded(results_file: Path) -> tuple[bytes, bytes]:
    """Every byte that came and went, as the results keep it: encoded, so that no plain search would find a secret."""
    came, went = b"", b""
    with Results(results_file) as results:
        for stored in results.exchanges():
            exchange = restore(stored.document)
            came += b"".join(read.data for read in exchange.reads)
            went += repr(exchange.request).encode()
    assert came
    return came, went
