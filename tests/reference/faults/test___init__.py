"""Each fault violates its requirement, and the correct server violates none."""

from __future__ import annotations

import re

import pytest

from harness.config.settings import TargetSettings
from harness.contract.requirements import CATALOGUE, Level
from harness.profiles.profile import WORKFLOW_ACTIONS, Profile
from harness.reference.ag_ui import AgUiApi
from harness.reference.api import ReferenceApi
from harness.reference.apis import APIS
from harness.reference.faults import faulty_api
from harness.reference.faults.base import FAULTS
from harness.reference.settings import DEMO_PRINCIPALS, demo_config
from tests.cases import all_cases
from tests.reference import replica_checks  # noqa: F401 - adds its checks
from tests.reference.cancel_checks import OTHER_TOKEN
from tests.reference.checks import CHECKS, HEARTBEAT_S
from tests.reference.profile_checks import PROFILE_CHECKS
from tests.reference.support import Client, action, ask, body

MOST_RACES = 5
#: Checks of a server with two replicas.
SHARED = {fault.breaks for fault in FAULTS.values() if fault.shared}


@pytest.mark.parametrize("requirement", CHECKS)
def test_the_correct_server_violates_nothing(requirement):
    ask(CHECKS[requirement], heartbeat_s=HEARTBEAT_S, shared=requirement in SHARED)


@all_cases(("profile", "requirement"), PROFILE_CHECKS)
def test_the_correct_server_of_another_api_violates_nothing(profile, requirement):
    ask(PROFILE_CHECKS[profile, requirement], profile=profile)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_violates_its_requirement(name):
    """At one of several times: a check that races the server may miss its window on a busy machine."""
    fault = FAULTS[name]
    check = PROFILE_CHECKS.get((fault.profile, fault.breaks)) or CHECKS[fault.breaks]

    def often() -> None:
        for _ in range(MOST_RACES):
            ask(check, [name], heartbeat_s=HEARTBEAT_S, profile=fault.profile, shared=fault.shared)

    with pytest.raises(AssertionError):
        often()


def test_every_fault_of_another_api_has_a_check_of_that_api():
    own = {(fault.profile, fault.breaks) for fault in FAULTS.values() if fault.profile != WORKFLOW_ACTIONS}
    assert set(PROFILE_CHECKS) == own


@all_cases("name", FAULTS)
def test_a_fault_is_described(name):
    fault = FAULTS[name]
    assert fault.name == name
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
    assert fault.breaks in CATALOGUE
    assert (fault.__doc__ or "").endswith(".")


def demo_api() -> Profile:
    """The API of the embedded server, which has a request that cancels a run."""
    return TargetSettings.model_validate(demo_config("http://127.0.0.1:9")["target"]).api


def test_the_other_token_is_one_of_the_embedded_server():
    assert OTHER_TOKEN in DEMO_PRINCIPALS


def test_every_requirement_that_a_server_can_break_has_a_fault():
    api = demo_api()
    breakable = {
        row.id for row in CATALOGUE.values() if row.level is not Level.INFO and row.not_promised(api) is None
    }
    own = {fault.breaks for fault in FAULTS.values() if fault.profile == WORKFLOW_ACTIONS}
    assert breakable - own == set()
    assert set(CHECKS) == breakable


def test_without_faults_it_is_the_correct_api():
    assert faulty_api([]) is ReferenceApi
    assert faulty_api([], "ag-ui") is AgUiApi


@pytest.mark.parametrize(
    ("faults", "profile", "message"),
    [
        (
            ["two-terminals"],
            "ag-ui",
            "the fault two-terminals is one of the profile workflow-actions, not of ag-ui",
        ),
        (["done-marker-twice"], "workflow-actions", "use --profile openai-chat"),
        (
            [],
            "mcp",
            "the embedded server has no API of the profile 'mcp': use one of workflow-actions, openai-chat",
        ),
    ],
)
def test_a_fault_belongs_to_one_api(faults, profile, message):
    with pytest.raises(ValueError, match=message):
        faulty_api(faults, profile)


def test_faults_compose():
    async def scenario(client: Client) -> None:
        answer = await client.post(body(action("fail")))
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.raw.startswith(b"event: update\nretry: 3s\nid: ")
        assert answer.types == ["token", "done", "done"]
        assert (await client.post(token=None)).status == 200

    faults = [
        "json-content-type",
        "wrong-event-name",
        "wordy-retry",
        "failure-as-done",
        "two-terminals",
        "anonymous-accepted",
    ]
    ask(scenario, faults)


def test_all_faults_at_once_still_make_a_server():
    for profile in APIS:
        own = [name for name, fault in FAULTS.items() if fault.profile == profile]
        assert {FAULTS[name] for name in own} <= set(faulty_api([*own, *own], profile).__mro__)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no-idz", "unknown fault 'no-idz'; did you mean 'no-ids'?"),
        ("§", "unknown fault '§'; known faults: abort-as-success, anonymous-accepted, "),
    ],
)
def test_an_unknown_fault_is_an_error(name, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        faulty_api(["two-terminals", name])
