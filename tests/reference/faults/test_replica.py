"""What these faults leave correct: what other requirements are about."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, cast

import pytest

from harness.profiles.workflow_actions.request import WorkflowActionRequest
from harness.reference.faults import faulty_api, race
from harness.reference.request_checks import Submission
from harness.reference.runs import KeyTakenError, Run
from harness.reference.settings import ServerSettings
from tests.reference.support import body


def submission(session: str) -> Submission:
    document = body(sessionId=session)
    return Submission(cast("Any", None), "org-1", document, WorkflowActionRequest.model_validate(document))


@pytest.mark.parametrize(
    ("fault", "overlooked"), [("winner-per-replica", "different"), ("replicas-both-run", "equal")]
)
def test_only_the_racing_bodies_of_the_fault_run_twice(
    fault: str, overlooked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another replica stores its run between the lookup and the start of one here: the key is taken."""
    api = faulty_api([fault])(ServerSettings())
    taken = Run("org-1", "elsewhere", api.fingerprint(submission("equal").body), ("org-1", "key", "k"))
    monkeypatch.setattr(api.registry, "find", lambda _: taken)
    monkeypatch.setattr(api, "is_foreign", lambda _: True)

    def launch(run: Run, _: object) -> None:
        if run.identity == taken.identity:
            raise KeyTakenError

    monkeypatch.setattr(api, "launch", launch)
    crowd = race._Crowd(present=3, most=3)
    token = race._CROWD.set(crowd)
    try:
        started = {}
        for kind in ("equal", "different"):
            with suppress(KeyTakenError):
                started[kind] = api.start(submission(kind), "k", lambda: cast("Any", None))
    finally:
        race._CROWD.reset(token)
    assert list(started) == [overlooked]
