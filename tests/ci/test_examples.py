"""The pipelines in docs/ci are valid, and their commands run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.ci.samples import cases_of
from tests.ci.simulated import Runner

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "ci"
GITLAB = yaml.safe_load((FOLDER / "gitlab-ci.yml").read_text(encoding="utf-8"))
GITHUB = yaml.safe_load((FOLDER / "github-workflow.yml").read_text(encoding="utf-8"))
JOB = GITLAB["agent-runs"]
STEPS = GITHUB["jobs"]["check"]["steps"]
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")

#: The repository is a placeholder. The harness is installed already.
INSTALL = 'pip install "git+https://github.com/OWNER/agent-run-harness@v0.1"'
SCRIPTS = {
    "gitlab": "\n".join([*JOB["before_script"], *JOB["script"]]),
    "github": "\n".join(step["run"] for step in STEPS if "run" in step),
    "elsewhere": "\n".join(re.findall(r"^    (harness .*)$", PAGE, re.MULTILINE)),
}


def test_gitlab_keeps_what_the_command_writes() -> None:
    (command,) = JOB["script"]
    kept = JOB["artifacts"]
    assert kept["when"] == "always"
    assert f"--junit {kept['reports']['junit']}" in command
    assert f"--out {kept['paths'][0]} " in command


def test_both_post_the_comment_that_the_command_writes() -> None:
    post = "harness comment harness-results/comment.md"
    (gitlab,) = JOB["after_script"]
    assert gitlab == f'test -z "$GITLAB_TOKEN" || {post}'
    (step,) = [step for step in STEPS if step.get("run") == post]
    assert step["if"].startswith("always()")
    assert step["env"] == {"GITHUB_TOKEN": "${{ github.token }}"}
    assert GITHUB["jobs"]["check"]["permissions"]["pull-requests"] == "write"
    for script in (SCRIPTS["gitlab"], SCRIPTS["github"]):
        assert "--comment-md harness-results/comment.md" in script


def test_github_keeps_what_the_command_writes() -> None:
    (command,) = [step["run"] for step in STEPS if "harness check" in step.get("run", "")]
    keeping = STEPS[-1]
    assert keeping["if"] == "always()"
    assert f"--out {keeping['with']['path']} " in command
    assert all("${{" not in step.get("run", "") for step in STEPS)


@pytest.mark.slow
@pytest.mark.parametrize("where", SCRIPTS)
def test_the_commands_run(tmp_path: Path, where: str) -> None:
    """Unchanged, except for the load and the selection of tests."""
    script = SCRIPTS[where]
    assert "harness check " in script
    assert "--users 20 --duration 60s" in script
    assert script.count(INSTALL) == (where != "elsewhere")
    runner = Runner(tmp_path)
    done = runner.bash(
        script.replace(INSTALL, "true").replace("--users 20 --duration 60s", "--users 2 --duration 2s"),
        JOB["variables"],
        area="framing",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    kept = runner.workspace / "harness-results"
    assert (kept / "report.html").is_file()
    assert ("conformance", "framing.utf8") in cases_of((kept / "junit.xml").read_text(encoding="utf-8"))
    assert runner.outputs["verdict"] == "passed"
