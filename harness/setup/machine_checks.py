"""Whether this machine can drive the load that is set, and whether what it measures can be believed.

Each row is a pure function of numbers; `machine_rows` reads them off the machine.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path

from harness.config.load_settings import LoadSettings
from harness.setup.finding import SetupFinding, fail, ok, warn
from harness.transport.timestamps import KERNEL_STAMPS, ask_for_stamps, stamped_read

_DISTRIBUTION = "agent-run-harness"
_VERSIONS = (_DISTRIBUTION, "locust", "gevent", "pytest", "aiohttp")
_OTHER_FILES = 200  # libraries, logs, the results file, the suite's own connections
_TIME_WAIT_S = 60  # how long Linux keeps a closed connection's port from its peer
_MB, _GB = 1 << 20, 1 << 30
_TIMER_SLEEP_S, _TIMER_ROUNDS = 0.001, 100
_WALL_WATCH_S = 0.3
_LOCUST_OPEN_FILES = 10_000  # what Locust raises the soft limit to, where the hard one lets it


def machine_rows(plan: LoadSettings, users: int, out: Path) -> Iterator[SetupFinding]:
    """Every row about this machine. users: how many streams there are to be at once, as far as that is set."""
    yield _python_row()
    yield _versions_row()
    yield _extras_row(_extras())
    yield cores_row(_usable_cores(), plan.processes, os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0)
    yield memory_row(_available_bytes())
    yield _files_row(plan, users)
    yield ports_row(_ephemeral_ports(), plan.rate, users)
    yield _loopback_row()
    yield disk_row(*_disk(out))
    yield clock_row(time.get_clock_info("monotonic").resolution, _wall_drift_s())
    yield timer_row(_overshoots_s())
    yield stamps_row(_stamp_lag_ns())
    yield proxy_row(os.environ)


def _python_row() -> SetupFinding:
    return ok("python", f"{platform.python_version()} on {platform.platform()}")


def _versions_row() -> SetupFinding:
    return ok("versions", ", ".join(f"{name} {version(name)}" for name in _VERSIONS))


def _extras() -> dict[str, bool]:
    """The extras that this distribution has, and whether all they ask for is installed."""
    try:
        told = metadata(_DISTRIBUTION)
    except PackageNotFoundError:
        return {}
    found = dict.fromkeys(told.get_all("Provides-Extra") or (), True)
    for line in told.get_all("Requires-Dist") or ():
        requirement, _, marker = line.partition(";")
        for extra in found:
            if re.search(rf"extra == ['\"]{re.escape(extra)}['\"]", marker) and not _is_installed(
                requirement
            ):
                found[extra] = False
    return found


def _is_installed(requirement: str) -> bool:
    name = re.match(r"[A-Za-z0-9._-]+", requirement.strip())
    try:
        version(name[0] if name else "")
    except PackageNotFoundError:
        return False
    return True


def _extras_row(extras: Mapping[str, bool]) -> SetupFinding:
    if not extras:
        return ok("extras", "none to install")
    said = ", ".join(f"{name}: {'installed' if there else 'not installed'}" for name, there in extras.items())
    lacking = next((name for name, there in extras.items() if not there), None)
    hint = f" (pip install '{_DISTRIBUTION}[{lacking}]' where you want it)" if lacking else ""
    return ok("extras", said + hint)


def cores_row(cores: float, processes: int, load: float) -> SetupFinding:
    """cores: that this process may use. load: the load average of the last minute."""
    count = f"{processes} load process{'es' if processes > 1 else ''}"
    found = f"{cores:g} for {count} and the suite; load average {load:.1f}"
    if processes > cores:
        return fail(
            "cores",
            found,
            f"--processes {processes} have to share {cores:g} cores: give at most one less than that",
        )
    if load > cores / 2:
        return warn(
            "cores",
            found,
            "something else is busy here: latencies will include its turns; stop it, or measure later",
        )
    if cores < processes + 1:
        return warn(
            "cores",
            found,
            "harness check runs the suite beside the load: one core more than --processes keeps them apart",
        )
    return ok("cores", found)


def memory_row(available: int | None) -> SetupFinding:
    """available: bytes that can still be had; None where the system does not say."""
    if available is None:
        return ok("memory", "this system does not say how much is free")
    found = f"{available / _GB:.1f} GB can be had"
    if available < 256 * _MB:
        return fail("memory", found, "a test takes about 200 MB a process: free some")
    if available < _GB:
        return warn("memory", found, "enough for one process; a report of a million runs takes up to 500 MB")
    return ok("memory", found)


def files_row(needed: int, soft: float, hard: float) -> SetupFinding:
    """needed: files that one process opens. soft, hard: the limits; what Locust raises by itself counts."""
    reachable = max(soft, min(hard, _LOCUST_OPEN_FILES))
    up_to = "without a limit" if hard == float("inf") else f"to {hard:.0f}"
    found = f"at most {soft:.0f} (can be raised {up_to}); about {needed} are needed in a process"
    if needed > hard:
        return fail(
            "file limit",
            found,
            f"raise the hard limit, or use more --processes; ulimit -n {needed} will not do",
        )
    if needed > reachable:
        return fail("file limit", found, f"before the test: ulimit -n {needed}")
    return ok("file limit", found)


def ports_row(ports: int | None, rate: float | None, users: int) -> SetupFinding:
    """ports: how many the system gives out; rate: new connections per second, where it is known."""
    if ports is None:
        return ok("ports", "this system does not say how many connections it can have to one server")
    needed = int((rate or 0.0) * _TIME_WAIT_S) + users
    found = f"{ports} for outgoing connections; about {needed} are needed"
    if needed > ports:
        return fail(
            "ports",
            found,
            'sysctl net.ipv4.ip_local_port_range="1024 65535", or target.connections = "reuse", or a lower --rate',
        )
    if needed > ports / 2:
        return warn("ports", found, "close to the end: a slow server, or retries, may use them up")
    return ok("ports", found)


def disk_row(free: int | None, writable: bool, where: Path) -> SetupFinding:
    """free: bytes on the disk of `where`, the folder that results go to."""
    if free is None or not writable:
        return fail("disk", f"cannot write to {where}", "choose another folder with --out")
    found = f"{free / _GB:.1f} GB free at {where}"
    if free < 100 * _MB:
        return fail(
            "disk",
            found,
            "a results file takes about 300 bytes a run, and evidence beside: make room, or use --out",
        )
    if free < _GB:
        return warn("disk", found, "enough for a short test; a million runs take about 300 MB")
    return ok("disk", found)


def clock_row(resolution_s: float, drift_s: float) -> SetupFinding:
    """resolution_s: of the monotonic clock. drift_s: how far the wall clock moved against it while it was watched."""
    found = (
        f"monotonic to {resolution_s * 1e9:g} ns; the wall clock moved by {drift_s * 1e6:+.0f} µs against it"
    )
    if resolution_s > 1e-4:
        return fail("clock", found, "a clock this coarse cannot time tokens: measure on another machine")
    if abs(drift_s) > 0.005:
        return warn(
            "clock",
            found,
            "it is being set: kernel stamps are off while it steps; wait until time service has settled",
        )
    return ok("clock", found)


def timer_row(overshoots_s: list[float]) -> SetupFinding:
    """overshoots_s: how much later than asked for sleeps ended."""
    p95_ms = statistics.quantiles(overshoots_s, n=20)[-1] * 1000
    found = f"95% of sleeps end within {p95_ms:.2f} ms of what was asked"
    if p95_ms > 10:
        return warn(
            "timer", found, "arrivals will begin late by as much; the machine is busy, or virtual and starved"
        )
    return ok("timer", found)


def stamps_row(lag_ns: int | None) -> SetupFinding:
    """lag_ns: by the kernel's stamp, how long a byte on the loopback lay unread; None without a stamp."""
    if lag_ns is not None:
        return ok("receive stamps", "the kernel stamps arrivals: a busy harness does not lengthen latencies")
    return warn(
        "receive stamps",
        "the kernel does not stamp arrivals" if KERNEL_STAMPS else f"not to be had on {sys.platform}",
        "latencies count when the harness got to read: keep it below half of its cores, or measure on Linux",
    )


