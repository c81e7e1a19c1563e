from __future__ import annotations

import json
from typing import Any

import pytest

from harness.profiles.workflow_actions.conflict import carries_conflict_code
from tests.cases import all_cases


@all_cases(
    "fields",
    [
        {"code": 409},
        {"code": "409"},
        {"status": 409, "code": "idempotency_conflict", "message": "key used"},
        {"status": "409 Conflict"},
        {"statusCode": 409},
        {"http_status": 409.0},
        {"error": {"code": 409}},
        {"error": {"status": 409, "runId": "r-1"}},
        {"error": {"errors": [{"status": 409}]}},
        {"errors": [{"status": "409"}, {"code": "x"}]},
        {"error": 409},
        {"status": "failed", "code": 409},
        {"code": 40901, "status": 409},
    ],
)
def test_a_documented_code(fields: dict[str, Any]) -> None:
    assert carries_conflict_code(json.dumps({"type": "error", **fields}))


@all_cases(
    "fields",
    [
        {},
        {"message": "the calendar service answered 409 Conflict"},
        {"message": "HTTP 409: key reused"},
        {"message": "409"},
        {"at": "2026-11-29T10:00:12.409Z", "code": "boom"},
        {"code": "calendar_409"},
        {"code": "409_calendar"},
        {"code": "x409"},
        {"code": 1409},
        {"code": True},
        {"runId": "run-409"},
        {"runId": "409"},
        {"id": 409},
        {"error": {"message": "409"}},
        {"tool": {"status": 409}},
        {"details": {"code": 409}},
        {"code": 500, "error": {"status": 409}},
        {"status": 502, "code": 409},
        {"error": [409]},
        {"409": "conflict"},
        {"retry": True, "code": None, "status": 400},
    ],
)
def test_what_is_no_code_of_the_response(fields: dict[str, Any]) -> None:
    assert not carries_conflict_code(json.dumps({"type": "error", **fields}))


@pytest.mark.parametrize("data", ["409", "{", "[" * 100_000, "[409]", '{"code":' + "9" * 5000 + "}"])
def test_what_is_no_event(data: str) -> None:
    assert not carries_conflict_code(data)
