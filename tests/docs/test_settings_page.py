"""docs/settings.md has every setting, and the flags and variables in it exist."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from pydantic import BaseModel

from harness.config.settings import Settings
from harness.config.sources import load_settings
from harness.errors import SettingsError
from scripts.write_settings import DOCUMENT, Field, flags, settings_document, tables
from tests.cases import all_cases


@cache
def all_fields() -> list[Field]:
    return [field for fields in tables().values() for field in fields]


VALUES = {
    "text": "/x",
    "`true` or `false`": "true",
    "whole number": "3",
    "number": "1.5",
    "share": "5%",
    "table": '{"toolId": "t"}',
    "table or text": '{"toolId": "t"}',
    "duration": "5s",
    "list of texts": '["error_rate > 20%"]',
}
#: Texts of a certain form.
FORMS = {
    "target.base_url": "http://h",
    "target.replicas": '["http://a", "http://b"]',
    "target.profile": "openai-chat",
    "export.otlp_endpoint": "http://h:4318",
    "export.otlp_traces_endpoint": "http://h:4318",
    "load.ramp": "1:2:5s",
    "load.steps": "1:5s",
    "load.spike": "1:2:1s:1s",
    "load.max_in_flight": "3",
    "scrape.url": "http://h/metrics",
    "report.trace_url": "http://h/{trace_id}",
    "scrape.match": '["runs_*"]',
    "journeys.workflow.steps": '["echo", "recall"]',
}


def test_the_page_is_current() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == settings_document(), (
        "run: python -m scripts.write_settings"
    )


def _leaves(model: type[BaseModel], path: str = "") -> Iterator[str]:
    for name, info in model.model_fields.items():
        models = [
            kind
            for kind in (info.annotation, *getattr(info.annotation, "__args__", ()))
            if isinstance(kind, type) and issubclass(kind, BaseModel)
        ]
        here = f"{path}.{name}".lstrip(".")
        yield from (leaf for kind in models for leaf in _leaves(kind, here)) if models else (here,)


def test_every_setting_is_in_the_page() -> None:
    assert {field.name for field in all_fields()} == {*_leaves(Settings)} - {"objectives"}
    assert "## [objectives]" in settings_document()


def test_every_flag_exists() -> None:
    assert {field.flag for field in all_fields() if field.flag} <= {*flags().values()}
    with_flags = {field.name for field in all_fields() if field.flag}
    assert {
        "target.base_url",
        "load.rate",
        "load.keep_streams",
        "gate.smallest_effect",
        "export.otlp_endpoint",
    } <= (with_flags)


@all_cases("field", all_fields)
def test_the_variable_sets_it(field: Field, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("HARNESS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(field.variable, _example(field))
    settings = _settings_or_message()
    if isinstance(settings, str):  # it needs a second setting or a file, but it was read
        assert any(word in settings for word in ("is missing", "open loop", "no such file", "No such file"))
        return
    value: Any = settings.model_dump()
    for part in field.name.split("."):
        value = value[part]
    default: Any = Settings.model_validate({}).model_dump()
    assert value is not None
    assert json.dumps(settings.document()) != json.dumps(default, default=str)


def _settings_or_message() -> Settings | str:
    try:
        return load_settings()
    except SettingsError as problem:
        return str(problem)


def _example(field: Field) -> str:
    if field.name in FORMS:
        return FORMS[field.name]
    if field.type.startswith("`") and field.type not in VALUES:
        return field.type.split("`")[-2]
    return VALUES[field.type.partition(",")[0]]
