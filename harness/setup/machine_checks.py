"""``harness doctor``'s checks of this machine: can it generate the configured load, and measure it reliably?

Most checks are pure functions of numbers, which `check_machine` reads from the system.
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
from harness.contract.decoding.token_layout import token_reader_in_use
from harness.errors import SettingsError
from harness.load.bounds.limits import MARGIN, LoadLimits, limits_here, peak_rate, refuse_impossible
from harness.load.bounds.machine import (
    OTHER_FILES,
    available_bytes,
    ephemeral_ports,
    open_file_limits,
    reachable_open_files,
    usable_cores,
)
from harness.setup.finding import SetupFinding, fail, ok, warn
from harness.transport.ready_sockets import NATIVE, reader_in_use
from harness.transport.timestamps import HAS_KERNEL_TIMESTAMPS, enable_kernel_timestamps, read_with_timestamp

_DISTRIBUTION = "agent-run-harness"
_VERSIONS = (_DISTRIBUTION, "locust", "gevent", "pytest", "aiohttp")
_TIME_WAIT_S = 60  # how long Linux keeps a closed connection's port in TIME_WAIT
_MB, _GB = 1 << 20, 1 << 30
_TIMER_SLEEP_S, _TIMER_ROUNDS = 0.001, 100
_WALL_WATCH_S = 0.3


def check_machine(plan: LoadSettings, users: int, out: Path) -> Iterator[SetupFinding]:
    """Every check of this machine. users: planned concurrent streams."""
    yield check_python()
    yield check_versions()
    yield check_extras(_extras())
    yield check_cores(
        usable_cores(), plan.processes, os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    )
    yield check_memory(available_bytes())
    yield _check_file_limit(plan, users)
    yield check_ports(ephemeral_ports(), plan.rate, users)
    yield check_load(plan, users, limits_here(plan.processes))
    yield check_loopback()
    yield check_disk(*_disk(out))
    yield check_clock(time.get_clock_info("monotonic").resolution, _wall_drift_s())
    yield check_timer(_overshoots_s())
    yield check_receive_stamps(_stamp_lag_ns())
    yield check_readers(reader_in_use(), token_reader_in_use())
    yield check_proxy(os.environ)


def check_python() -> SetupFinding:
    return ok("python", f"{platform.python_version()} on {platform.platform()}")


def check_versions() -> SetupFinding:
    return ok("versions", ", ".join(f"{name} {version(name)}" for name in _VERSIONS))


def _extras() -> dict[str, bool]:
    """The extras of this distribution, and whether all their requirements are installed."""
    try:
        package = metadata(_DISTRIBUTION)
    except PackageNotFoundError:
        return {}
    extras = dict.fromkeys(package.get_all("Provides-Extra") or (), True)
    for line in package.get_all("Requires-Dist") or ():
        requirement, _, marker = line.partition(";")
        for extra in extras:
            if re.search(rf"extra == ['\"]{re.escape(extra)}['\"]", marker) and not _is_installed(
                requirement
            ):
                extras[extra] = False
    return extras


def _is_installed(requirement: str) -> bool:
    name = re.match(r"[A-Za-z0-9._-]+", requirement.strip())
    try:
        version(name[0] if name else "")
    except PackageNotFoundError:
        return False
    return True


def check_extras(extras: Mapping[str, bool]) -> SetupFinding:
    if not extras:
        return ok("extras", "none defined")
    listing = ", ".join(
        f"{name}: {'installed' if installed else 'not installed'}" for name, installed in extras.items()
    )
    missing = next((name for name, installed in extras.items() if not installed), None)
    hint = f" (optional: pip install '{_DISTRIBUTION}[{missing}]')" if missing else ""
    return ok("extras", listing + hint)


def check_cores(cores: float, processes: int, load: float) -> SetupFinding:
    """cores: available to this process. load: 1-minute load average."""
    count = f"{processes} load process{'es' if processes > 1 else ''}"
    detail = f"{cores:g} for {count} and the suite; load average {load:.1f}"
    if processes > cores:
        return fail(
            "cores",
            detail,
            f"--processes {processes} is more than the {cores:g} cores: leave at least one core free",
        )
    if load > cores / 2:
        return warn(
            "cores",
            detail,
            "other programs are using the CPU and will lengthen latencies: stop them, or measure later",
        )
    if cores < processes + 1:
        return warn(
            "cores",
            detail,
            "harness check runs the suite next to the load: keep one core more than --processes",
        )
    return ok("cores", detail)


def check_memory(available: int | None) -> SetupFinding:
    """available: bytes; None if the system does not report it."""
    if available is None:
        return ok("memory", "available memory unknown on this system")
    detail = f"{available / _GB:.1f} GB available"
    if available < 256 * _MB:
        return fail("memory", detail, "a test needs about 200 MB per process: free some memory")
    if available < _GB:
        return warn("memory", detail, "enough for one process; a report on a million runs needs up to 500 MB")
    return ok("memory", detail)


def check_file_limit(needed: int, soft: float, hard: float) -> SetupFinding:
    """needed: open files per process. soft, hard: the limits; Locust raises the soft limit on its own."""
    reachable = reachable_open_files(soft, hard)
    hard_text = "unlimited" if hard == float("inf") else f"{hard:.0f}"
    detail = f"{soft:.0f} (hard limit {hard_text}); about {needed} needed per process"
    if needed > hard:
        return fail(
            "file limit",
            detail,
            f"raise the hard limit, or use more --processes; ulimit -n {needed} is not enough",
        )
    if needed > reachable:
        return fail("file limit", detail, f"before the test: ulimit -n {needed}")
    return ok("file limit", detail)


def check_ports(ports: int | None, rate: float | None, users: int) -> SetupFinding:
    """ports: ephemeral ports of the system. rate: new connections per second; None if unknown."""
    if ports is None:
        return ok("ports", "number of ephemeral ports unknown on this system")
    needed = int((rate or 0.0) * _TIME_WAIT_S) + users
    detail = f"{ports} for outgoing connections; about {needed} needed"
    if needed > ports:
        return fail(
            "ports",
            detail,
            'sysctl net.ipv4.ip_local_port_range="1024 65535", or target.connections = "reuse", or a lower --rate',
        )
    if needed > ports / 2:
        return warn("ports", detail, "close to the limit: a slow server or retries may exhaust them")
    return ok("ports", detail)


def check_load(plan: LoadSettings, users: int, limits: LoadLimits) -> SetupFinding:
    """Whether the planned load is within what this machine can do. users: planned concurrent streams."""
    most, how = limits.rate()
    most_users, why = limits.users
    detail = f"at most about {most:,.0f} streams per second ({how}) and {most_users:,} at a time ({why})"
    try:
        refuse_impossible(plan, users=users, limits=limits)
    except SettingsError as problem:
        return fail("load", detail, str(problem))
    rate, _ = peak_rate(plan)
    if rate > most / MARGIN:
        advice = f"{rate:,.10g} arrivals per second are close to that, and longer streams cost more: use more processes"
        return warn("load", detail, advice)
    return ok("load", detail)


def check_disk(free: int | None, writable: bool, folder: Path) -> SetupFinding:
    """free: bytes on the disk of `folder`, which results are written to."""
    if free is None or not writable:
        return fail("disk", f"cannot write to {folder}", "choose a different folder with --out")
    detail = f"{free / _GB:.1f} GB free at {folder}"
    if free < 100 * _MB:
        return fail(
            "disk",
            detail,
            "a results file takes about 300 bytes per run, plus evidence: free some space, or use --out",
        )
    if free < _GB:
        return warn("disk", detail, "enough for a short test; a million runs take about 300 MB")
    return ok("disk", detail)


def check_clock(resolution_s: float, drift_s: float) -> SetupFinding:
    """resolution_s: of the monotonic clock. drift_s: how far the wall clock drifted from it while watched."""
    detail = f"monotonic clock resolution {resolution_s * 1e9:g} ns; wall clock drifted {drift_s * 1e6:+.0f} µs from it"
    if resolution_s > 1e-4:
        return fail("clock", detail, "too coarse to time tokens: measure on a different machine")
    if abs(drift_s) > 0.005:
        return warn(
            "clock",
            detail,
            "the wall clock is being adjusted, which makes kernel timestamps wrong: wait until NTP has settled",
        )
    return ok("clock", detail)


def check_timer(overshoots_s: list[float]) -> SetupFinding:
    """overshoots_s: by how much sleeps exceeded their duration."""
    p95_ms = statistics.quantiles(overshoots_s, n=20)[-1] * 1000
    detail = f"sleeps overshoot by {p95_ms:.2f} ms at p95"
    if p95_ms > 10:
        return warn(
            "timer", detail, "arrivals will start that late; the machine is busy, or a VM short of CPU time"
        )
    return ok("timer", detail)


def check_receive_stamps(lag_ns: int | None) -> SetupFinding:
    """lag_ns: from the kernel's timestamp of a loopback byte to its read; None without a timestamp."""
    if lag_ns is not None:
        return ok(
            "receive stamps", "kernel timestamps on arrival: a busy harness does not lengthen latencies"
        )
    return warn(
        "receive stamps",
        "no kernel timestamps on arrival" if HAS_KERNEL_TIMESTAMPS else f"not available on {sys.platform}",
        "latencies include the harness's own read delay: keep its CPU use below half, or measure on Linux",
    )


