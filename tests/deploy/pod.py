"""Runs the containers of rendered manifests as processes, with the files that Kubernetes would mount."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.forked_process import command_file
from tests.integration.commands import environment

BIN = Path(sys.executable).parent
TIMEOUT_S = 180
Sources = Mapping[str, Mapping[str, str]]
"""The files of each ConfigMap and Secret, by its name."""


class Pod:
    """One pod, its file system below a folder. Paths in its commands are changed accordingly."""

    def __init__(self, folder: Path, spec: Mapping[str, Any], sources: Sources) -> None:
        self.root = folder
        self.spec = spec
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        for name, volume in volumes.items():
            _fill(self.root / "volumes" / name, volume, sources)
        self._mounts = {
            mount["mountPath"]: str(self.root / "volumes" / mount["name"])
            for container in spec["containers"]
            for mount in container["volumeMounts"]
        }
        self._bin = self.root / "bin"
        self._bin.mkdir(parents=True, exist_ok=True)
        command_file(self._bin / "harness")

    def start(self, name: str, *more: str, **variables: str) -> subprocess.Popen[str]:
        """Start a container as a process in its own group. more: further arguments. variables: of its environment."""
        (container,) = [one for one in self.spec["containers"] if one["name"] == name]
        command = [*container.get("command", ["harness"]), *container.get("args", []), *more]
        given = environment(**variables)
        given["PATH"] = f"{self._bin}:{BIN}:{given['PATH']}"
        folder = self.local(container.get("workingDir", "/"))
        return subprocess.Popen(
            [self.local(part) for part in command],
            cwd=self.root if folder == "/" else folder,
            env=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def local(self, text: str) -> str:
        """A part of a command with the paths of this machine. Paths of the test itself stay."""
        own = re.escape(str(self.root.parent))
        mounts = "|".join(map(re.escape, sorted(self._mounts, reverse=True)))
        return re.sub(
            rf"(?<![\w./])(?!{own}/)({mounts})(?=/|\s|$)", lambda found: self._mounts[found[1]], text
        )

    def path(self, path: str) -> Path:
        """The file of this machine that has this path in the pod."""
        return Path(self.local(path))


def _fill(place: Path, volume: Mapping[str, Any], sources: Sources) -> None:
    """Make a volume. Files of a ConfigMap or Secret are read-only links through ..data, as Kubernetes makes them."""
    name = volume.get("configMap", {}).get("name") or volume.get("secret", {}).get("secretName")
    place.mkdir(parents=True)
    if name is None:
        return
    items = volume.get("secret", {}).get("items") or [{"key": key, "path": key} for key in sources[name]]
    version = place / "..2026"
    version.mkdir()
    for item in items:
        (version / item["path"]).write_text(sources[name][item["key"]], encoding="utf-8")
        (version / item["path"]).chmod(0o440)
        (place / item["path"]).symlink_to(Path("..data") / item["path"])
    (place / "..data").symlink_to(version.name)
    version.chmod(0o550)


def outputs(processes: Sequence[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """The exit code and output of each process. Kills the group of one that does not end in time."""
    ended = []
    for process in processes:
        try:
            output, _ = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            output = f"{output}\n(killed after {TIMEOUT_S} s)"
        ended.append((process.returncode, output))
    return ended
