"""A port that another program uses is one sentence, before anything is written."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli import main
from harness.commands.listening import EVERY_ADDRESS, ensure_free
from harness.errors import SettingsError
from tests.setup.servers import acme


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", EVERY_ADDRESS])
def test_a_port_in_use(host: str) -> None:
    with socket.create_server(("127.0.0.1" if host == "localhost" else "", 0)) as server:
        port = server.getsockname()[1]
        expected = rf"^it cannot listen on port {port}: Address already in use; choose one with --port$"
        with pytest.raises(SettingsError, match=expected):
            ensure_free(host, port, what="it", option="--port")
    ensure_free(host, port, what="it", option="--port")


def test_an_address_of_another_machine() -> None:
    with pytest.raises(SettingsError, match=r"^it cannot listen on 192\.0\.2\.1, port 9999: "):
        ensure_free("192.0.2.1", 9999, what="it", option="--port")
    with pytest.raises(SettingsError, match=r"^it cannot listen on no\.invalid, port 9999: "):
        ensure_free("no.invalid", 9999, what="it", option="--port")


def test_a_master_that_cannot_listen_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith(("HARNESS_", "GITHUB_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("harness.commands.load.ensure_testable", lambda _: None)
    with acme() as (_, url), socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = CliRunner().invoke(
            main,
            [
                *("load", "--target", url, "--profile", "openai-chat", "--model", "m", "--workers", "1"),
                *("--master-host", "127.0.0.1", "--master-port", port, "--out", "out"),
            ],
        )
    assert done.exit_code == 2
    assert done.output == (
        f"harness: the master cannot listen on port {port}: Address already in use; choose one with --master-port\n"
    )
    assert not Path("out").exists()