def proxy_row(environment: Mapping[str, str]) -> SetupFinding:
    """Variables by which other programs go through a proxy."""
    names = [
        name
        for name in environment
        if name.lower() in ("http_proxy", "https_proxy", "all_proxy") and environment[name]
    ]
    if names:
        return warn(
            "proxy",
            f"{', '.join(names)} is set",
            "the harness goes straight to the target: a proxy would blur what it measures",
        )
    return ok("proxy", "none is set")


def _usable_cores() -> float:
    cores = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    quota, _, period = _text(Path("/sys/fs/cgroup/cpu.max")).strip().partition(" ")
    if quota.isdigit() and period.isdigit() and int(period):
        cores = min(cores, round(int(quota) / int(period), 1))
    return cores


def _available_bytes() -> int | None:
    found = [
        int(line.split()[1]) * 1024
        for line in _text(Path("/proc/meminfo")).splitlines()
        if line.startswith("MemAvailable:")
    ]
    limit, used = (_text(Path(f"/sys/fs/cgroup/memory.{name}")).strip() for name in ("max", "current"))
    if limit.isdigit() and used.isdigit():
        found.append(int(limit) - int(used))
    return min(found, default=None)


def _text(path: Path) -> str:
    """What a file of the kernel's says; nothing where this system has no such file."""
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""


