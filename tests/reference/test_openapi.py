"""The embedded server, tested with schemathesis from its OpenAPI description."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from harness.reference.openapi import OPENAPI_PATH
from tests.forked import embedded_server

pytestmark = pytest.mark.slow

_HEADERS = {"Authorization": "Bearer demo-token"}


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with embedded_server() as running:
        yield running


@pytest.mark.parametrize(
    "path",
    ["/agent/workflow-actions", "/agent/runs", "/agent/runs/{runId}/cancel"],
    ids=["main", "other", "cancel"],
)
@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_the_server_conforms_to_its_description(base_url: str, path: str, mode: str) -> None:
    import schemathesis  # here, because every process that collects the tests imports this module
    from schemathesis.checks import CHECKS

    description = schemathesis.openapi.from_url(base_url + OPENAPI_PATH)
    checks = CHECKS.get_by_names(
        [
            "not_a_server_error",
            "status_code_conformance",
            "content_type_conformance",
            "response_schema_conformance",
            "negative_data_rejection",
        ]
    )
    statuses: set[int] = set()

    @settings(
        max_examples=40,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=description[path]["POST"].as_strategy(generation_mode=schemathesis.GenerationMode(mode)))
    def validate(case: Any) -> None:
        if mode == "positive" and isinstance(case.body, dict):
            case.body["organizationId"] = "org-1"
            case.body["workflowAction"]["toolId"] = "echo"
        statuses.add(case.call_and_validate(headers=_HEADERS, checks=checks, timeout=10).status_code)

    validate()
    if mode == "positive" and "{" not in path:
        assert 200 in statuses  # not every request was refused
    if mode == "negative":
        assert statuses & {400, 404, 422}
