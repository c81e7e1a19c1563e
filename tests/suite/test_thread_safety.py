"""Threads that scenarios start must not crash the session, nor outlive it."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from conformance.scenarios.hostile import _BodySearch
from harness.config.settings import Settings
from harness.suite.scenario import ScenarioContext
from tests.conformance.raw_server import RawServer, Style, settings_values
from tests.conformance.suite import SUITE, run, write_config

_NO_SOURCE = """
import _pytest._code.code as code

def parsing(*_):
    raise SystemError("AST constructor recursion depth mismatch (before=126, after=188)")

code.getstatementrange_ast = parsing
"""


@pytest.mark.slow
def test_what_is_not_applicable_needs_no_source_to_be_parsed(tmp_path: Path) -> None:
    (tmp_path / "no_source.py").write_text(_NO_SOURCE)
    with RawServer(Style()) as server:
        values = settings_values(server.base_url)
        del values["target"]["actions"]["silent"]
        config = write_config(tmp_path, values)
        done = run(
            *("pytest", str(SUITE), "-p", "no_source", "--harness-config", str(config)),
            *("--harness-json", "verdicts.json", "-k", "terminal"),
            folder=tmp_path,
            PYTHONPATH=str(tmp_path),
        )
    verdicts = {check["id"]: check["verdict"] for check in done.report(tmp_path / "verdicts.json")["checks"]}
    assert done.code == 0, done.text
    assert verdicts["terminal.no-tokens"] == "not applicable"
    assert verdicts["terminal.exactly-one"] == "pass"


def test_a_search_that_is_called_off_waits_for_no_loop() -> None:
    settings = Settings.model_validate(settings_values("http://127.0.0.1:1"))
    loop = asyncio.new_event_loop()  # it never runs, as after the end of a session
    context = ScenarioContext(settings)
    search = _BodySearch(context, loop, context.target.run("success"))
    thread = threading.Thread(target=search.send, args=("source", "1"), daemon=True)
    thread.start()
    thread.join(0.5)
    assert thread.is_alive()
    search.stop()
    thread.join(30)
    assert not thread.is_alive()
    assert search.tried == 0

    async def end() -> None:
        await asyncio.sleep(0)  # now the loop runs, and begins what the search had asked for
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    loop.run_until_complete(end())
    loop.close()
