"""What this machine offers to a load: cores, memory, open files, ports, and the CPU time that a stream costs."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

LOCUST_OPEN_FILES = 10_000
"""Locust raises the soft limit of open files to this, as far as the hard limit allows."""

OTHER_FILES = 200
"""Open files of a process other than streams: libraries, logs, the results file, the suite's connections."""

USER_BYTES = 50_000
"""Memory of a user with its open stream in a load process, on the high side (docs/performance.md: 19 KB a stream)."""

PROCESS_BYTES = 100_000_000
"""Memory of a load process without users."""

_MEASURE_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Machine:
    """What this machine offers.

    cores: available to this process. memory_bytes: available. open_files: the most that one process of a load can
    open. ports: for connections to one address. None: unknown on this system.
    """

    cores: float
    memory_bytes: int | None
    open_files: float
    ports: int | None


def this_machine() -> Machine:
    """Read from the system, in a millisecond."""
    soft, hard = open_file_limits()
    return Machine(usable_cores(), available_bytes(), reachable_open_files(soft, hard), ephemeral_ports())


@lru_cache(maxsize=1)
def stream_cost_s() -> float | None:
    """CPU time of one short stream on this machine, in seconds; None if it cannot be measured.

    Measured once per process, in about a second, by harness.load.bounds.stream_cost.
    """
    try:
        measured = subprocess.run(
            [sys.executable, "-m", "harness.load.bounds.stream_cost"],
            capture_output=True,
            text=True,
            check=True,
            timeout=_MEASURE_TIMEOUT_S,
        )
        return float(measured.stdout) or None
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def usable_cores() -> float:
    """The cores that this process may use; a fraction under a CPU quota."""
    cores = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    quota, _, period = _text(Path("/sys/fs/cgroup/cpu.max")).strip().partition(" ")
    if quota.isdigit() and period.isdigit() and int(period):
        cores = min(cores, round(int(quota) / int(period), 1))
    return cores


def available_bytes() -> int | None:
    """Memory that is available; None if the system does not report it."""
    limits = [
        int(line.split()[1]) * 1024
        for line in _text(Path("/proc/meminfo")).splitlines()
        if line.startswith("MemAvailable:")
    ]
    limit, used = (_text(Path(f"/sys/fs/cgroup/memory.{name}")).strip() for name in ("max", "current"))
    if limit.isdigit() and used.isdigit():
        limits.append(int(limit) - int(used))
    return min(limits, default=None)


def ephemeral_ports() -> int | None:
    """The ports for connections to one address; None if the system does not report it."""
    bounds = _text(Path("/proc/sys/net/ipv4/ip_local_port_range")).split()
    return int(bounds[1]) - int(bounds[0]) + 1 if len(bounds) == 2 else None


def open_file_limits() -> tuple[float, float]:
    """The soft and the hard limit of open files."""
    soft, hard = (
        float("inf") if limit < 0 else float(limit) for limit in resource.getrlimit(resource.RLIMIT_NOFILE)
    )
    return soft, hard


def reachable_open_files(soft: float, hard: float) -> float:
    """The limit after Locust has raised the soft limit."""
    return max(soft, min(hard, LOCUST_OPEN_FILES))


def _text(path: Path) -> str:
    """Content of a kernel file; empty if this system does not have it."""
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
