"""The commands of the rendered Jobs as processes: one merged result, and the gate's exit code."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterable
from pathlib import Path

import pytest
import tomlkit

from harness.reference.settings import demo_config
from harness.results.reader import Results
from scripts.chart import render
from tests.ci.samples import cases_of
from tests.deploy.pod import Pod, outputs
from tests.deploy.test_chart import pod
from tests.forked import embedded_server
from tests.ports import free_port

WORKERS = 3
STREAMS = 48
LOAD = ["--rate=24", "--duration=2s", "--journey=fresh=1"]


def run_jobs(
    folder: Path, base_url: str, upload: dict[str, object] | None = None
) -> tuple[Pod, list[tuple[int, str]]]:
    """Run the pods of a release against a server. Returns the master's pod, and how each ended: the master first."""
    settings = {"target": demo_config(None)["target"]}
    for name in ("base_url", "token", "second_principal", "other_route"):
        del settings["target"][name]
    manifests = render(
        {
            "target": {"url": base_url},
            "config": tomlkit.dumps(settings),
            "token": {"existingSecret": "agent-token"},
            "workers": {"count": WORKERS, "wait": "2m"},
            "load": {"args": LOAD},
            "results": {"upload": upload or {}},
        }
    )
    (config_map,) = [one for one in manifests if one["kind"] == "ConfigMap"]
    sources = {config_map["metadata"]["name"]: config_map["data"], "agent-token": {"token": "demo-token\n"}}
    # In a cluster each pod has its own address, and the service its name.
    port = f"--master-port={free_port()}"
    master = Pod(folder / "master", pod(manifests, "Job", "master"), sources)
    names = ["harness", *(["upload"] if upload else [])]
    processes = [master.start(name, *([port] if name == "harness" else [])) for name in names]
    for number in range(WORKERS):
        worker = Pod(folder / f"worker-{number}", pod(manifests, "Job", "worker"), sources)
        processes.append(worker.start("harness", port, "--master=127.0.0.1"))
    return master, outputs(processes)


def assert_workers_ended_well(ended: Iterable[tuple[int, str]]) -> None:
    for code, output in ended:
        assert code == 0, output
        assert "Traceback" not in output
        assert "demo-token" not in output


@pytest.mark.slow
def test_a_sound_server_passes_and_the_results_are_uploaded(tmp_path: Path) -> None:
    away = tmp_path / "away"
    away.mkdir()
    upload = {"image": "uploader", "command": ["cp", "-R", "/results/load-1", str(away)]}
    with embedded_server() as base_url:
        _, (master, uploaded, *workers) = run_jobs(tmp_path, base_url, upload)
    assert master[0] in (0, 1), master[1]
    # On a busy machine the load may fall behind; then the gate rightly does not pass.
    assert (master[0] == 0) is ("Gate: passed." in master[1]), master[1]
    assert master[0] == 0 or "Gate: inconclusive" in master[1], master[1]
    assert uploaded[0] == 0, uploaded[1]
    assert_workers_ended_well(workers)
    kept = away / "load-1"
    assert {"results.sqlite", "report.html", "junit.xml", "ctrf.json", "summary.json"} <= {
        path.name for path in kept.iterdir()
    }
    assert ("gate", "ledger") in cases_of((kept / "junit.xml").read_text())
    with Results(kept / "results.sqlite") as results:
        ledger = results.ledger()
        rows = list(results.streams())
        assert ledger.adds_up
        assert ledger.scheduled == ledger["done"] == len(rows) == STREAMS
        assert results.manifest["workers_lost"] == []
        assert "demo-token" not in json.dumps(results.manifest)
    shares = [sum(row.worker == f"worker-{number}" for row in rows) for number in range(WORKERS)]
    assert shares == [STREAMS // WORKERS] * WORKERS


@pytest.mark.slow
def test_a_faulty_server_fails_the_job_of_the_master_only(tmp_path: Path) -> None:
    with embedded_server(["two-terminals"]) as base_url:
        pod_of_master, (master, *workers) = run_jobs(tmp_path, base_url)
    assert master[0] == 1, master[1]
    assert "terminal.exactly-one" in master[1]
    assert_workers_ended_well(workers)
    results = pod_of_master.path("/results/load-1/results.sqlite")
    with Results(results) as stored:
        assert stored.violation_counts()["terminal.exactly-one"] == STREAMS


def test_a_wrong_token_is_found_before_the_workers_are_needed(tmp_path: Path) -> None:
    manifests = render({"target": {"url": "http://127.0.0.1:9"}, "token": {"existingSecret": "agent-token"}})
    master = Pod(tmp_path, pod(manifests, "Job", "master"), {"agent-token": {"token": "two words"}})
    ((code, output),) = outputs([master.start("harness")])
    assert code == 2
    assert "Authorization header cannot contain" in output


FAKE = """#!/bin/sh
trap 'echo stopping; sleep 0.3; echo kept; exit 130' TERM
echo started
while :; do sleep 0.05; done
"""


def test_a_signal_reaches_the_test_and_the_upload_waits_for_its_end(tmp_path: Path) -> None:
    upload = {"image": "uploader", "command": ["echo", "uploaded"]}
    manifests = render({"results": {"upload": upload}})
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "harness").write_text(FAKE)
    (tools / "harness").chmod(0o755)
    master = Pod(tmp_path / "pod", pod(manifests, "Job", "master"), {})
    for container in master.spec["containers"]:  # the path of the fake first
        container["command"][2] = f"PATH={tools}:$PATH\n{container['command'][2]}"
    test, uploader = master.start("harness"), master.start("upload")
    assert test.stdout is not None
    assert test.stdout.readline() == "started\n"
    assert not master.path("/tmp/finished").exists()
    assert uploader.poll() is None
    os.kill(test.pid, signal.SIGTERM)  # as the kubelet does: to the first process only
    (code, output), (upload_code, upload_output) = outputs([test, uploader])
    assert (code, output) == (130, "stopping\nkept\n")
    assert (upload_code, upload_output) == (0, "uploaded\n")
