"""What a Locust process does with its interpreter."""

from __future__ import annotations

import subprocess
import sys

import pytest

from harness.errors import SettingsError
from harness.load.locust.process import exit_on_error

FREED = """
import gc, weakref
from harness.load.locust import process

class Test:
    def __init__(self):
        self.itself = self  # as a test's parts refer to each other

gc.disable()
test = Test()
previous = weakref.ref(test)
process.tune()  # the previous test is there until the next one has begun
del test
gc.collect()
assert previous() is not None
process.free_earlier_tests()
assert previous() is None
assert gc.get_freeze_count() > 0
"""


def test_the_parts_of_the_previous_test_are_freed() -> None:
    """In a process of its own: it changes the interpreter's garbage collection."""
    done = subprocess.run(
        [sys.executable, "-c", FREED], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_wrong_setting_ends_the_process_with_a_sentence_that_cannot_control_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work() -> None:
        raise SettingsError("no\x1b[31m\u202e\n")

    with pytest.raises(SystemExit) as ended:
        exit_on_error(work)
    assert (ended.value.code, capsys.readouterr().err) == (2, "error: no\\x1b[31m\\u202e\\n\n")
