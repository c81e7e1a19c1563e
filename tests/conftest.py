"""Hypothesis profiles, and how the tests are spread over pytest-xdist's workers."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests import forked_process

#: A property is not judged by the time that an example takes: on a busy machine it may take any.
#: Forty examples, of which the tests that need more of them say so.
settings.register_profile(
    "untimed", deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("untimed")
#: `make test-exhaustive`: all examples of the properties that have fewer in `make test`.
settings.register_profile("exhaustive", settings.get_profile("untimed"), max_examples=3000)

#: Modules of long tests that share no expensive fixture: each test may run on any worker. The longest come first.
SPLIT = (
    "tests/conformance/test_limits.py",
    "tests/docs/test_commands.py",
    "tests/commands/test_capacity.py",
    "tests/setup/test_newcomer.py",
    "tests/integration/test_check.py",
    "tests/truth/test_cycles.py",
    "tests/load/test_users.py",
    "tests/load/locust/test_processes.py",
    "tests/export/test_live_push.py",
    "tests/conformance/test_must_not_flag.py",
    "tests/ci/test_examples.py",
    "tests/fuzz/test_fuzz.py",
    "tests/benchmarks/test_clients.py",
)


#: Modules of one worker that take minutes: they begin first, so that none is left when all others have run.
FIRST = ("tests/mutants/test_kill_matrix.py", "tests/browser/test_live_page.py")


class ByModule(LoadScopeScheduling):
    """A module runs on one worker, which sets up its fixtures once; a test of a SPLIT module runs on any."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return nodeid if module in SPLIT else module


def pytest_configure(config: pytest.Config) -> None:
    """With nohup, this process ignores the signal, and so would those that the tests hang up."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if hasattr(config, "workerinput"):
        forked_process.share(config.workerinput["testrunuid"], os.getppid())


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByModule:
    return ByModule(config, log)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep what is imported and collected from garbage collection: each full one would examine all of it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On several workers, slow tests first, so that none is left when all others have run."""
    if not hasattr(config, "workerinput"):
        return
    places = {}
    for item in items:
        module = item.nodeid.partition("::")[0]
        is_slow = item.get_closest_marker("slow") is not None
        place = SPLIT.index(module) if module in SPLIT else -1
        places[item] = (module not in FIRST, not is_slow, place)
    items.sort(key=places.__getitem__)
