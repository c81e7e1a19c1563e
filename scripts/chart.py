"""Renders the Helm chart and checks what it renders: ``python -m scripts.chart``, a part of `make lint`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

CHART = Path(__file__).resolve().parents[1] / "deploy" / "chart"
RELEASE = "load"

KUBERNETES = ("1.29", "1.37")
"""The oldest and the newest version against which the manifests are validated."""

_WARNING = 2  # of the severities of Helm

EVERY_SETTING: dict[str, Any] = {
    "image": {"repository": "example.com/harness", "tag": "1", "pullSecrets": ["registry"]},
    "target": {"url": "https://agent.example.com"},
    "config": "[budgets]\nrun = 3\n",
    "token": {"existingSecret": "agent-token"},
    "load": {"args": ["--rate=20", "--objective=ttft_p95_ms < 800"]},
    "locustfile": {"existingConfigMap": "journeys", "name": "editors.py"},
    "otlp": {"endpoint": "http://collector:4318", "tracesEndpoint": "http://collector:4318"},
    "podLabels": {"team": "load"},
    "podAnnotations": {"sidecar.istio.io/inject": "false"},
    "nodeSelector": {"pool": "load"},
    "tolerations": [{"key": "load", "operator": "Exists"}],
    "serviceAccountName": "load",
}
_UPLOAD = {"image": "uploader", "command": ["cp", "-r", "/results", "/away"], "environmentSecret": "keys"}
VALUES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "job": {**EVERY_SETTING, "results": {"existingClaim": "results", "upload": _UPLOAD}},
    "web": {**EVERY_SETTING, "mode": "web", "web": {"passwordSecret": "page"}},
}
"""Values by name. Together they render every part of each template."""


def render(values: Mapping[str, Any], release: str = RELEASE) -> list[dict[str, Any]]:
    """The manifests of a release with these values. Raises HelmError."""
    import helm_python  # here, because it loads a large library

    with helm_python.Chart.load(CHART) as chart:
        files = chart.render(dict(values), name=release, is_install=True)
    texts = (text for name, text in sorted(files.items()) if not name.endswith("NOTES.txt"))
    return [manifest for text in texts for manifest in yaml.safe_load_all(text) if manifest is not None]


def problems() -> Iterator[str]:
    """What Helm's linter and the schemas of Kubernetes object to."""
    import helm_python

    for name, values in VALUES.items():
        report = helm_python.lint(CHART, dict(values), strict=True)
        for message in report["messages"]:
            if message["severity"] >= _WARNING:
                yield f"{name}: {message['path']}: {message['error']}"
        yield from (f"{name}: {error}" for error in report["errors"])
        for manifest in render(values):
            yield from (f"{name}: {problem}" for problem in invalid(manifest))


def invalid(manifest: Mapping[str, Any]) -> Iterator[str]:
    """What the schemas of Kubernetes object to in one manifest. Unknown fields are errors."""
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(dict(manifest), version, strict=True)
        except kubernetes_validate.ValidationError as problem:
            place = f"{manifest.get('kind')}/{manifest.get('metadata', {}).get('name')}"
            yield f"{place} in Kubernetes {version}: {problem}"


def main() -> int:
    """Print the problems. Returns 1 if there are any."""
    logging.disable(logging.WARNING)
    found = list(problems())
    sys.stdout.writelines(f"deploy/chart: {problem}\n" for problem in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
