"""The wheel works in an empty environment, far from the checkout."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Sequence
from importlib.metadata import distribution, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.benchmarks.target import compiler
from tests.integration.commands import environment

pytestmark = [pytest.mark.packaging, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]


EXTENSIONS = {
    "harness/transport/batch_reader.c": "harness/transport/_batch_reader",
    "harness/contract/decoding/token_reader.c": "harness/contract/decoding/_token_reader",
}
PARTS = {
    "harness": "harness",
    **{f"harness/{name}": name for name in ("conformance", "locustfiles", "reports")},
}
"""The folders of the wheel, and what they are in the checkout."""


def built(source: Path, out: Path, **variables: str) -> Path:
    """The wheel, as every frontend has it built: by the hook of the backend."""
    command = [
        sys.executable,
        "-c",
        "import sys; from setuptools.build_meta import build_wheel as build; build(sys.argv[1])",
    ]
    done = subprocess.run(
        [*command, str(out)],
        cwd=source,
        env=os.environ | {"CFLAGS": "-O0"} | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = out.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(ROOT, tmp_path_factory.mktemp("dist"))


def locked() -> list[Requirement]:
    """What the lock file asks for on this platform."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    lines = [line.removesuffix("\\") for line in text.splitlines() if re.match(r"\w", line)]
    asked = [Requirement(line) for line in lines]
    return [one for one in asked if one.marker is None or one.marker.evaluate()]


def contents(name: str) -> set[Path]:
    """The files and folders of an installed distribution in the folder of all packages."""
    found = distribution(name)
    tops = {Path(file.parts[0]) for file in found.files or ()} - {Path(".."), Path("__pycache__")}
    return {Path(str(found.locate_file(top))) for top in tops}


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a new environment that holds the wheel and the locked dependencies, and nothing else.

    The dependencies are links to those of this environment, which are compiled already; `make` has installed them from
    the same lock file.
    """
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder)
    (packages,) = folder.glob("lib/*/site-packages")
    for one in locked():
        assert one.specifier.contains(version(one.name))
        for path in contents(one.name):
            if not (packages / path.name).exists():  # several may share a namespace
                (packages / path.name).symlink_to(path)
    uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(folder / "bin" / "python")]
    done = subprocess.run(
        [*uv, "--offline", "--no-deps", str(wheel)], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    reuse_bytecode(packages)
    return folder / "bin"


def reuse_bytecode(packages: Path) -> None:
    """Put the compiled modules of the checkout beside the installed ones, whose sources are the same."""
    for place, part in PARTS.items():
        for source in (ROOT / part).rglob("*.py"):
            copy = packages / place / source.relative_to(ROOT / part)
            compiled = Path(importlib.util.cache_from_source(source))
            if compiled.is_file() and copy.read_bytes() == source.read_bytes():
                os.utime(copy, ns=(source.stat().st_atime_ns, source.stat().st_mtime_ns))
                copy.parent.joinpath("__pycache__").mkdir(exist_ok=True)
                shutil.copy(compiled, importlib.util.cache_from_source(copy))


def run(command: Sequence[str], folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def test_the_wheel_installs_one_name(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
        names = set(archive.namelist())
    assert {top for top in tops if not top.endswith(".dist-info")} == {"harness"}
    for name in (
        "harness/conformance/pytest.ini",
        "harness/conformance/conftest.py",
        "harness/conformance/scenarios/runs.py",
        "harness/locustfiles/agent_runs.py",
        "harness/reports/html.py",
        "harness/reports/templates/base.css",
        "harness/reports/templates/sections/load_section.html.j2",
        "harness/py.typed",
    ):
        assert name in names
    for place, part in PARTS.items():
        modules = {f"{place}/{path.relative_to(ROOT / part)}" for path in (ROOT / part).rglob("*.py")}
        assert modules <= names
        assert modules


def extensions(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name.partition(".")[0] for name in archive.namelist() if name.endswith(".so")}


@pytest.mark.skipif(compiler() is None, reason="no C compiler")
def test_the_wheel_has_the_extension_for_every_version_of_python(wheel: Path) -> None:
    assert extensions(wheel) == set(EXTENSIONS.values())
    assert "-cp311-abi3-" in wheel.name


def test_the_extension_works_in_every_version_whichever_compiled_it() -> None:
    """Python 3.13's headers compile formats with "#" to functions that fail in 3.11 and 3.12."""
    for file in EXTENSIONS:
        formats = re.findall(
            r'(?:Py_BuildValue|PyArg_ParseTuple)\([^"]*"([^"]*)"', (ROOT / file).read_text(encoding="utf-8")
        )
        assert len(formats) > 2
        assert [one for one in formats if "#" in one] == []


def test_without_a_compiler_there_is_a_wheel_without_the_extension(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("harness", "conformance", "locustfiles", "reports"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    assert not extensions(built(source, tmp_path / "dist", CC=str(tmp_path / "no compiler")))


CHECK = """
import sys
from harness.commands import check
from harness.cli import main
check._PYTEST_ARGS += ("-k", "terminal")
main(sys.argv[1:])
"""
"""`harness check` with one area of the suite, which collects all of it."""


def test_the_installed_wheel_runs_the_main_job(installed: Path, tmp_path: Path) -> None:
    command = [str(installed / "python"), "-c", CHECK]
    done = run(command, tmp_path, "check", "--out", "out", "--duration", "1s", "--users", "3")
    # Beside other tests, so short a load may be saturated: the gate is then inconclusive, rightly.
    assert done.returncode == 0 or "inconclusive saturated" in done.stdout, done.stdout + done.stderr
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000
    assert str(ROOT) not in done.stdout


def test_the_installed_wheel_runs_the_suite_against_a_server(installed: Path, tmp_path: Path) -> None:
    harness = [str(installed / "harness")]
    command = [*harness, "serve", "--port", "0", "--config-out", "harness.toml"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        assert "listening on" in server.stdout.readline()
        try:
            suite = run(
                harness, tmp_path, "conformance", "-k", "terminal", "--json", "v.json", "--junit", "v.xml"
            )
        finally:
            server.terminate()
    assert suite.returncode == 0, suite.stdout + suite.stderr
    verdicts = {
        check["id"]: check["verdict"] for check in json.loads((tmp_path / "v.json").read_text())["checks"]
    }
    assert verdicts["terminal.exactly-one"] == "pass"
    assert 'name="terminal.exactly-one"' in (tmp_path / "v.xml").read_text()


IMPORT_ALL = """
import importlib, pkgutil, sys
import gevent.monkey
gevent.monkey.patch_all()
import harness
names = [one.name for one in pkgutil.walk_packages(harness.__path__, "harness.")]
for name in names:
    if not name.endswith(("__main__", ".conftest")) and ".test_" not in name:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as problem:
            if (name, problem.name) != ("harness.reference.redis_store", "redis"):  # of the extra redis
                raise
print(len(names), harness.__file__)
"""


def test_every_module_of_the_installed_wheel_can_be_imported(installed: Path, tmp_path: Path) -> None:
    done = run([str(installed / "python"), "-c", IMPORT_ALL], tmp_path)
    assert done.returncode == 0, done.stderr
    number, _, path = done.stdout.partition(" ")
    assert int(number) > 200
    assert path.startswith(str(installed.parent))
