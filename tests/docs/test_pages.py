"""The links of the documentation pages resolve, and the verbs and options in them exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click

from harness import exit_codes
from harness.cli import main
from tests.cases import all_cases
from tests.docs.pages import PAGES, ROOT, commands, read

_LINK = re.compile(r"\]\(([^)#\s]+)(#[^)]*)?\)")
_PYTEST_OPTIONS = {"-k", "-x", "-n", "-m", "--harness-max-concurrency", "--harness-read-only"}


@all_cases("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    for target, _ in _LINK.findall(read(page)):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), target


@all_cases("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_verbs_and_options_exist(page: Path) -> None:
    for line in commands(page):
        _, verb, *rest = shlex.split(line.replace("…", "x"))
        command = main.get_command(click.Context(main), verb)
        assert command is not None, verb
        options = {name for param in command.params if isinstance(param, click.Option) for name in param.opts}
        if verb == "conformance":  # further options go to pytest
            options |= _PYTEST_OPTIONS
        for word in rest:
            if word.startswith("-") and word != "-":
                assert word.partition("=")[0] in {*options, "--help", "-h"}, f"{verb} {word}"


def test_each_table_of_exit_codes_is_complete() -> None:
    expected = sorted(value for name, value in vars(exit_codes).items() if name.isupper())
    tables = [
        re.findall(r"^\| (\d+) \|", table.partition("\n\n")[0], re.MULTILINE)
        for page in PAGES
        for table in read(page).split("| exit code | meaning |\n")[1:]
    ]
    assert [[int(code) for code in table] for table in tables] == [expected] * 2