def _files_row(plan: LoadSettings, users: int) -> SetupFinding:
    import resource

    soft, hard = (float("inf") if one < 0 else one for one in resource.getrlimit(resource.RLIMIT_NOFILE))
    return files_row(-(-users // plan.processes) + _OTHER_FILES, soft, hard)


def _ephemeral_ports() -> int | None:
    words = _text(Path("/proc/sys/net/ipv4/ip_local_port_range")).split()
    return int(words[1]) - int(words[0]) + 1 if len(words) == 2 else None


def _loopback_row() -> SetupFinding:
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
    except OSError as problem:
        return fail(
            "loopback",
            f"no port can be opened: {problem}",
            "the processes of a test talk over 127.0.0.1: allow that",
        )
    return ok("loopback", f"ports can be opened (got {port})")


def _disk(out: Path) -> tuple[int | None, bool, Path]:
    """Free bytes where `out` is, or is to be; whether that can be written to; and the folder that is there."""
    there = next((one for one in (out.absolute(), *out.absolute().parents) if one.is_dir()), Path("/"))
    try:
        return shutil.disk_usage(there).free, os.access(there, os.W_OK), there
    except OSError:
        return None, False, there


def _wall_drift_s() -> float:
    before = time.time() - time.monotonic()
    time.sleep(_WALL_WATCH_S)
    return time.time() - time.monotonic() - before


def _overshoots_s() -> list[float]:
    found = []
    for _ in range(_TIMER_ROUNDS):
        began_s = time.perf_counter()
        time.sleep(_TIMER_SLEEP_S)
        found.append(time.perf_counter() - began_s - _TIMER_SLEEP_S)
    return found


def _stamp_lag_ns() -> int | None:
    """The lag of one byte that was sent over the loopback; the last of a few, as the kernel begins a moment late."""
    lag_ns = None
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as one,
    ):
        other, _ = server.accept()
        with other:
            ask_for_stamps(other)
            for _ in range(5):
                one.sendall(b"x")
                time.sleep(0.01)
                lag_ns = stamped_read(other)[1]
    return lag_ns
