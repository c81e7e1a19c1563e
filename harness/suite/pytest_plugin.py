"""The pytest plugin: the options of the suite, and ``decides``, which marks its tests.

pytest loads it in every project of an environment, so it imports the standard library only and defines no fixture. In
a session without tests of a suite it does nothing. A suite's conftest imports its fixtures from
``harness.suite.fixtures``.
"""

from __future__ import annotations

import os
import signal
from argparse import ArgumentTypeError
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from harness.contract.rules.rule import Rule

_EXIT_ALONE_S = 2.5
"""How long a suite may take to end when the command that started it is gone."""

_INTERRUPTED = 130

CheckFunction = Callable[..., None]

MARKER = "harness_requirement"
"""Marker with the id of the requirement that a test decides."""


def decides(rule: Rule) -> pytest.MarkDecorator:
    """Mark a test of the suite with the rule that decides it. The test's ``check`` fixture applies that rule."""
    return getattr(pytest.mark, MARKER)(rule.requirement.id)  # type: ignore[no-any-return]


def _area(name: str) -> str:
    """The value of --harness-area. The catalogue is imported only if the option is used."""
    from harness.contract.requirements import areas

    if name not in areas():
        raise ArgumentTypeError(f"unknown area {name!r}; the areas are {', '.join(map(repr, areas()))}")
    return name


def _variable(text: str) -> tuple[str, Any]:
    """The value of --harness-var. Raises ArgumentTypeError."""
    from harness.config.parsing import parse_variable

    try:
        return parse_variable(text)
    except ValueError as problem:
        raise ArgumentTypeError(str(problem)) from None


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("harness", "agent API conformance")
    group.addoption(
        "--harness-target", metavar="URL", help="server under test, for example http://127.0.0.1:8080"
    )
    group.addoption(
        "--harness-profile",
        metavar="NAME",
        help="the target's API: a name of harness profile list, or a file",
    )
    group.addoption(
        "--harness-var",
        action="append",
        metavar="NAME=VALUE",
        type=_variable,
        help="a variable of the profile; NAME:=JSON for a value that is not a text (may be repeated)",
    )
    group.addoption("--harness-path", metavar="PATH", help="path of the endpoint")
    group.addoption("--harness-organization", metavar="ORG", help="organization of the token")
    group.addoption("--harness-config", metavar="FILE", help="settings file (harness.toml)")
    group.addoption("--harness-token-file", metavar="FILE", help="file with the bearer token")
    group.addoption("--harness-json", metavar="FILE", help="write the verdicts as JSON")
    group.addoption(
        "--harness-results", metavar="FILE", help="write verdicts and evidence into a results file"
    )
    group.addoption(
        "--harness-progress", metavar="FILE", help="write the progress to this file as it changes"
    )
    group.addoption(
        "--harness-restart",
        nargs="?",
        const="/dev/tty",
        metavar="TERMINAL",
        help="ask on the terminal to restart the target, for the tests of a restart without target.restart_command",
    )
    group.addoption(
        "--harness-restarts",
        metavar="FILE",
        help="write to this file that the target is about to be restarted",
    )
    group.addoption("--harness-known-failures", metavar="FILE", help="file that lists the known failures")
    group.addoption(
        "--harness-update-known-failures",
        action="store_true",
        help="write the failures of this run to that file",
    )
    group.addoption("--harness-strict", action="store_true", help="warnings and inconclusive MUSTs fail too")
    group.addoption(
        "--harness-max-concurrency",
        type=int,
        metavar="N",
        help="at most N simultaneous connections to the target",
    )
    group.addoption(
        "--harness-budget-requests",
        type=int,
        metavar="N",
        help="at most N requests in all, for an API that costs money",
    )
    group.addoption(
        "--harness-read-only", action="store_true", help="no races, no hostile input: for shared targets"
    )
    group.addoption(
        "--harness-level", choices=["must", "should", "info"], help="only requirements of this level"
    )
    group.addoption(
        "--harness-area",
        action="append",
        metavar="AREA",
        type=_area,
        help="only this area of requirements, for example resume (may be repeated)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", f"{MARKER}(id): the requirement that a test of the harness's suite decides"
    )
    from harness import parent_process

    if parent_process.has_pipe():  # started by a command of the harness
        parent_process.at_end_of_parent(_interrupt, within_s=_EXIT_ALONE_S, exit_code=_INTERRUPTED)


def _interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None, None, None]:
    """Add the markers before -m and -k select by them; then select by level and area, and sort."""
    if not any(item.get_closest_marker(MARKER) for item in items):
        return (yield)
    from harness.suite.selection import add_markers, register_markers, requirement_of, select
    from harness.suite.session import select_target

    register_markers(config)
    requirements = {item: requirement_of(item) for item in items}
    for item, requirement_id in requirements.items():
        if requirement_id is not None:
            add_markers(item, requirement_id)
    yield
    select_target(config)
    select(config, items, requirements)
    return None
