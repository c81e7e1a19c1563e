"""The session of one process: what it offers of a test, and when. In its own process: Locust patches the threads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

OFFERED = """
import sys
from pathlib import Path
from types import SimpleNamespace

from harness.config.settings import Settings
from harness.load import session as module
from harness.reference.settings import demo_config

settings = Settings.model_validate(demo_config("http://127.0.0.1:9"))
session = module.Session(settings)
folder = Path(sys.argv[1])
session._environment = SimpleNamespace(
    parsed_options=SimpleNamespace(harness_out=str(folder), headless=True, run_time=None),
    runner=None,
)
offered = []
module.RunRecording = lambda *_, **__: offered.append(session.flush_results())
session._open_recording(settings)
assert offered == [None], offered
assert session.flush_results() == folder / "results.sqlite", session.flush_results()
"""


def test_a_results_file_is_offered_when_it_is_one(tmp_path: Path) -> None:
    """A user may ask for the report while the file is created: until it has tables, there is none."""
    subprocess.run([sys.executable, "-c", OFFERED, str(tmp_path)], check=True, timeout=100)
