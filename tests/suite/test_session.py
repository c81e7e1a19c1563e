"""No way out of a session shows a secret or controls the terminal: verdicts, notes, reports and the JSON file."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.config.settings import Settings
from harness.contract.evidence.redaction import Redactor
from harness.contract.exchange import Exchange
from harness.contract.finding import Finding, Location, Verdict
from harness.contract.requirements import find
from harness.contract.verdicts import CheckOutcome, Verdicts
from harness.errors import LocalResourceError, SettingsError
from harness.exit_codes import INTERRUPTED, NOT_TESTED
from harness.protocol.request import HttpRequest
from harness.suite import session as session_module
from harness.suite.evidence_store import Evaluated, EvidenceStore
from harness.suite.not_decided import NotApplicable, Undecided
from harness.suite.session import EVALUATED, TargetSession
from harness.suite.terminal_report import LineWriter, explain
from tests.contract.exchanges import POST, done, run, token

TOKEN = "canary-7f3a9c2e"
SAID = f"it said {TOKEN} \x1b[31m\u202e"
MASKED = r"it said *************** \x1b[31m\u202e"
SETTINGS = Settings.model_validate(
    {"target": {"base_url": "http://127.0.0.1:9", "token": TOKEN, "path": f"/run/{TOKEN}"}}
)
RULE = "ids.unique"


def session_with(**options: Any) -> TargetSession:
    """A session whose command line has these options, and no others."""
    config: Any = SimpleNamespace(
        getoption=lambda name, default=None: options.get(name, default), stash=pytest.Stash()
    )
    session = TargetSession(config)
    session.settings, session.redact = SETTINGS, Redactor(SETTINGS.secrets())
    config.stash[session_module._EVIDENCE] = EvidenceStore(SETTINGS, "exchange-", stores_documents=True)
    return session


def attached(
    raised: BaseException | None, evaluated: Evaluated | None = None
) -> tuple[pytest.TestReport, Any, Any]:
    session, stash = session_with(), pytest.Stash()
    if evaluated is not None:
        stash[EVALUATED] = evaluated
    item: Any = SimpleNamespace(
        name="test", path="a.py", location=("a.py", 1, "a"), stash=stash, user_properties=[]
    )
    report = pytest.TestReport("a.py::a", ("a.py", 1, "a"), {}, "passed", None, "call")
    call: Any = SimpleNamespace(duration=1.0, when="call")
    session._attach_verdict(report, item, call, RULE, raised)
    return report, report.harness, item  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("raised", "verdict", "detail"),
    [
        (NotApplicable(SAID), Verdict.NOT_APPLICABLE, MASKED),
        (Undecided(SAID), Verdict.INCONCLUSIVE, MASKED),
        (LocalResourceError(SAID), Verdict.INCONCLUSIVE, MASKED),
        (ValueError(SAID), Verdict.ERROR, f"the harness itself failed: ValueError: {MASKED}"),
    ],
)
def test_what_a_test_raised(raised: BaseException, verdict: Verdict, detail: str) -> None:
    report, result, _ = attached(raised)
    assert (result["outcome"]["verdict"], result["outcome"]["detail"]) == (str(verdict), detail)
    assert TOKEN not in str(report.longrepr)


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.WARN, Verdict.INCONCLUSIVE, Verdict.PASS])
def test_what_a_rule_found(verdict: Verdict) -> None:
    one = run(token(0, SAID), done(1), label=f"a {TOKEN} label")
    finding = Finding(RULE, verdict, SAID, (Location(one, one.frames[0], f"note {TOKEN}\x1b"),))
    report, result, item = attached(None, Evaluated(finding, (one,)))
    assert result["outcome"]["detail"] == MASKED
    assert [row["note"] for row in result["outcome"]["evidence"]] == [r"note ***************\x1b"]
    assert TOKEN not in str(report.longrepr)
    assert "\x1b" not in str(report.longrepr)
    assert EVALUATED not in item.stash  # the events of a test may have megabytes


def test_a_test_that_checked_nothing_is_an_error() -> None:
    report, result, _ = attached(None)
    assert (result["outcome"]["verdict"], report.outcome) == ("error", "failed")


def test_the_note_about_a_queue() -> None:
    session = session_with()
    session.queue_note = SAID
    assert session.notes == [f"{MASKED}, so the suite sent no more at once."]


def test_the_target_in_the_json_report(tmp_path: Path) -> None:
    file = tmp_path / "verdicts.json"
    session_with(harness_json=str(file))._finish(interrupted=False)
    document = json.loads(file.read_text())
    assert document["target"]["path"] == "/run/***************"
    assert TOKEN not in file.read_text()


@pytest.fixture
def spoken() -> Exchange:
    """A run whose request and response have the token, and whose head controls a terminal."""
    request = HttpRequest(
        POST.method, f"{POST.target}?q={TOKEN}", (*POST.headers, ("X", TOKEN)), TOKEN.encode()
    )
    headers = {"X-Echo": TOKEN, "Content-Type": "text/event-stream"}
    return run(token(0, SAID), done(1), request=request, headers=headers, label=f"a {TOKEN} label")


def test_an_explanation_of_each_part(spoken: Exchange) -> None:
    places = [Location(spoken, spoken.frames[0], f"note {TOKEN}")] * 5
    text = explain(Finding(RULE, Verdict.FAIL, SAID, tuple(places)), find(RULE), SETTINGS)
    assert TOKEN not in text
    assert text.replace("\n", "").isprintable()
    assert text.count("note ***************") == 5
    assert f"FAIL: {MASKED}" in text


def test_a_line_of_a_stored_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    LineWriter().write_line("said \x1b[31m\u202e")
    assert capsys.readouterr().out == "said \\x1b[31m\\u202e\n"


@pytest.mark.parametrize("where", ["a read", "another read", "the request's body"])
def test_no_part_of_a_secret_that_is_cut_is_shown(where: str) -> None:
    """Where text is cut depends on what is before the secret, so it is put at each place near the cuts."""
    for before in range(0, 480, 7):
        text = f"{'x' * before}{TOKEN}{'y' * 3000}"
        request = POST.with_json({"x": text}) if where == "the request's body" else POST
        contents = ["", "", text] if where == "another read" else [text if where == "a read" else "", "", ""]
        one = run(*(token(at, content) for at, content in enumerate(contents)), done(3), request=request)
        finding = Finding(RULE, Verdict.FAIL, "twice", (Location(one, one.frames[0]),))
        shown = explain(finding, find(RULE), SETTINGS)
        assert TOKEN[:7] not in shown, before
        assert TOKEN[-7:] not in shown, before


def test_what_pytest_reports_of_a_test_is_cleaned() -> None:
    session = session_with()
    report = pytest.TestReport("a.py::a", ("a.py", 1, "a"), {}, "failed", SAID, "call")
    report.sections = [("Captured stdout call", SAID)]
    item: Any = SimpleNamespace(get_closest_marker=lambda _: None, stash=pytest.Stash(), name="other")
    reporting = session.pytest_runtest_makereport(item, SimpleNamespace(excinfo=None, when="call"))  # type: ignore[arg-type]
    next(reporting)
    with pytest.raises(StopIteration) as ended:
        reporting.send(report)
    assert (ended.value.value.longrepr, report.sections[0][1]) == (MASKED, MASKED)


class Ending(SimpleNamespace):
    """A pytest session at its end."""

    exitstatus: int = pytest.ExitCode.OK


def ended(session: TargetSession, status: int = pytest.ExitCode.OK) -> int:
    """The exit status after the session's last hook."""
    session.config.option = SimpleNamespace(collectonly=False)
    ending: Any = Ending(exitstatus=status)
    session.pytest_sessionfinish(ending, status)
    return int(ending.exitstatus)


