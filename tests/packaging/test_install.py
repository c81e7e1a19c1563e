"""How `make test` installs: with uv and pip's settings, or with pip."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scripts import install
from scripts.release_check import ROOT

LOCK = ROOT / "requirements-dev.lock"
LISTED = """\
:env:.cert='/env.pem'
:env:.find-links='/wheels /more'
download.index-url='https://not-for-installing'
global.cert='/global.pem'
global.extra-index-url='https://one https://two'
global.index-url='https://global'
global.timeout='60'
install.index-url='https://install'
"""


def test_pips_settings_override_each_other_as_pip_says() -> None:
    assert install.pip_settings(LISTED) == {
        "cert": "/env.pem",
        "find-links": "/wheels /more",
        "extra-index-url": "https://one https://two",
        "index-url": "https://install",
        "timeout": "60",
    }


def test_uv_gets_each_of_them() -> None:
    assert set(install.uv_options(install.pip_settings(LISTED)) or ()) == {
        "--cert=/env.pem",
        "--find-links=/wheels",
        "--find-links=/more",
        "--index=https://one",
        "--index=https://two",
        "--default-index=https://install",
    }
    assert install.uv_options({}) == []


@pytest.mark.parametrize("name", ["proxy", "no-index", "client-cert", "keyring-provider", "of-the-future"])
def test_with_any_other_setting_pip_installs(name: str) -> None:
    assert install.uv_options({"cert": "/a.pem", name: "x"}) is None


def test_the_pin_of_uv_has_all_of_its_hashes_and_nothing_else() -> None:
    lock = LOCK.read_text(encoding="utf-8")
    pin = install.pinned(lock, "uv")
    after = lock[lock.index(pin) + len(pin) :]
    assert re.match(r"uv==[\d.]+ \\\n", pin)
    assert pin.count("==") == 1
    assert pin.count("--hash=sha256:") > 10
    assert not after.lstrip().startswith("--hash")
    with pytest.raises(ValueError, match="does not pin u"):
        install.pinned(lock, "u")


class Processes:
    """Stands for subprocess.run. uv ends with this code; commands: what was called, by its first words."""

    def __init__(self, listed: str, uv_code: int) -> None:
        self.commands: list[list[str]] = []
        self.environments: list[dict[str, str]] = []
        self._listed, self._uv_code = listed, uv_code

    def __call__(self, command: Any, env: dict[str, str] | None = None, **_: Any) -> SimpleNamespace:
        words = [str(word) for word in command]
        self.commands.append(words)
        self.environments.append(env or {})
        is_uv = words[0] == str(Path(sys.executable).with_name("uv"))
        return SimpleNamespace(returncode=self._uv_code if is_uv else 0, stdout=self._listed)


@pytest.mark.parametrize(
    ("listed", "uv_code", "installers"),
    [
        (LISTED, 0, ["pip config", "pip uv", "uv"]),
        (LISTED, 2, ["pip config", "pip uv", "uv", "pip"]),
        (":env:.proxy='x'\n", 0, ["pip config", "pip"]),
    ],
    ids=["uv", "uv fails", "a setting that uv does not have"],
)
def test_what_installs(
    monkeypatch: pytest.MonkeyPatch, listed: str, uv_code: int, installers: list[str]
) -> None:
    processes = Processes(listed, uv_code)
    monkeypatch.setattr(subprocess, "run", processes)
    monkeypatch.setattr(sys, "argv", ["install.py", str(LOCK)])
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://elsewhere")
    assert install.main() == 0

    def kind(command: list[str]) -> str:
        if "pip" in command[:3] and command[1] == "-m":
            return "pip config" if "config" in command else "pip" if command[-1] == str(LOCK) else "pip uv"
        return "uv"

    assert [kind(command) for command in processes.commands] == installers
    assert all("--require-hashes" in command for command in processes.commands if "install" in command)
    for command, environment in zip(processes.commands, processes.environments, strict=True):
        if kind(command) == "uv":
            assert "UV_DEFAULT_INDEX" not in environment
            assert "--default-index=https://install" in command
            assert "--no-config" in command
