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


@pytest.mark.parametrize("setting", ["otlp_endpoint", "otlp_traces_endpoint"])
@pytest.mark.parametrize(
    "url", ["http://localhost:4318", "https://otlp.example/tenant/v1/metrics", "http://[::1]:4318/"]
)
def test_urls_are_taken_as_they_are(url: str, setting: str) -> None:
    assert getattr(load_settings(None, {"export": {setting: url}}).export, setting) == url


@pytest.mark.parametrize("setting", ["otlp_endpoint", "otlp_traces_endpoint"])
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
def test_an_invalid_url_is_refused(url: str, setting: str) -> None:
    with pytest.raises(SettingsError, match=rf"export\.{setting}.*OTEL_EXPORTER_OTLP_HEADERS"):
        load_settings(None, {"export": {setting: url}})


@pytest.mark.parametrize(("share", "value"), [("0", 0.0), ("5%", 0.05), (1, 1.0)])
def test_a_share_of_traces_may_be_none_or_all(share: str | int, value: float) -> None:
    assert load_settings(None, {"export": {"trace_share": share}}).export.trace_share == value


@pytest.mark.parametrize(
    ("name", "value"), [("trace_share", 1.1), ("trace_share", -0.1), ("genai_conventions", "1.0")]
)
def test_other_settings_of_traces_are_refused(name: str, value: object) -> None:
    with pytest.raises(SettingsError, match=f"export.{name}"):
        load_settings(None, {"export": {name: value}})


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


@pytest.mark.parametrize(
    ("option", "module"),
    [
        ("--otlp-endpoint", "opentelemetry.sdk.metrics.export"),
        ("--otlp-traces-endpoint", "opentelemetry.sdk.trace"),
    ],
)
def test_without_the_packages_nothing_is_started(
    given: list[str | None], monkeypatch: pytest.MonkeyPatch, option: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    result = CliRunner().invoke(main, ["load", option, "http://localhost:4318"])
    assert (result.exit_code, given) == (2, [])
    assert result.stderr.startswith("harness: OpenTelemetry needs packages that are not installed")
    assert "pip install 'agent-run-harness[otel]'" in result.stderr
