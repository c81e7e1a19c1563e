"""What tests of exports share: a collector, and an environment without OpenTelemetry's variables."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.export.receiver import Received, collector


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def received() -> Iterator[Received]:
    with collector() as received:
        yield received
