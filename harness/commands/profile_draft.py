"""``harness profile init``: which profile an API has, or a draft of one."""

from __future__ import annotations

from pathlib import Path

import tomlkit

from harness.commands.profile import recorded_answers
from harness.errors import SettingsError
from harness.exit_codes import PASSED
from harness.formatting import shortened, shown_path
from harness.profiles import library
from harness.profiles.guess import guess_profile, null_members
from harness.profiles.profile import WORKFLOW_ACTIONS
from harness.profiles.recognition import recognize_answer, recognize_request
from harness.profiles.stream_reader import read_stream
from harness.setup.curl import read_curl_file
from harness.terminal.safe_console import SafeConsole

_HEAD = """\
# A draft: only what the request and the answer show. Correct it, and add what the API promises (docs/profiles.md).
# Then: harness profile check ./mine.toml ANSWER
"""


def draft_profile(curl_file: Path, answer_file: Path) -> int:
    """Print the profile, or say which one it is. Returns the exit code. Raises SettingsError for unusable files."""
    curl = read_curl_file(curl_file)
    recorded = recorded_answers(answer_file)
    answers = [answer for answer in recorded if answer.is_stream]
    if not answers:
        media_type = shortened(recorded[0].media_type or "absent")
        raise SettingsError(
            f"{answer_file} has no event stream (status {recorded[0].status}, Content-Type {media_type}): the "
            "harness reads text/event-stream; record such an answer with curl -i -N --raw"
        )
    answer = answers[0]
    console = SafeConsole(stderr=True, highlight=False, soft_wrap=True)
    request = recognize_request(curl.path, curl.body, is_form=curl.form_as is not None)
    fitting = recognize_answer(answer.frames, is_complete=answer.is_complete)
    if request is not None and request.profile.name in fitting:
        name = request.profile.name
        console.print(
            f"request and answer are those of the profile {name}; use --profile {name}", markup=False
        )
        if name != WORKFLOW_ACTIONS:
            console.print(
                f"harness init --from-curl {shown_path(curl_file)} writes the settings", markup=False
            )
        return PASSED
    try:
        guessed = guess_profile(curl.path, curl.body, answer.frames, curl.form_as)
    except ValueError as problem:
        raise SettingsError(f"{answer_file}: {problem}") from None
    text = _HEAD + tomlkit.dumps(guessed)
    profile = library.parse(text, "the draft")
    print(text, end="")
    if left_out := null_members(curl.body):
        console.print(
            f"not in the draft, because TOML has no null: {shortened(', '.join(left_out))}", markup=False
        )
    stream = read_stream(profile, answer.frames, is_complete=answer.is_complete)
    console.print(f"text by the draft: {stream.text[:200]!r}", markup=False)
    for misfit in stream.problems:
        console.print(f"does not fit: {misfit}", markup=False)
    alike = [name for name in fitting if name != WORKFLOW_ACTIONS]
    if alike:
        console.print(f"the answer also fits {', '.join(alike)}", markup=False)
    return PASSED
