"""The commit under test, as the CI system names it, or git."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

from harness.gate.history import is_commit

VARIABLES = (
    "GITHUB_SHA",
    "CI_COMMIT_SHA",
    "BUILDKITE_COMMIT",
    "BITBUCKET_COMMIT",
    "CIRCLE_SHA1",
    "GIT_COMMIT",
)
"""Of GitHub, GitLab, Buildkite, Bitbucket, CircleCI and Jenkins."""
_GIT_TIMEOUT_S = 10.0


def current_commit(environment: Mapping[str, str]) -> str:
    """The commit that a CI system's environment names, else that of the current folder's checkout; empty if unknown."""
    for name in VARIABLES:
        if is_commit(environment.get(name, "")):
            return environment[name]
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--verify", "HEAD"],
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_S,
            check=False,
            env={**environment, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    commit = done.stdout.strip()
    return commit if done.returncode == 0 and is_commit(commit) else ""
