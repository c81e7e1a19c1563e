"""A newcomer's commands on servers with other APIs: URL, profile and model are enough for a verdict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.contract.verdicts import DECIDED
from harness.results.reader import Results
from tests.forked import embedded_server
from tests.integration.commands import harness

pytestmark = pytest.mark.slow


def checked(folder: Path, base_url: str, *options: str, code: int = 0) -> dict[str, str]:
    """The verdicts of a check with these options alone, which ends with this exit code."""
    load = ("--users", "3", "--duration", "2s")
    done = harness("check", "--target", base_url, *options, *load, "--out", "out", folder=folder)
    with Results(folder / "out" / "results.sqlite") as results:
        assert results.ledger().adds_up, done.stdout
        verdicts = {check.id: check.verdict for check in results.checks()}
    summary = json.loads((folder / "out" / "summary.json").read_text())
    # Not TTFT: on a busy machine a few streams start, and by chance none of a journey that has it.
    assert summary["metrics"]["head_ms"]["count"] > 0, done.stdout
    assert done.returncode == code, done.stdout
    return verdicts


def test_an_openai_compatible_endpoint_needs_no_settings_file(tmp_path: Path) -> None:
    with embedded_server(profile="openai-chat", needs_token=False) as base_url:
        verdicts = checked(tmp_path, base_url, "--profile", "openai-chat", "--model", "m")
    assert sum(verdict == "pass" for verdict in verdicts.values()) > 35
    assert set(verdicts.values()) <= {"pass", "info", "not applicable"}
    # Nothing said what makes a run fail, and nothing was sent that OpenAI does not promise.
    for name in ("terminal.failure", "ids.present", "resume.replay", "conflict.rejected", "auth.missing"):
        assert verdicts[name] == "not applicable"


def test_its_defects_are_found(tmp_path: Path) -> None:
    with embedded_server(["chunk-after-done"], profile="openai-chat", needs_token=False) as base_url:
        verdicts = checked(tmp_path, base_url, "--profile", "openai-chat", "--model", "m", code=1)
    assert [name for name, verdict in verdicts.items() if verdict == "fail"] == ["terminal.last"]


def test_an_agent_of_ag_ui_needs_its_url_only(tmp_path: Path) -> None:
    with embedded_server(profile="ag-ui") as base_url:
        verdicts = checked(tmp_path, base_url, "--profile", "ag-ui")
    assert verdicts["events.pairs"] == verdicts["run-id.echoed"] == "pass"
    assert sum(verdict in DECIDED for verdict in verdicts.values()) > 30
