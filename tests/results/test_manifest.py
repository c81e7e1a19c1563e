"""The manifest has everything needed to understand the test later, and no secrets."""

from __future__ import annotations

import json
from pathlib import Path

from harness.config.sources import load_settings
from harness.results.manifest import manifest_at_start


def test_the_manifest_holds_no_secret(tmp_path: Path) -> None:
    config = tmp_path / "harness.toml"
    config.write_text('[target]\nbase_url = "http://h"\norganization_id = "org-1"\ntoken = "s3cret"\n')
    manifest = manifest_at_start(load_settings(config).document(), ["/usr/bin/harness", "check"])
    assert "s3cret" not in json.dumps(manifest)
    assert manifest["target"] == {
        "base_url": "http://h",
        "path": "/agent/workflow-actions",
        "organization_id": "org-1",
    }
    assert set(manifest["versions"]) == {"python", "agent-run-harness", "locust", "gevent", "pytest"}
    assert manifest["command"] == ["harness", "check"]