def test_a_session_that_passed_and_is_sound_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def judged(verdict: Verdict, known: bool = False, **options: Any) -> TargetSession:
        session = session_with(**options)
        if known:
            session.verdicts.known = {RULE: "listed"}
        final, detail = session.verdicts.accept(RULE, verdict, "so")
        session.verdicts.add(CheckOutcome(RULE, final, detail, "test"))
        return session

    monkeypatch.setattr(Verdicts, "all_musts_undecided", None)
    assert ended(judged(Verdict.PASS)) == pytest.ExitCode.OK
    assert ended(judged(Verdict.PASS, known=True)) == pytest.ExitCode.TESTS_FAILED  # a stale entry
    updating = judged(Verdict.PASS, known=True, harness_update_known_failures=True)
    assert ended(updating) == pytest.ExitCode.OK
    unsound = judged(Verdict.PASS)
    unsound.unsound = "the machine had no memory"
    assert ended(unsound) == pytest.ExitCode.TESTS_FAILED
    assert unsound.notes == ["The test is not sound (exit 1): the machine had no memory."]
    monkeypatch.setattr(Verdicts, "all_musts_undecided", "every MUST is inconclusive")
    assert ended(judged(Verdict.PASS)) == pytest.ExitCode.TESTS_FAILED
    interrupted = judged(Verdict.PASS)
    interrupted.interrupted = True
    assert ended(interrupted) == INTERRUPTED
    assert ended(session_with()) == NOT_TESTED


def test_a_results_file_that_cannot_be_written_is_no_pass(tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("")
    session = session_with(harness_json=str(tmp_path / "a file" / "verdicts.json"))
    assert ended(session) == NOT_TESTED
    assert "cannot write" in session._not_written


def test_files_are_tried_before_the_first_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start() -> None:
        raise AssertionError("a request was sent")

    (tmp_path / "a file").write_text("")
    session = session_with(harness_json=str(tmp_path / "a file" / "verdicts.json"))
    session.config.option = SimpleNamespace(collectonly=False)
    monkeypatch.setattr(session, "_start", start)
    monkeypatch.setattr(session_module, "show_paths_of_the_suite", lambda _: None)
    with pytest.raises(pytest.exit.Exception, match="is not a folder") as ending:
        session.pytest_runtestloop(SimpleNamespace(items=[]))  # type: ignore[arg-type]
    assert ending.value.returncode == NOT_TESTED


@pytest.mark.parametrize("distributed", [{"numprocesses": 2}, {}])
def test_a_budget_needs_one_process(tmp_path: Path, distributed: dict[str, Any]) -> None:
    config = tmp_path / "harness.toml"
    config.write_text('[target]\nbase_url = "http://127.0.0.1:9"\n[limits]\nbudget_requests = 10\n')
    session = session_with(harness_config=str(config), **distributed)
    if not distributed:
        session.config.workerinput = {"workerid": "gw0"}  # type: ignore[attr-defined]
    with pytest.raises(SettingsError, match="needs the suite in one process"):
        session._start()


def test_freed_memory_is_returned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "harness.toml"
    config.write_text('[target]\nbase_url = "http://127.0.0.1:9"\n')
    called: list[bool] = []
    monkeypatch.setattr(session_module, "return_freed_memory", lambda: called.append(True))
    with pytest.raises(SettingsError, match="no action is configured"):
        session_with(harness_config=str(config))._start()
    assert called == [True]
