"""Real runs for the measurement of the gate: short tests against the reference server, unchanged and slowed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.commands.reference_process import LISTENING
from harness.results.reader import Results
from harness.results.saturation import saturation_reasons
from tests.integration.commands import demo_settings

DELAY_S = 0.2
DURATION_S = 8
RATE = 10
MOST_BUSY = 10  # such runs for one that counts


def measure_runs(folder: Path, count: int) -> None:
    """Run short tests against the reference server, alternately unchanged and slowed. Existing runs are kept.

    A run in which the harness was saturated is set aside and repeated, because the gate ignores such runs. Raises
    RuntimeError if that happens too often.
    """
    for number in range(count):
        for slowdown in (0.0, 0.10):
            out = folder / f"{slowdown:g}" / f"{number}"
            while not _is_sound(out):
                aside = len(list(folder.glob("busy-*")))
                if aside >= MOST_BUSY * count:
                    raise RuntimeError(f"{aside} runs saturated the harness: this machine is too busy")
                if out.exists():
                    out.rename(folder / f"busy-{aside}")
                with serving(DELAY_S * (1 + slowdown)) as url:
                    _load(url, out)


def _is_sound(out: Path) -> bool:
    """Whether a run exists, has finished, and did not saturate the harness."""
    if not (out / "report.html").exists():
        return False
    with Results(out / "results.sqlite") as results:
        ended = results.manifest.get("load_state") == "finished"
        return ended and results.tested and not saturation_reasons(results)


@contextmanager
def serving(delay_s: float) -> Iterator[str]:
    """The URL of a reference server that delays the first token of each run, until the block ends."""
    command = [sys.executable, "-m", "harness", "serve", "--port", "0", "--stop-with-stdin"]
    command += ["--first-token-delay", f"{delay_s:g}"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if LISTENING in line:
                yield line.partition(LISTENING)[2].split()[0]
                return
        raise RuntimeError("the reference server did not start")
    finally:
        process.terminate()
        process.wait(10)


def _load(url: str, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    config = demo_settings(out.parent, url)
    options = ["--config", str(config), "--rate", str(RATE), "--arrivals", "poisson", "--journey", "fresh=1"]
    options += ["--warmup", "1s", "--duration", f"{DURATION_S + 1}s", "--out", str(out)]
    command = [sys.executable, "-m", "harness", "load", *options]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, cwd=out.parent.parent.parent
    )
    if done.returncode not in (0, 1):
        raise RuntimeError(f"harness load ended with {done.returncode}: {done.stderr or done.stdout}")
