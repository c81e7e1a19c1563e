"""Whether code makes a terminal that it opens the terminal of its process, whose Ctrl-C would then end it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

_SCRIPT = """
import os
from contextlib import suppress
from pathlib import Path
from harness.errors import SettingsError
terminal = Path({terminal!r})
{code}
try:
    os.open("/dev/tty", os.O_RDWR)
except OSError:
    print("none")
"""


def assert_keeps_no_terminal(code: str) -> None:
    """Run `code`, which opens the path `terminal`, in a process that has no terminal of its own yet."""
    controller, opened = os.openpty()
    try:
        script = _SCRIPT.format(terminal=os.ttyname(opened), code=textwrap.dedent(code))
        ran = subprocess.run(
            [sys.executable, "-c", script],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            start_new_session=True,
            check=False,
        )
    finally:
        os.close(controller)
        os.close(opened)
    assert (ran.stdout, ran.stderr) == ("none\n", "")
