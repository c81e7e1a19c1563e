"""docs/metrics.md agrees with formulas, objectives, ledger and exports."""

from __future__ import annotations

from harness.gate.objective import KEYS
from harness.results.ledger import OUTCOMES
from harness.results.metrics import METRICS
from scripts import write_metrics
from scripts.write_metrics import DOCUMENT, metrics_document


def test_the_page_is_current() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == metrics_document(), "run: python -m scripts.write_metrics"


def test_every_metric_outcome_and_objective_is_documented() -> None:
    assert list(write_metrics._MEASURED_ON) == list(METRICS)
    assert list(write_metrics._LEDGER) == list(OUTCOMES)
    page = metrics_document()
    for key in KEYS:
        assert f"`{key}`" in page
    for metric in METRICS.values():
        assert metric.formula in page
