"""The push endpoint: setting, environment variable and option."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli import main
from harness.config.settings import Settings
from harness.config.sources import load_settings
from harness.errors import SettingsError


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("HARNESS_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The endpoints that `harness load` would have used."""
    made: list[str | None] = []

    def run_load(settings: Settings, *_: object, **__: object) -> int:
        made.append(settings.export.otlp_endpoint)
        return 0

    monkeypatch.setattr("harness.commands.load.run_load", run_load)
    return made


@pytest.mark.parametrize(
    "url", ["http://localhost:4318", "https://otlp.example/tenant/v1/metrics", "http://[::1]:4318/"]
)
def test_urls_are_taken_as_they_are(url: str) -> None:
    assert load_settings(None, {"export": {"otlp_endpoint": url}}).export.otlp_endpoint == url


@pytest.mark.parametrize(
    "url",
    [
        "localhost:4318",
        "grpc://h:4317",
        "http://",
        "http://u:p@h",
        "http://h/?key=1",
        "http://h/a b",
        "http://h#x",
    ],
)
def test_an_invalid_url_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"export\.otlp_endpoint.*OTEL_EXPORTER_OTLP_HEADERS"):
        load_settings(None, {"export": {"otlp_endpoint": url}})


def test_the_option_wins_over_the_variable_and_this_over_the_file(
    given: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    CliRunner().invoke(main, ["load"])
    Path("harness.toml").write_text('[export]\notlp_endpoint = "http://file:1"\n')
    CliRunner().invoke(main, ["load"])
    monkeypatch.setenv("HARNESS_EXPORT__OTLP_ENDPOINT", "http://variable:1")
    CliRunner().invoke(main, ["load"])
    CliRunner().invoke(main, ["load", "--otlp-endpoint", "http://option:1"])
    assert given == [None, "http://file:1", "http://variable:1", "http://option:1"]


def test_without_the_packages_nothing_is_started(
    given: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.metrics.export", None)
    result = CliRunner().invoke(main, ["load", "--otlp-endpoint", "http://localhost:4318"])
    assert (result.exit_code, given) == (2, [])
    assert result.stderr.startswith("harness: OpenTelemetry needs packages that are not installed")
    assert "pip install 'agent-run-harness[otel]'" in result.stderr
