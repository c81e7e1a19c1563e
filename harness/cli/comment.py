"""``harness comment``: posts the comment of a test to the pull or merge request."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
def comment(file: Path) -> None:
    """Post a comment to the pull request of a CI job.

    FILE is what --comment-md wrote. It is posted to the pull request (GitHub) or merge request (GitLab) that this job
    runs for, with the token in GITHUB_TOKEN or GITLAB_TOKEN. The comment of an earlier test of the same job is updated.
    If FILE is missing, the comment says that the test could not run. A job without a pull request posts nothing.

    \b
    Example: harness comment harness-results/comment.md
    """
    from harness.commands.comment import run_comment

    run_comment(file)
