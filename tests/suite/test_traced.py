"""Whether the suite's requests are in traces, which their evidence names."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from harness.contract.evidence.document import document, excerpt
from harness.contract.exchange import Exchange
from harness.protocol.traceparent import trace_id_of
from harness.suite.scenario import ScenarioContext
from tests.load.journeys.rig import settings_for
from tests.load.run_server import run_server


@pytest.mark.parametrize("is_traced", [False, True])
def test_each_request_has_a_trace_if_that_is_wanted(tmp_path: Path, is_traced: bool) -> None:
    async def job(context: ScenarioContext) -> list[Exchange]:
        request = await context.request("success")
        first = await context.send(request, "a run")
        return [first, await context.open(first.request, "again").result()]

    with run_server() as server:
        settings = settings_for(server.base_url, tmp_path, trace_suite=is_traced)
        exchanges = asyncio.run(job(ScenarioContext(settings)))
        received = [trace_id_of(headers.get("traceparent")) for headers in server.received]
    assert (None in received) is not is_traced
    assert len({*received}) == (2 if is_traced else 1)
    documents = [document(one, base_url=server.base_url) for one in exchanges]
    documents += [excerpt(one, base_url=server.base_url) for one in exchanges]
    assert [one.get("trace_id") for one in documents] == [*received, *received]
