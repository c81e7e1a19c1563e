"""Runs `harness check` on a server that others wrote, and compares what it finds with the known findings."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.contract.requirements import CATALOGUE, Requirement
from harness.contract.rules.rule import Need
from harness.suite.known_failures import KnownFailure, load_known_failures

from . import profiles
from .servers import BUILD, HERE, SERVERS, RealServerError, Server, install, running, version

TARGETS = {
    "agno": "agno",
    "langgraph": "langgraph",
    "ag-ui": "ag-ui",
    "ai-sdk": "ag-ui",
    "a2a": "a2a",
    "mcp": "mcp",
    "openai-chat": "litellm",
    "openai-responses": "litellm",
    profiles.BACKGROUND: "agentserver",
    "anthropic-messages": "litellm",
    "gemini": "aimock",
    "resumable-stream": "resumable-stream",
}
"""The folder of each target's server. A target has its settings and its known findings under targets/."""

_COLUMNS = {
    "anthropic-messages": "anthropic",
    "a2a": "a2a-rest",
    "resumable-stream": "frs",
    "gemini": "openai-chat",
    profiles.BACKGROUND: "openai-responses",
}
DECIDED = frozenset({"pass", "fail", "warn", "info", "known"})
"""Verdicts that say something about the server."""
MARKS: Mapping[str, str] = {
    "a": "applies as it is written",
    "m": "applies by what the profile says of the API",
    "o": "applies to a part of the API that a server need not have, so only where it has that part",
    "s": "applies, but needs several servers or a restart, which `make real` does not set up",
    "n": "means nothing for the API",
}
"""What requirements_by_api.csv says of a requirement."""
AT_TIMES = "at times: "
"""How the reason begins of a known finding that depends on when things happen, so that some runs do not show it."""
_DOCUMENT = "check.json"
_TIMEOUT_S = 900
_LOAD = ("--users", "3", "--duration", "10s")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What `harness check` found. checks, metrics: as in its JSON. known: the known findings, by requirement."""

    target: str
    server: Server
    version: str
    checks: Mapping[str, Mapping[str, Any]]
    metrics: Mapping[str, Mapping[str, Any]]
    ledger: Mapping[str, int]
    known: Mapping[str, KnownFailure]
    problems: tuple[str, ...]

    @property
    def found(self) -> dict[str, str]:
        """The requirements that are not met, with the detail."""
        return {
            name: str(check["detail"])
            for name, check in self.checks.items()
            if check["verdict"] in {"fail", "warn"}
        }

    @property
    def unexpected(self) -> list[str]:
        """What differs from the known findings, as sentences."""
        found = self.found
        new = [f"{name} is not met: {detail}" for name, detail in found.items() if name not in self.known]
        gone = [
            f"{name} is a known finding, and now {self._verdict(name)}"
            for name, known in self.known.items()
            if name not in found and not known.reason.startswith(AT_TIMES)
        ]
        errors = [
            f"{name}: the harness itself failed: {check['detail']}"
            for name, check in self.checks.items()
            if check["verdict"] == "error"
        ]
        timed = [f"no {name} was measured" for name in ("ttft_ms", "inter_token_ms") if not self._count(name)]
        return [*new, *gone, *errors, *timed, *self.problems]

    def _verdict(self, requirement: str) -> str:
        check = self.checks.get(requirement)
        return f"{check['verdict']} ({check['detail']})" if check else "not in the catalogue"

    def _count(self, metric: str) -> int:
        return int(self.metrics.get(metric, {}).get("count") or 0)

    @property
    def applicable(self) -> list[str]:
        """The requirements of the catalogue that apply to this API, as requirements_by_api.csv says."""
        return [name for name in applicable(self.target) if name in self.checks]

    @property
    def decided(self) -> list[str]:
        """Those of them that have a verdict on the server."""
        return [name for name in self.applicable if self.checks[name]["verdict"] in DECIDED]


def marks(target: str) -> dict[str, str]:
    """What requirements_by_api.csv says of each requirement for a target's API."""
    column = _COLUMNS.get(target, target)
    with (HERE / "requirements_by_api.csv").open(newline="") as file:
        return {row["requirement"]: row[column] for row in csv.DictReader(file)}


def applicable(target: str) -> list[str]:
    """The requirements that count for a target: those that the table marks a or m, and others that it promises."""
    known, profile = marks(target), profiles.profile(target)
    return [
        name
        for name, row in CATALOGUE.items()
        if known.get(name) in {"a", "m"}
        or (known.get(name, "o") == "o" and not _needs_more(row) and row.not_promised(profile) is None)
    ]


def lacking(target: str) -> list[str]:
    """The requirements that apply to parts of the API which the target does not have."""
    counted = applicable(target)
    return [name for name, mark in marks(target).items() if mark == "o" and name not in counted]


def _needs_more(requirement: Requirement) -> bool:
    """Whether it needs several servers or a restart."""
    return requirement.needs in {Need.REPLICAS, Need.RESTART}


def known_findings(target: str) -> dict[str, KnownFailure]:
    """The known findings of a target, by requirement."""
    path = HERE / "targets" / f"{target}.known.toml"
    return load_known_failures(path) if path.exists() else {}


def check(target: str) -> Outcome:
    """Install and start the target's server, and run suite and load on it. Raises RealServerError."""
    server = SERVERS[TARGETS[target]]
    install(server)
    out = BUILD / "results" / target
    shutil.rmtree(out, ignore_errors=True)
    with running(server) as base_url:
        document = _harness_check(target, base_url, out)
    (out / _DOCUMENT).write_text(json.dumps({**document, "package_version": version(server)}))
    return last_outcome(target)


def last_outcome(target: str) -> Outcome:
    """What the last check of a target found. Raises RealServerError if it was not checked yet."""
    server = SERVERS[TARGETS[target]]
    try:
        document = json.loads((BUILD / "results" / target / _DOCUMENT).read_text())
    except FileNotFoundError:
        raise RealServerError(f"{target} was not checked yet") from None
    return Outcome(
        target,
        server,
        document["package_version"],
        {check["id"]: check for check in document["conformance"]["checks"]},
        document["summary"]["metrics"],
        document["summary"]["ledger"],
        known_findings(target),
        tuple(document["problems"]),
    )


def _harness_check(target: str, base_url: str, out: Path) -> dict[str, Any]:
    settings = HERE / "targets" / f"{target}.toml"
    command = [sys.executable, "-m", "harness", "check", "--json", "--config", str(settings)]
    if (profile := profiles.file_of(target)) is not None:
        command += ["--profile", str(profile)]
    try:
        ended = subprocess.run(
            [*command, "--target", base_url, *_LOAD, "--out", str(out)],
            capture_output=True,
            check=False,
            text=True,
            timeout=_TIMEOUT_S,
            cwd=BUILD,
        )
    except subprocess.TimeoutExpired:
        raise RealServerError(f"{target}: harness check did not end within {_TIMEOUT_S} s") from None
    try:
        document: dict[str, Any] = json.loads(ended.stdout)
    except ValueError:
        raise RealServerError(
            f"{target}: harness check: {ended.stderr.strip() or ended.stdout.strip()}"
        ) from None
    if document.get("conformance") is None or document.get("summary") is None:
        raise RealServerError(f"{target}: harness check: {document.get('reasons') or ended.stderr.strip()}")
    return document
