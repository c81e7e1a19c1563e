"""The suite on a server that others wrote decides most of what applies, and finds what is known and nothing else."""

from __future__ import annotations

import pytest

from harness.config.sources import load_settings
from harness.contract.finding import Verdict
from tests.conformance.suite import verdicts_on
from tests.real.checking import DECIDED, applicable, known_findings
from tests.real.servers import HERE, SERVERS, install, running

#: On a busy machine, times may be too long.
_TIMES = {"liveness.first-event", "race.slow-reader", "headers.flushed", "headers.incremental"}


@pytest.mark.slow
def test_the_suite_finds_what_is_known_of_pydantic_ai() -> None:
    server = SERVERS["ag-ui"]
    install(server)
    settings = load_settings(HERE / "targets" / "ag-ui.toml")
    with running(server) as base_url:
        target = settings.target.model_copy(update={"base_url": base_url})
        verdicts = {
            check.requirement.id: check
            for check in verdicts_on(settings.model_copy(update={"target": target})).checks
        }
    found = {
        name: check.detail
        for name, check in verdicts.items()
        if check.verdict in {Verdict.FAIL, Verdict.WARN, Verdict.ERROR} and name not in _TIMES
    }
    assert set(found) == set(known_findings("ag-ui")), found
    decided = [name for name in applicable("ag-ui") if str(verdicts[name].verdict) in DECIDED]
    assert len(decided) >= 0.8 * len(applicable("ag-ui"))
