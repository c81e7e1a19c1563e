"""How the gate compares a test with a baseline, from the settings in its results file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.booleans import is_number
from harness.gate.equivalence import Effects
from harness.gate.report import ComparisonTerms
from harness.results.reader import Results


def recorded_terms(results: Results) -> ComparisonTerms:
    """How the gate compares that test with a baseline; the usual terms for what is not recorded."""
    gate = _settings(results).get("gate")
    recorded: Mapping[str, Any] = gate if isinstance(gate, dict) else {}
    usual = Effects()
    effects = Effects(
        _number(recorded, "smallest_effect", usual.relative),
        _number(recorded, "smallest_effect_ms", usual.ms),
        _number(recorded, "smallest_effect_share", usual.share),
        _number(recorded, "smallest_effect_inter_token_ms", usual.inter_token_ms),
    )
    return ComparisonTerms(effects, looks=1 + int(_number(recorded, "rerun_inconclusive", 0)))


def _settings(results: Results) -> Mapping[str, Any]:
    settings = results.manifest.get("settings")
    return settings if isinstance(settings, dict) else {}


def _number(values: Mapping[str, Any], name: str, otherwise: float) -> float:
    value = values.get(name)
    return float(value) if is_number(value) and value >= 0 else otherwise
