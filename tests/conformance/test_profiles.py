"""The suite on the embedded server's other APIs: whatever they promise is decided, and none of it is violated."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from harness.config.settings import Settings
from harness.contract.finding import Verdict
from harness.contract.verdicts import DECIDED, Verdicts
from harness.profiles import library
from harness.profiles.profile import WORKFLOW_ACTIONS
from harness.reference.apis import APIS
from harness.reference.settings import demo_config
from tests.conformance.suite import in_advance, verdicts_on
from tests.forked import embedded_server

OTHERS = [name for name in APIS if name != WORKFLOW_ACTIONS]


def judged(profile: str) -> Verdicts:
    with embedded_server(profile=profile) as base_url:
        return verdicts_on(Settings.model_validate(demo_config(base_url, profile)))


@pytest.fixture(scope="module")
def verdicts_of() -> Iterator[Callable[[str], Verdicts]]:
    with in_advance(judged, OTHERS) as waiting:
        yield waiting


@pytest.mark.parametrize("profile", OTHERS)
def test_a_sound_server_meets_all_that_its_api_promises(
    profile: str, verdicts_of: Callable[[str], Verdicts]
) -> None:
    verdicts = verdicts_of(profile)
    unmet = {
        check.requirement.id: check.detail
        for check in verdicts.checks
        if check.verdict not in {Verdict.PASS, Verdict.INFO, Verdict.NOT_APPLICABLE}
    }
    assert unmet == {}
    decided = {check.requirement.id for check in verdicts.checks if check.verdict in DECIDED}
    api = library.load(profile)
    # AG-UI has no tokens here, and its runs are cancelled by a reader that leaves, of which no answer tells.
    left_out = ("auth.", "cancel.", "replica.cancel") if profile == "ag-ui" else ()
    promised = {
        check.requirement.id for check in verdicts.checks if check.requirement.not_promised(api) is None
    }
    assert [name for name in promised - decided if not name.startswith(left_out)] == []
