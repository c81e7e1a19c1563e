"""Installs what a lock file lists into this environment: `python scripts/install.py LOCK`, a part of `make test`.

uv takes a fraction of pip's time, and pip brings it. uv does not read pip's settings, so what they say about the
index and its certificate is passed on. Where they say something else, or uv fails, pip installs. Both verify every
hash. Only the standard library is imported: nothing else is there yet.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

#: pip's settings that uv has too. Each may have several values.
OPTIONS = {
    "index-url": "--default-index",
    "extra-index-url": "--index",
    "find-links": "--find-links",
    "trusted-host": "--allow-insecure-host",
    "cert": "--cert",
}
#: pip's settings that do not change what is installed, or from where: the lock file says the only version of each.
WITHOUT_EFFECT = {
    "cache-dir",
    "compile",
    "constraint",
    "default-timeout",
    "disable-pip-version-check",
    "no-color",
    "no-compile",
    "no-input",
    "no-warn-script-location",
    "prefer-binary",
    "progress-bar",
    "quiet",
    "require-virtualenv",
    "retries",
    "root-user-action",
    "timeout",
    "verbose",
}

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
PIP_INSTALL = (*PIP, "install", "--quiet", "--no-compile", "--require-hashes", "--requirement")


def pip_settings(listed: str) -> dict[str, str]:
    """Pip's settings for an installation, from what `pip config list` prints. Later sections override earlier ones."""
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if section in sections:
            sections[section][name] = str(ast.literal_eval(value))
    return {name: value for section in sections.values() for name, value in section.items()}


def uv_options(settings: Mapping[str, str]) -> list[str] | None:
    """The options of uv that mean the same; None if a setting has no counterpart."""
    options = []
    for name, value in settings.items():
        if name in OPTIONS:
            values = [value] if name == "cert" else value.split()
            options += [f"{OPTIONS[name]}={one}" for one in values]
        elif name not in WITHOUT_EFFECT:
            return None
    return options


def pinned(lock: str, name: str) -> str:
    """The part of a lock file that pins one package. Raises ValueError if there is none."""
    found = re.search(rf"^{re.escape(name)}==\S+ \\\n(?:    --hash=\S+(?: \\)?\n)+", lock, re.MULTILINE)
    if found is None:
        raise ValueError(f"the lock file does not pin {name}")
    return found[0]


def install_with_uv(lock: Path) -> bool:
    """Whether uv has installed the lock file."""
    listed = subprocess.run([*PIP, "config", "list"], check=True, capture_output=True, text=True).stdout
    options = uv_options(pip_settings(listed))
    if options is None:
        return False
    with tempfile.NamedTemporaryFile("w", suffix=".lock") as of_uv:
        of_uv.write(pinned(lock.read_text(encoding="utf-8"), "uv"))
        of_uv.flush()
        subprocess.run([*PIP_INSTALL, of_uv.name], check=True)
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("UV_") or name == "UV_CACHE_DIR"
    }
    command = (Path(sys.executable).with_name("uv"), "pip", "install", "--python", sys.executable)
    fixed = ("--quiet", "--no-config", "--system-certs", "--index-strategy=unsafe-best-match")
    ended = subprocess.run(
        [*command, *fixed, *options, "--require-hashes", "--requirement", lock], check=False, env=environment
    )
    return ended.returncode == 0


def main() -> int:
    lock = Path(sys.argv[1])
    if install_with_uv(lock):
        return 0
    print("pip installs, which takes longer than uv", file=sys.stderr)
    return subprocess.run([*PIP_INSTALL, lock], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
