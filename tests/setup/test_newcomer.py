"""From a third-party server to a verdict on it, with init, doctor and check."""

from __future__ import annotations

import json
import re
import socketserver
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import Thread

import pytest

from tests.forked import forked_server
from tests.integration.commands import assert_one_sentence, demo_settings, harness, only
from tests.setup.acme_server import ORGANIZATION, PATH, TOKEN, serve_in

pytestmark = pytest.mark.slow


def acme_process(*, drop: int = 0) -> AbstractContextManager[str]:
    """The base URL of an acme server in a separate process."""
    return forked_server(serve_in, drop)


def curl_file(folder: Path, url: str, tool: str) -> None:
    action = {"toolId": tool, "toolName": "Tool", "aiDescription": "reads pages", "runtimeScope": "prod"}
    body = {"organizationId": ORGANIZATION, "sessionId": "s-1", "workflowAction": action}
    (folder / "run.sh").write_text(
        f"curl -N {url}{PATH} \\\n  -H \"Authorization: Bearer $ACME_TOKEN\" \\\n  -d '{json.dumps(body)}'\n"
    )


def init_doctor_check(
    folder: Path, url: str, *, suite: Mapping[str, object] | None = None, duration: str = "3s"
) -> subprocess.CompletedProcess[str]:
    """Run init, doctor and check as a new user does; returns the result of check.

    suite: patches that restrict it. duration: of the load.
    """
    curl_file(folder, url, "crawl")
    token = {"HARNESS_TARGET__TOKEN": TOKEN}
    init = harness("init", "--from-curl", "run.sh", folder=folder, variables=token)
    assert init.returncode == 0, init.stderr
    assert "not read, because only the command names it: the token in $ACME_TOKEN" in init.stderr
    assert TOKEN not in (folder / "harness.toml").read_text()
    doctor = harness("doctor", "--json", folder=folder, variables=token)
    rows = {
        row["name"]: row["standing"] for row in json.loads(doctor.stdout)["rows"] if row["of"] == "target"
    }
    assert rows["token"] == rows["stream"] == rows["buffering"] == "ok"
    load = ("--users", "3", "--duration", duration, "--journey", "fresh=1", "--journey", "replay=2")
    return harness("check", "--json", "--out", "out", *load, folder=folder, variables=token, patches=suite)


def test_a_conforming_server_passes(tmp_path: Path) -> None:
    with acme_process() as url:
        check = init_doctor_check(tmp_path, url)
    document = json.loads(check.stdout)
    assert check.returncode == 0, document["reasons"]
    assert document["verdict"] == "passed"
    assert document["conformance"]["counts"]["pass"] > 60
    assert document["summary"]["ledger"]["done"] > 5
    assert TOKEN not in check.stdout + check.stderr
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000


def test_a_server_that_drops_frames_fails(tmp_path: Path) -> None:
    with acme_process(drop=2) as url:
        check = init_doctor_check(tmp_path, url, suite=only("resume.replay or resume.joins"), duration="8s")
    document = json.loads(check.stdout)
    assert check.returncode == document["exit_code"] == 1
    assert document["verdict"] == "failed"
    assert "resume.replay" in {reason["name"] for reason in document["reasons"]}
    violated = {violation["requirement"] for violation in document["violations"]}
    assert violated & {"resume.replay", "resume.joins"}


def test_quiet_load(tmp_path: Path) -> None:
    with acme_process(drop=1) as url:
        curl_file(tmp_path, url, "summarise")
        token = {"HARNESS_TARGET__TOKEN": TOKEN}
        harness("init", "--from-curl", "run.sh", "--once", folder=tmp_path, variables=token)
        options = ("--users", "2", "--duration", "2s", "--journey", "replay=1", "--out", "out", "--quiet")
        load = harness("load", *options, folder=tmp_path, variables=token)
    assert load.returncode == 1
    assert load.stdout.startswith("failed: ")
    assert "resume.replay" in load.stdout
    assert load.stdout.count("\n") == 1
    assert load.stderr == ""


def test_conformance_json_and_quiet(tmp_path: Path) -> None:
    with acme_process() as url:
        curl_file(tmp_path, url, "summarise")
        token = {"HARNESS_TARGET__TOKEN": TOKEN}
        harness("init", "--from-curl", "run.sh", "--once", folder=tmp_path, variables=token)
        suite = harness("conformance", "--json", "-", "-k", "terminal", folder=tmp_path, variables=token)
        quiet = harness("conformance", "--quiet", "-k", "terminal", folder=tmp_path, variables=token)
    verdicts = {check["id"]: check["verdict"] for check in json.loads(suite.stdout)["checks"]}
    assert suite.returncode == 0, suite.stderr
    assert verdicts["terminal.exactly-one"] == "pass"
    assert "conformance by area" in suite.stderr
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "passed\n", "")


@pytest.mark.parametrize("options", [("--json",), ("--quiet",)])
def test_an_unreachable_target(tmp_path: Path, options: tuple[str, ...]) -> None:
    demo_settings(tmp_path, "http://127.0.0.1:1")
    done = harness("check", *options, folder=tmp_path)
    assert done.returncode == 2
    assert "cannot be reached" in done.stderr
    if "--json" in options:
        assert json.loads(done.stdout)["verdict"] == "not begun"
    else:
        assert done.stdout == ""


@pytest.mark.parametrize("verb", ["check", "load", "conformance", "capacity", "doctor"])
def test_a_url_alone_sends_nothing(tmp_path: Path, verb: str) -> None:
    """A new user gives a URL and no settings: nothing is sent that the user did not configure."""
    received: list[bytes] = []
    with recording_server(received) as url:
        more = ("--objective", "error_rate < 1%") if verb == "capacity" else ()
        done = harness(
            verb, "--target", url, *more, folder=tmp_path, variables={"HARNESS_TARGET__TOKEN": "mine"}
        )
    output = done.stdout + done.stderr
    assert done.returncode == (1 if verb == "doctor" else 2), output
    assert "[target.actions.success]" in output
    assert "harness init --target URL" in re.sub(r"\s+", " ", output)
    assert b"".join(received) == b""
    assert list(tmp_path.iterdir()) == []


@contextmanager
def recording_server(received: list[bytes]) -> Iterator[str]:
    """A server that keeps what each connection sends, and answers nothing."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while data := self.request.recv(65536):
                received.append(data)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_actions_without_a_target_do_not_test_the_embedded_server(tmp_path: Path) -> None:
    demo_settings(tmp_path, None)
    assert_one_sentence(harness("check", folder=tmp_path), "target.base_url", "--target URL")
