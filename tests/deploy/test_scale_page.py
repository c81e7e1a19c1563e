"""docs/scale.md: its values render, its commands exist, and its figures are those of the code."""

from __future__ import annotations

import re
import shlex

import pytest
import yaml

from harness.config.sources import settings_alone
from harness.input_file import parse_toml
from scripts.chart import invalid, render
from tests.ci.test_action import ROOT
from tests.deploy.command_line import parsed
from tests.deploy.test_chart import find, pod

PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
(VALUES_TEXT,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"^    (harness (?:\S+ )+?\S+)(?:   +.*)?$", PAGE, re.MULTILINE)
INLINE = re.findall(r"^- .*?`((?:locustfile|otlp|results\.upload): \{.*?\})`", PAGE, re.MULTILINE | re.DOTALL)


def test_the_values_render_a_test() -> None:
    values = yaml.safe_load(VALUES_TEXT)
    manifests = render(values, "load-1")
    assert [problem for one in manifests for problem in invalid(one)] == []
    settings_alone(parse_toml(find(manifests, "ConfigMap")["data"]["harness.toml"], "x is"), "docs/scale.md")
    (master,) = pod(manifests, "Job", "master")["containers"]
    options = parsed(master["args"])
    assert (options["workers"], options["rate"], options["duration"]) == (4, 400, 600)
    assert f"job/{find(manifests, 'Job', '-master')['metadata']['name']}" in PAGE


@pytest.mark.parametrize("line", COMMANDS)
def test_the_commands_are_commands(line: str) -> None:
    assert parsed(shlex.split(line)[1:])["_verb"] in ("load", "worker")


def test_they_are_found() -> None:
    assert len(COMMANDS) == 2
    assert len(INLINE) >= 2


@pytest.mark.parametrize("text", INLINE)
def test_the_other_values_exist(text: str) -> None:
    name, _, value = text.partition(": ")
    document = yaml.safe_load(value.replace("…", "uploader").replace("\n", " "))
    for part in reversed(name.split(".")):
        document = {part: document}
    assert render({"token": {"existingSecret": "t"}, **document}) != render(
        {"token": {"existingSecret": "t"}}
    )


def test_the_figure_for_the_master_is_the_measured_one() -> None:
    measured = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    (figure,) = re.findall(r"one master bears (\d+) workers", measured)
    assert f"one master bears {figure} workers" in PAGE
