from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
import time
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

from harness.commands.reference_process import ReferenceServer, ReferenceServerError
from harness.reference.settings import demo_config


def answers(base_url: str) -> bool:
    parts = urlsplit(base_url)
    try:
        with socket.create_connection((parts.hostname, parts.port), timeout=5):
            return True
    except OSError:
        return False


def test_it_serves_until_the_block_ends() -> None:
    demo = demo_config(None)["target"]
    with ReferenceServer() as server:
        assert server.base_url.startswith("http://127.0.0.1:")
        body = (
            '{"organizationId": "org-1", "sessionId": "s", "workflowAction": {"toolId": "echo", "toolName": "n",'
            ' "aiDescription": "d", "runtimeScope": "r"}}'
        )
        request = Request(
            server.base_url + demo["path"],
            data=body.encode(),
            headers={"Authorization": f"Bearer {demo['token']}", "Content-Type": "application/json"},
        )
        with urlopen(request, timeout=10) as answer:
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            assert b'"type":"done"' in answer.read().replace(b'": "', b'":"')
    assert not answers(server.base_url)


def test_two_servers_are_independent_and_faults_are_passed_on() -> None:
    def rejection(server: ReferenceServer) -> str:
        request = Request(server.base_url + "/agent/workflow-actions", data=b"{}")
        with pytest.raises(HTTPError) as caught:
            urlopen(request, timeout=10)
        with caught.value as answer:
            assert answer.code == 401
            return str(answer.headers.get_content_type())

    with ReferenceServer() as one, ReferenceServer(faults=["textual-rejections"]) as other:
        assert one.base_url != other.base_url
        assert rejection(one) == "application/problem+json"
        assert rejection(other) == "text/plain"


def test_a_server_that_does_not_start_is_reported_and_leaks_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with (
        pytest.raises(ReferenceServerError, match="the embedded server ended with code 2 before it listened"),
        ReferenceServer(faults=["no-such-fault"]),
    ):
        pytest.fail("it must not start")
    gc.collect()  # an unclosed pipe causes a warning, which is an error
    assert "no-such-fault" in capfd.readouterr().err


def test_it_ends_when_its_parent_is_killed() -> None:
    code = (
        "import time\nfrom harness.commands.reference_process import ReferenceServer\n"
        "with ReferenceServer() as server:\n    print(server.base_url, flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        base_url = starter.stdout.readline().strip()
        assert answers(base_url)
        os.kill(starter.pid, 9)
    deadline = time.monotonic() + 20
    while answers(base_url):
        assert time.monotonic() < deadline, "the server is still there"
        time.sleep(0.1)
