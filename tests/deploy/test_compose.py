"""compose.yaml: valid, confined, and made of commands and settings that the harness accepts."""

from __future__ import annotations

import copy
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.config.sources import settings_alone
from harness.reference.settings import DEMO_PRINCIPALS, demo_config
from tests.ci.test_action import ROOT
from tests.deploy.command_line import parsed
from tests.deploy.pod import BIN

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
SETTINGS = tomllib.loads((ROOT / COMPOSE["configs"]["settings"]["file"]).read_text(encoding="utf-8"))


def check(document: dict[str, Any], folder: Path) -> int:
    file = folder / "compose.yaml"
    file.write_text(yaml.safe_dump(document))
    command = [str(BIN / "check-jsonschema"), "--quiet", "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, check=False, capture_output=True, timeout=60).returncode


def test_the_schema_can_refuse(tmp_path: Path) -> None:
    assert check(COMPOSE, tmp_path) == 0
    wrong = copy.deepcopy(COMPOSE)
    wrong["services"]["worker"]["replicas"] = 2
    assert check(wrong, tmp_path) != 0


def test_it_has_a_target_two_workers_and_two_kinds_of_master() -> None:
    assert set(SERVICES) == {"target", "worker", "page", "gate"}
    assert SERVICES["worker"]["deploy"]["replicas"] == 2
    verbs = {name: parsed(service["command"]) for name, service in SERVICES.items()}
    assert {name: options["_verb"] for name, options in verbs.items()} == {
        "target": "serve",
        "worker": "worker",
        "page": "load",
        "gate": "load",
    }
    assert verbs["page"]["workers"] == verbs["gate"]["workers"] == 2
    assert verbs["page"]["web"]
    assert verbs["page"]["web_login"]
    assert not verbs["gate"]["web"]
    for name in ("page", "gate"):
        assert verbs["worker"]["master"] in SERVICES[name]["networks"]["default"]["aliases"]
        assert verbs[name]["target"] == f"http://target:{verbs['target']['port']}"


def test_the_page_is_published_on_this_machine_only() -> None:
    assert SERVICES["page"]["ports"] == ["127.0.0.1:8089:8089"]
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["page"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_confined_and_reads_its_files_where_they_are(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "HARNESS_TARGET__TOKEN" in service["environment"]
    options = parsed(service["command"])
    if options["_verb"] != "serve":
        assert [str(options["config"])] == [one["target"] for one in service["configs"]]


def test_nothing_is_written_into_a_read_only_root_before_the_start() -> None:
    """Inline configs and secrets of variables would be: engines refuse that."""
    assert {tuple(one) for one in COMPOSE["configs"].values()} == {("file",)}
    assert "secrets" not in COMPOSE


def test_the_settings_are_those_of_the_embedded_server() -> None:
    settings = settings_alone(SETTINGS, "deploy/demo.toml")
    assert settings.target.token is None
    assert settings.target.organization_id in DEMO_PRINCIPALS.values()
    actions = demo_config(None)["target"]["actions"]
    for name, action in SETTINGS["target"]["actions"].items():
        assert action == actions[name]
