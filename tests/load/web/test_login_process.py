"""The login of a real page: the password that it prints opens it, and nothing else does."""

from __future__ import annotations

import http.cookiejar
import re
import signal
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import tomlkit

from harness.config.settings import PASSWORD_VARIABLE
from harness.load.locust.command import load_environment, locustfile
from tests.forked_process import start
from tests.load.locust_process import wait_for
from tests.load.run_server import config, run_server
from tests.ports import free_port

SHOWN = re.compile(r"(?:password of the page: |login:  )(\S+)\n")

pytestmark = pytest.mark.slow


class Visitor:
    """A program with cookies. status: of the last response."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.status = 0
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(jar)

    def get(self, path: str, **form: str) -> str:
        data = urllib.parse.urlencode(form).encode() if form else None
        try:
            with self._opener.open(f"{self.url}{path}", data, timeout=20) as answer:
                self.status = answer.status
                return str(answer.read().decode())
        except urllib.error.HTTPError as problem:
            self.status = problem.code
            return problem.read().decode()

    def log_in(self, password: str) -> str:
        token = re.search(r'name="csrf_token" value="(\w+)"', self.get("/harness/login"))
        assert token is not None
        return self.get("/harness/login", csrf_token=token[1], password=password)


def is_listening(visitor: Visitor) -> bool:
    try:
        return bool(visitor.get("/logs"))
    except OSError:
        return False


@pytest.mark.parametrize("command", ["locust", "harness"])
@pytest.mark.parametrize("given", [None, "correct horse battery"])
def test_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, given: str | None
) -> None:
    port = free_port()
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    if given is not None:
        monkeypatch.setenv(PASSWORD_VARIABLE, given)
    address = ["--web-host", "0.0.0.0", "--web-port", str(port), "--web-login"]
    with run_server() as server, (tmp_path / "printed").open("w+b") as printed:
        (tmp_path / "harness.toml").write_text(tomlkit.dumps(config(server.base_url)))
        words = (
            [sys.executable, "-m", "locust", "-f", str(locustfile()), *address]
            if command == "locust"
            else [sys.executable, "-m", "harness", "load", "--web", *address]
        )
        environment = load_environment(tmp_path / "harness.toml")
        process = start(words, environment=environment, folder=tmp_path, output=printed.fileno())
        try:
            visitor = Visitor(f"http://127.0.0.1:{port}")
            wait_for(lambda: is_listening(visitor) or process.poll() is not None)
            assert (visitor.get("/logs"), visitor.status) == ("log in first\n", 401)
            assert "The password is wrong." in visitor.log_in("")
            wait_for(lambda: SHOWN.search((tmp_path / "printed").read_text()) is not None or bool(given))
            shown = SHOWN.search((tmp_path / "printed").read_text())
            assert (shown is None) is (given is not None)
            visitor.log_in(given or (shown[1] if shown else ""))
            assert visitor.status == 200
            assert '"master"' in visitor.get("/logs")  # a view with Locust's own check
            assert "Live charts" in visitor.get("/harness/charts")
            assert given is None or given not in visitor.get("/logs")
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=40)
        assert "Traceback" not in (tmp_path / "printed").read_text()
