"""The installed plugin in a project that has nothing to do with the harness."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.conformance.suite import OTHER_PLUGINS, run

pytestmark = pytest.mark.slow

STRICT = """
    [pytest]
    addopts = --strict-markers --strict-config
    filterwarnings = error
    markers =
        requirement: a requirement of this project
        terminal: a test that needs a terminal
"""
#: Names and markers that the harness's suite uses too.
THEIRS = """
    import pytest

    pytestmark = [pytest.mark.terminal, pytest.mark.requirement(id="REQ-1", level="high")]

    @pytest.mark.requirement("REQ-12")
    def test_positional():
        pass

    @pytest.mark.requirement(id="REQ-13")
    def test_keyword():
        pass

    @pytest.mark.requirement
    def test_bare():
        pass

    @pytest.mark.parametrize(
        "name", ["check", "expectations", "scenario_runner", "target", "settings", "stream", "replayed"]
    )
    def test_no_fixture_of_the_harness(request, name):
        with pytest.raises(pytest.FixtureLookupError):
            request.getfixturevalue(name)
"""
IMPORTS = """
    import sys

    def test_nothing_was_imported():
        loaded = {name for name in sys.modules if name.startswith("harness")}
        assert loaded == {"harness", "harness.parent_process", "harness.suite", "harness.suite.pytest_plugin"}
        heavy = {"aiohttp", "click", "hypothesis", "locust", "matplotlib", "numpy", "pydantic", "rich", "tomlkit"}
        assert heavy & set(sys.modules) == set()
"""
THEIR_FIXTURES = """
    def pytest_generate_tests(metafunc):
        pass

    import pytest

    @pytest.fixture
    def check():
        return "theirs"

    @pytest.fixture
    def target():
        return "their target"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with strict settings, whose working directory has a settings file that is not the harness's."""
    for name, text in {
        "pytest.ini": STRICT,
        "test_theirs.py": THEIRS,
        "harness.toml": "wheels = 4\n",
    }.items():
        (tmp_path / name).write_text(textwrap.dedent(text))
    return tmp_path


@pytest.mark.parametrize(
    "options",
    [(), ("-n", "2"), ("-p", "no:harness"), ("-p", "no:xdist"), ("-m", "terminal"), ("-k", "not absent")],
    ids=" ".join,
)
def test_their_tests_run_as_without_it(project: Path, options: tuple[str, ...]) -> None:
    # Its own variables would be unknown settings to the harness.
    done = run("pytest", *options, folder=project, HARNESS_WHEELS="4")
    assert done.code == 0, done.output
    assert "10 passed" in done.output
    for word in ("harness:", "conformance", "warning", "deselected"):
        assert word not in done.output.replace("no:harness", "")


def test_it_imports_nothing_of_the_harness(project: Path) -> None:
    """But what ends a process with its parent. In a new process: `run` forks one that has imported the harness."""
    (project / "test_theirs.py").write_text(textwrap.dedent(IMPORTS))
    others = [option for plugin in OTHER_PLUGINS for option in ("-p", f"no:{plugin}")]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *others]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_the_order_and_the_names_of_their_tests_stay(project: Path) -> None:
    done, without = (
        run("pytest", "--collect-only", "-q", *options, folder=project)
        for options in ((), ("-p", "no:harness"))
    )
    assert done.code == without.code == 0, done.output
    assert "test_positional" in done.output
    assert _tests(done.output) == _tests(without.output)


def _tests(output: str) -> list[str]:
    return [line for line in output.splitlines() if "::" in line]


def test_their_fixtures_are_theirs(project: Path) -> None:
    (project / "conftest.py").write_text(textwrap.dedent(THEIR_FIXTURES))
    (project / "test_theirs.py").write_text(
        'def test_names(check, target):\n    assert (check, target) == ("theirs", "their target")\n'
    )
    done = run("pytest", folder=project)
    assert done.code == 0, done.output
    assert "1 passed" in done.output


def test_one_marker_is_registered_and_it_has_the_harness_in_its_name(project: Path) -> None:
    listed, without = (
        run("pytest", "--markers", *more, folder=project).output for more in ((), ("-p", "no:harness"))
    )
    added = set(listed.splitlines()) - set(without.splitlines())
    assert [line.partition("(")[0] for line in added if line] == ["@pytest.mark.harness_requirement"]


def test_an_unknown_marker_of_theirs_is_still_refused(project: Path) -> None:
    (project / "test_theirs.py").write_text(
        "import pytest\n\n@pytest.mark.framing\ndef test_it():\n    pass\n"
    )
    done = run("pytest", folder=project)
    assert done.code == 2, done.output
    assert "'framing' not found in `markers`" in done.output


@pytest.mark.parametrize("arguments", ["()", "(id='x')", "('ids.unique', 'ids.present')"])
def test_a_harness_marker_without_an_id_is_one_sentence(project: Path, arguments: str) -> None:
    (project / "test_theirs.py").write_text(
        f"import pytest\n\n@pytest.mark.harness_requirement{arguments}\ndef test_it():\n    pass\n"
    )
    done = run("pytest", folder=project)
    assert done.code == 4, done.output
    assert "write the marker as harness_requirement(id)" in done.output
    assert "INTERNALERROR" not in done.output


def test_the_suite_without_its_plugin_is_one_sentence(project: Path) -> None:
    (project / "pytest.ini").unlink()
    done = run("pytest", "--pyargs", "harness.conformance", "-p", "no:harness", folder=project)
    assert done.code != 0
    assert "the suite needs the harness's pytest plugin" in done.output
    assert "INTERNALERROR" not in done.output


def test_an_unknown_area_is_one_sentence(project: Path) -> None:
    (project / "pytest.ini").unlink()
    done = run("pytest", "--pyargs", "harness.conformance", "--harness-area", "resum", folder=project)
    assert done.code == 4, done.output
    assert "unknown area 'resum'" in done.output
    assert "resume" in done.output
