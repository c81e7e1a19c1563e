"""Each fault violates its requirement, and the correct server violates none."""

from __future__ import annotations

import re

import pytest

from harness.contract.requirements import CATALOGUE, Level
from harness.profiles.library import default_profile
from harness.reference.api import ReferenceApi
from harness.reference.faults import faulty_api
from harness.reference.faults.base import FAULTS
from tests.reference.checks import CHECKS, HEARTBEAT_S
from tests.reference.support import Client, action, ask, body


@pytest.mark.parametrize("requirement", CHECKS)
def test_the_correct_server_violates_nothing(requirement):
    ask(CHECKS[requirement], heartbeat_s=HEARTBEAT_S)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_violates_its_requirement(name):
    with pytest.raises(AssertionError):
        ask(CHECKS[FAULTS[name].breaks], [name], heartbeat_s=HEARTBEAT_S)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_described(name):
    fault = FAULTS[name]
    assert fault.name == name
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
    assert fault.breaks in CATALOGUE
    assert (fault.__doc__ or "").endswith(".")


def test_every_requirement_that_a_server_can_break_has_a_fault():
    api = default_profile()
    breakable = {
        row.id for row in CATALOGUE.values() if row.level is not Level.INFO and row.not_promised(api) is None
    }
    assert breakable - {fault.breaks for fault in FAULTS.values()} == set()
    assert set(CHECKS) == breakable


def test_without_faults_it_is_the_correct_api():
    assert faulty_api([]) is ReferenceApi


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
    assert set(FAULTS.values()) <= set(faulty_api([*FAULTS, *FAULTS]).__mro__)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no-idz", "unknown fault 'no-idz'; did you mean 'no-ids'?"),
        ("§", "unknown fault '§'; known faults: anonymous-accepted, "),
    ],
)
def test_an_unknown_fault_is_an_error(name, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        faulty_api(["two-terminals", name])
