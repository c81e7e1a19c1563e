"""The steps of the Dockerfile, run as a script in an empty folder: the image's command works."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.benchmarks.target import compiler
from tests.ci.test_action import QUICK_INSTALLATION, ROOT, shorten
from tests.deploy.pod import BIN
from tests.integration.commands import environment

_LINES = re.compile(r"^([A-Z]+) ((?:.*\\\n)*.*)$", re.MULTILINE)
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
INSTRUCTIONS = [(name, " ".join(rest.replace("\\\n", " ").split())) for name, rest in _LINES.findall(TEXT)]
IGNORED = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()


def of(name: str) -> list[str]:
    return [rest for found, rest in INSTRUCTIONS if found == name]


class Image:
    """A folder in place of the image's root. Every stage has the same root, so what one stage makes, another has."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root
        self.variables: dict[str, str] = {}
        self.dependencies = root.parent / "dependencies"
        self.dependencies.mkdir()
        for path in Path(sysconfig.get_path("purelib")).iterdir():
            if not path.name.startswith(("agent_run_harness", "__editable__")) and path.suffix != ".pth":
                (self.dependencies / path.name).symlink_to(path)

    def local(self, text: str) -> str:
        """A text with the paths of the image below the root. Those of the test itself stay."""
        own = re.escape(str(self.root.parent))
        return re.sub(rf"(?<![\w./$-])(?!{own}/)/(opt|src|results)(?![\w-])", rf"{self.root}/\1", text)

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a shell command as RUN does. The locked dependencies are there already: nothing is downloaded."""
        given = environment(**{name: self.local(value) for name, value in self.variables.items()})
        given["PATH"] = given["PATH"].replace("$PATH", f"{BIN}:{os.defpath}")
        given["PYTHONPATH"] = str(self.dependencies)
        given |= QUICK_INSTALLATION
        return subprocess.run(
            ["sh", "-c", self.local(command)],
            cwd=self.folder,
            env=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def step(self, name: str, rest: str) -> None:
        """Carry out one instruction."""
        if name == "WORKDIR":
            self.folder = Path(self.local(rest))
            self.folder.mkdir(parents=True, exist_ok=True)
        elif name == "COPY":
            self._copy(rest)
        elif name == "ENV":
            self.variables |= dict(word.split("=", 1) for word in shlex.split(rest))
        elif name == "RUN":
            done = self.run(re.sub(r"chown \S+", "chown $(id -u):$(id -g)", rest))
            assert done.returncode == 0, done.stdout + done.stderr

    def _copy(self, rest: str) -> None:
        *sources, target = rest.split()
        if sources[0].startswith("--from="):
            assert sources[1:] == [target]
            assert Path(self.local(target)).exists(), rest
            return
        for source in sources:
            assert included(source), f"{source} is not part of the build context"
            place = self.folder / target / (source if target == "./" else "")
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
            else:
                shutil.copy(ROOT / source, place)
                if source.endswith(".lock"):
                    shorten(self.folder / source)


def included(path: str) -> bool:
    """Whether .dockerignore lets a path of the top folder through; of several patterns, the last one decides."""
    verdicts = [line.startswith("!") for line in IGNORED if fnmatch(path, line.removeprefix("!"))]
    return verdicts[-1] if verdicts else True


def test_only_what_the_image_needs_is_sent_to_the_engine() -> None:
    copied = {source for rest in of("COPY") if "--from" not in rest for source in rest.split()[:-1]}
    assert {line[1:] for line in IGNORED if line.startswith("!")} == copied
    assert not included(".git")
    assert not included("harness.toml")


def test_it_runs_as_a_numeric_user_with_the_entry_point_of_its_stage() -> None:
    assert [rest.rpartition(" AS ")[2] for rest in of("FROM")] == ["build", "runtime", "locust", "harness"]
    assert of("USER") == ["65532:65532"]
    assert [json.loads(rest) for rest in of("ENTRYPOINT")] == [["locust"], ["harness"]]
    last = INSTRUCTIONS[-1]
    assert last == ("CMD", '["--help"]')


def test_the_lock_has_the_extras() -> None:
    locks = {
        name: set(
            re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
        )
        for name in ("requirements.lock", "requirements-image.lock")
    }
    assert locks["requirements.lock"] < locks["requirements-image.lock"]
    more = {name for name, _ in locks["requirements-image.lock"] - locks["requirements.lock"]}
    assert {"opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http", "pyarrow"} <= more


@pytest.mark.slow
@pytest.mark.packaging
def test_its_steps_run_in_an_empty_folder(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    image = Image(root)
    for name, rest in INSTRUCTIONS:
        image.step(name, rest)
    for entry, words in (("harness", "harness, version"), ("locust", "locust 2.")):
        done = image.run(f"{entry} --version")
        assert words in done.stdout, done.stdout + done.stderr
    where = image.run('python -c "import harness; print(harness.__file__)"').stdout.strip()
    assert where.startswith(f"{root}/opt/harness/")
    assert compiler() is None or len(list(Path(where).parent.rglob("*.abi3.so"))) == 2
    done = image.run("harness profile list")
    assert (done.returncode, "workflow-actions" in done.stdout) == (0, True), done.stdout + done.stderr
