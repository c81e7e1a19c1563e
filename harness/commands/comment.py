"""Posts a comment file to the pull or merge request of the CI job."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import click

from harness.ci.comment import LIMIT_CHARS, MARKER, comment_without_results
from harness.ci.pull_request import comment_thread
from harness.errors import SettingsError
from harness.input_file import SETTINGS_BYTES, read_text


def run_comment(path: Path, environment: Mapping[str, str] = os.environ) -> None:
    """Post the file, or update the comment of an earlier test, and print which. Without the file, say that no test ran.

    Raises SettingsError for a file that --comment-md did not write or a job without a token, PostError if the system
    did not accept the comment.
    """
    there = path.exists()
    text = read_text(path, "the comment", SETTINGS_BYTES) if there else comment_without_results(environment)
    marker = text.partition("\n")[0]
    if not MARKER.fullmatch(marker) or len(text) > LIMIT_CHARS:
        raise SettingsError(f"{path} is not a comment of the harness; write one with --comment-md")
    thread = comment_thread(environment)
    if thread is None:
        click.echo("comment: this job runs for no pull or merge request, so nothing is posted")
        return
    click.echo(f"comment: {thread.post(text, marker)}")