def check_readers(of_sockets: str, of_tokens: str) -> SetupFinding:
    """Which implementations read the load's sockets and take its tokens: NATIVE, otherwise PYTHON."""
    in_python = [
        text
        for text, reader in (("sockets are read", of_sockets), ("tokens are taken", of_tokens))
        if reader != NATIVE
    ]
    if not in_python:
        return ok("readers", "sockets are read and tokens taken by the extensions in C")
    return ok(
        "readers",
        f"{' and '.join(in_python)} in Python, which takes more CPU time: for the faster extensions in C (Linux), "
        "install a C compiler and install the harness again",
    )


def check_proxy(environment: Mapping[str, str]) -> SetupFinding:
    """Proxy variables in the environment, which the harness ignores."""
    names = [
        name
        for name in environment
        if name.lower() in ("http_proxy", "https_proxy", "all_proxy") and environment[name]
    ]
    if names:
        return warn(
            "proxy",
            f"{', '.join(names)} is set",
            "ignored: the harness connects to the target directly, since a proxy would distort measurements",
        )
    return ok("proxy", "none set")


def _check_file_limit(plan: LoadSettings, users: int) -> SetupFinding:
    return check_file_limit(-(-users // plan.processes) + OTHER_FILES, *open_file_limits())


def check_loopback() -> SetupFinding:
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
    except OSError as problem:
        return fail(
            "loopback",
            f"cannot listen on 127.0.0.1: {problem}",
            "the processes of a test communicate over it: allow that",
        )
    return ok("loopback", f"can listen on 127.0.0.1 (got port {port})")


def _disk(out: Path) -> tuple[int | None, bool, Path]:
    """Free bytes and writability of `out` or its nearest existing parent, and that folder."""
    candidates = (out.absolute(), *out.absolute().parents)
    folder = next((path for path in candidates if path.is_dir()), Path("/"))
    try:
        return shutil.disk_usage(folder).free, os.access(folder, os.W_OK), folder
    except OSError:
        return None, False, folder


def _wall_drift_s() -> float:
    before = time.time() - time.monotonic()
    time.sleep(_WALL_WATCH_S)
    return time.time() - time.monotonic() - before


def _overshoots_s() -> list[float]:
    overshoots_s = []
    for _ in range(_TIMER_ROUNDS):
        began_s = time.perf_counter()
        time.sleep(_TIMER_SLEEP_S)
        overshoots_s.append(time.perf_counter() - began_s - _TIMER_SLEEP_S)
    return overshoots_s


def _stamp_lag_ns() -> int | None:
    """Receive lag of a byte over the loopback: the last of five, since the kernel starts stamping with a delay."""
    lag_ns = None
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as sender,
    ):
        receiver, _ = server.accept()
        with receiver:
            enable_kernel_timestamps(receiver)
            for _ in range(5):
                sender.sendall(b"x")
                time.sleep(0.01)
                lag_ns = read_with_timestamp(receiver)[1]
    return lag_ns
