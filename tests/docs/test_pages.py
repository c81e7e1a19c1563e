"""The pages for people: their links lead somewhere, and what they name of the command line exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from harness.cli import main
from tests.docs.pages import PAGES, ROOT, commands, read

_LINK = re.compile(r"\]\(([^)#\s]+)(#[^)]*)?\)")
_OF_PYTEST = {"-k", "-x", "-n", "-m", "--harness-max-concurrency", "--harness-read-only"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target, _ in _LINK.findall(read(page)):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_verbs_and_options_exist(page: Path) -> None:
    for line in commands(page):
        _, verb, *rest = shlex.split(line.replace("…", "x"))
        command = main.commands.get(verb)
        assert command is not None, verb
        known = {name for one in command.params if isinstance(one, click.Option) for name in one.opts}
        if verb == "conformance":  # further options go to pytest
            known |= _OF_PYTEST
        for word in rest:
            if word.startswith("-") and word != "-":
                assert word.partition("=")[0] in {*known, "--help", "-h"}, f"{verb} {word}"
