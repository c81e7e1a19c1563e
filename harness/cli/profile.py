"""``harness profile``: how the harness reads the API under test."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click


@click.group()
def profile() -> None:
    """List, show and check profiles.

    A profile is a TOML file that tells how one API starts a run, what its events mean and what it promises.
    docs/profiles.md describes the format.

    \b
    Example: harness profile check openai-chat answer.txt
    """


@profile.command("list")
def list_() -> None:
    """List the profiles that can be used by name.

    \b
    Example: harness profile list
    """
    from harness.commands.profile import print_profiles

    print_profiles()


@profile.command()
@click.argument("name")
def show(name: str) -> None:
    """Show what an API promises by its profile, and the profile itself.

    NAME is a name from the list, or the path of a TOML file.

    \b
    Example: harness profile show openai-chat > mine.toml
    """
    from harness.commands.profile import print_profile

    print_profile(name)


@profile.command()
@click.argument("name")
@click.argument("captures", nargs=-1, required=True, type=click.Path(path_type=Path))
def check(name: str, captures: tuple[Path, ...]) -> None:
    """Show event by event what a profile makes of recorded answers.

    CAPTURES are files with what `curl -i -N --raw … > answer.txt` writes, or HAR files. Exit code 1 if an event is
    unknown or a stream does not fit the profile.

    \b
    Example: harness profile check openai-chat answer.txt
    """
    from harness.commands.profile import check_profile

    sys.exit(check_profile(name, captures))


@profile.command()
@click.option(
    "--from-curl",
    "curl_file",
    required=True,
    type=click.Path(path_type=Path),
    help="File with a working curl command.",
)
@click.argument("answer", type=click.Path(path_type=Path))
def init(curl_file: Path, answer: Path) -> None:
    """Print a draft of a profile, guessed from a curl command and its recorded answer.

    ANSWER is a file with what `curl -i -N --raw … > answer.txt` writes. If the harness has the profile already, its
    name is printed.

    \b
    Example: harness profile init --from-curl run.sh answer.txt > mine.toml
    """
    from harness.commands.profile_draft import draft_profile

    sys.exit(draft_profile(curl_file, answer))


@profile.command()
def schema() -> None:
    """Print the JSON Schema of a profile, for editors.

    \b
    Example: harness profile schema > profile.schema.json
    """
    from harness.profiles.profile import Profile

    click.echo(json.dumps(Profile.model_json_schema(by_alias=True), indent=2))
