"""The suite on an API whose runs are read by a second request without a body: a sound server is blamed for nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from harness.config.settings import Settings
from harness.reference.settings import demo_config
from tests.conformance.suite import verdicts_on
from tests.profiles.resuming_server import settings
from tests.profiles.task_server import PROFILE, serving

pytestmark = pytest.mark.slow

PASSED = {
    "headers.event-stream", "framing.utf8", "events.strict-json", "ids.increasing", "liveness.first-event",
    "auth.missing", "resume.replay", "resume.every-cut", "cancel.accepted", "cancel.ends", "cancel.outcome",
}  # fmt: skip
COMMENTS = {
    "liveness.heartbeat-inert",
    "liveness.heartbeat-interval",
}  # there are as many as the machine is slow
_BUSY = "ended before it could be"  # joined or cancelled: the machine had no time for the request


def verdicts(folder: Path, api: str, only: tuple[str, ...] = ()) -> Mapping[str, tuple[str, str]]:
    """Verdict and detail by requirement."""
    path = folder / "task-queue.toml"
    path.write_text(PROFILE)
    with serving(api) as url:
        found = verdicts_on(Settings.model_validate(settings(url, str(path), demo_config(url))), only=only)
    return {check.requirement.id: (str(check.verdict), check.detail) for check in found.checks}


def test_a_sound_server_is_blamed_for_nothing(tmp_path: Path) -> None:
    """A task that writes nothing has an empty stream, and a GET has no body whose type or size could be wrong."""
    found = verdicts(tmp_path, "TaskApi")
    settled = {"pass", "info", "not applicable"}
    bad = {name: one for name, one in found.items() if one[0] not in settled}
    excused = {
        name for name, (verdict, detail) in bad.items() if verdict == "inconclusive" and _BUSY in detail
    }
    assert {name: one for name, one in bad.items() if name not in excused | COMMENTS} == {}
    assert {name: found[name] for name in PASSED - excused if found[name][0] != "pass"} == {}
    for name in ("input.media-type", "input.too-large"):
        assert found[name] == (
            "not applicable",
            "this API promises no body in a request (profile task-queue)",
        )


def test_streams_without_any_event_pass_nothing(tmp_path: Path) -> None:
    names = ("headers.event-stream", "framing.utf8", "ids.present", "liveness.first-event")
    found = verdicts(tmp_path, "AlwaysEmpty", names)
    assert {name: found[name][0] for name in names} == {
        "headers.event-stream": "inconclusive",
        "framing.utf8": "inconclusive",
        "ids.present": "inconclusive",
        "liveness.first-event": "warn",
    }
