"""The sample for the Locust Kubernetes operator: its fields exist, and its commands run a load."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from harness.config.sources import settings_alone
from harness.input_file import parse_toml
from harness.results.reader import Results
from tests.ci.test_action import ROOT
from tests.deploy.pod import TIMEOUT_S
from tests.forked import embedded_server
from tests.forked_process import start
from tests.integration.commands import demo_settings, environment
from tests.ports import free_port

MANIFESTS = list(yaml.safe_load_all((ROOT / "deploy" / "locust-operator.yaml").read_text(encoding="utf-8")))
SAMPLE = MANIFESTS[-1]
SPEC = SAMPLE["spec"]
MAPS = {one["metadata"]["name"]: one["data"] for one in MANIFESTS[:-1]}
SCHEMA = jsonschema_rs.validator_for(
    json.loads((Path(__file__).parent / "schemas" / "locust-test.schema.json").read_text(encoding="utf-8"))
)


def master_command(spec: dict[str, Any], port: int) -> list[str]:
    """The arguments of the master as the operator builds them (internal/resources/command.go)."""
    start = ["--autostart"] if spec["master"].get("autostart", True) else []
    quits = spec["master"].get("autoquit", {"enabled": True, "timeout": 60})
    quit_after = ["--autoquit", str(quits.get("timeout", 60))] if quits["enabled"] else []
    return [
        *spec["master"]["command"].split(),
        *("--master", f"--master-port={port}", f"--expect-workers={spec['worker']['replicas']}"),
        *start,
        *quit_after,
        *("--enable-rebalancing", "--only-summary"),
    ]


def test_it_is_valid() -> None:
    SCHEMA.validate(SAMPLE)
    settings_alone(parse_toml(MAPS["agent-runs-settings"]["harness.toml"], "the sample is"), "the sample")


@pytest.mark.parametrize(("part", "field"), [("master", "args"), ("worker", "count"), ("env", "secrets")])
def test_the_schema_can_refuse(part: str, field: str) -> None:
    wrong = json.loads(json.dumps(SAMPLE))
    wrong["spec"][part][field] = 1
    with pytest.raises(jsonschema_rs.ValidationError):
        SCHEMA.validate(wrong)


def test_what_it_refers_to_is_there() -> None:
    assert SPEC["testFiles"]["configMapRef"] in MAPS
    mounts = {mount["name"]: mount["mountPath"] for mount in SPEC["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in SPEC["volumes"]}
    variables = {one["name"]: one for one in SPEC["env"]["variables"]}
    assert variables["HARNESS_CONFIG"]["value"] == f"{mounts['settings']}/harness.toml"
    assert "secretKeyRef" in variables["HARNESS_TARGET__TOKEN"]["valueFrom"]
    words = SPEC["master"]["command"].split()
    assert words[words.index("--users") + 1] == str(SPEC["worker"]["replicas"])
    assert words[words.index("--harness-out") + 1].startswith(f"{mounts['results']}/")


@pytest.mark.slow
def test_its_commands_run_a_load_and_the_gate_judges_it(tmp_path: Path) -> None:
    """As the operator starts them, but with two workers and fewer, shorter runs."""
    (tmp_path / "locustfile.py").write_text(MAPS["agent-runs-locustfile"]["locustfile.py"])
    spec = json.loads(json.dumps(SPEC))
    spec["worker"]["replicas"] = 2
    for long, short in (
        ("--users 4 --spawn-rate 4", "--users 2 --spawn-rate 2"),
        (
            "--harness-rate 200 --harness-duration 10m",
            "--harness-rate 10 --harness-duration 2s --harness-journeys fresh=1",
        ),
        ("/results/", f"{tmp_path}/"),
        ("/lotest/src/", f"{tmp_path}/"),
    ):
        assert long in spec["master"]["command"] + spec["worker"]["command"]
        for role in ("master", "worker"):
            spec[role]["command"] = spec[role]["command"].replace(long, short)
    port = free_port()
    worker = [
        *spec["worker"]["command"].split(),
        "--worker",
        f"--master-port={port}",
        "--master-host=127.0.0.1",
    ]
    # The operator leaves the port on which the master listens at its default, 5557.
    commands = ([*master_command(spec, port), f"--master-bind-port={port}"], worker, worker)
    with embedded_server() as base_url, ExitStack() as stack:
        config = demo_settings(tmp_path, base_url)
        given = environment(HARNESS_CONFIG=str(config), HARNESS_TARGET__TOKEN="demo-token")
        files = [stack.enter_context((tmp_path / f"{number}.txt").open("w+")) for number in range(3)]
        processes = [
            start(
                [sys.executable, "-m", "locust", *command],
                environment=given,
                folder=tmp_path,
                output=file.fileno(),
                new_session=True,
            )
            for command, file in zip(commands, files, strict=True)
        ]
        for process, file in zip(processes, files, strict=True):
            assert process.wait(TIMEOUT_S) == 0, file.read()
    with Results(tmp_path / "agent-runs" / "results.sqlite") as results:
        assert results.ledger().scheduled == 20
        assert results.ledger().adds_up
        assert results.manifest["workers_lost"] == []
