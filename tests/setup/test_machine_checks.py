from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harness.config.load_settings import LoadSettings
from harness.load.bounds.limits import LoadLimits
from harness.load.bounds.machine import Machine
from harness.setup.finding import SetupFinding
from harness.setup.machine_checks import (
    check_clock,
    check_cores,
    check_disk,
    check_file_limit,
    check_load,
    check_machine,
    check_memory,
    check_ports,
    check_proxy,
    check_readers,
    check_receive_stamps,
    check_timer,
)
from tests.cases import all_cases

GB, MB = 1 << 30, 1 << 20
HERE = Path("/somewhere")
NO_LIMIT = float("inf")
LIMITS = LoadLimits(Machine(2, 20 * GB, 10_000, 28_232), 1, cost_s=lambda: 0.001)


@all_cases(
    ("check", "status"),
    [
        (lambda: check_cores(4, 1, 0.2), "ok"),
        (lambda: check_cores(2, 1, 0.2), "ok"),
        (lambda: check_cores(2, 2, 0.2), "warn"),
        (lambda: check_cores(1, 1, 0.2), "warn"),
        (lambda: check_cores(2, 3, 0.2), "fail"),
        (lambda: check_cores(0.5, 1, 0.0), "fail"),
        (lambda: check_cores(4, 1, 2.1), "warn"),
        (lambda: check_memory(None), "ok"),
        (lambda: check_memory(GB), "ok"),
        (lambda: check_memory(GB - 1), "warn"),
        (lambda: check_memory(256 * MB), "warn"),
        (lambda: check_memory(256 * MB - 1), "fail"),
        (lambda: check_file_limit(1024, 1024, 1024), "ok"),
        (lambda: check_file_limit(1025, 1024, 1024), "fail"),
        (lambda: check_file_limit(9_000, 1024, 20_000), "ok"),  # Locust raises it to 10,000 itself
        (lambda: check_file_limit(10_001, 1024, 20_000), "fail"),
        (lambda: check_file_limit(10_001, 12_000, 20_000), "ok"),
        (lambda: check_file_limit(10_001, 1024, NO_LIMIT), "fail"),
        (lambda: check_file_limit(10_001, NO_LIMIT, NO_LIMIT), "ok"),
        (lambda: check_ports(None, 9e9, 1), "ok"),
        (lambda: check_ports(28_000, 233.0, 10), "ok"),
        (lambda: check_ports(28_000, 234.0, 10), "warn"),
        (lambda: check_ports(28_000, 467.0, 10), "fail"),
        (lambda: check_ports(28_000, None, 28_001), "fail"),
        (lambda: check_load(LoadSettings(rate=500), 10, LIMITS), "ok"),
        (lambda: check_load(LoadSettings(rate=501), 10, LIMITS), "warn"),
        (lambda: check_load(LoadSettings(rate=2_001), 10, LIMITS), "fail"),
        (lambda: check_load(LoadSettings(), 9_801, LIMITS), "fail"),
        (lambda: check_disk(GB, True, HERE), "ok"),
        (lambda: check_disk(GB - 1, True, HERE), "warn"),
        (lambda: check_disk(100 * MB - 1, True, HERE), "fail"),
        (lambda: check_disk(GB, False, HERE), "fail"),
        (lambda: check_disk(None, True, HERE), "fail"),
        (lambda: check_clock(1e-9, 0.0), "ok"),
        (lambda: check_clock(1e-9, -0.006), "warn"),
        (lambda: check_clock(0.015, 0.0), "fail"),
        (lambda: check_timer([0.0001] * 100), "ok"),
        (lambda: check_timer([0.0001] * 90 + [0.02] * 10), "warn"),
        (lambda: check_receive_stamps(0), "ok"),
        (lambda: check_receive_stamps(None), "warn"),
        (lambda: check_readers("native", "native"), "ok"),
        (lambda: check_readers("python", "native"), "ok"),
        (lambda: check_proxy({"HTTP_PROXY": "", "NO_PROXY": "x"}), "ok"),
        (lambda: check_proxy({"https_proxy": "http://p"}), "warn"),
    ],
)
def test_limits(check: Callable[[], SetupFinding], status: str) -> None:
    finding = check()
    assert finding.status == status, finding
    assert bool(finding.advice) is (status != "ok")


def test_advice_names_numbers_and_variables_but_no_secrets() -> None:
    assert check_file_limit(10_001, 1024, 20_000).advice == "before the test: ulimit -n 10001"
    assert "hard limit" in check_file_limit(30_000, 1024, 20_000).advice
    assert "in C" in check_readers("native", "native").detail
    assert "sockets are read in Python" in check_readers("python", "native").detail
    assert "tokens are taken in Python" in check_readers("native", "python").detail
    assert "sockets are read and tokens are taken in Python" in check_readers("python", "python").detail
    assert "https_proxy is set" in check_proxy({"https_proxy": "http://user:pw@p"}).detail
    assert "pw" not in check_proxy({"https_proxy": "http://user:pw@p"}).detail


def test_every_check_runs_on_this_machine(tmp_path: Path) -> None:
    checks = check_machine(LoadSettings(users=50), 50, tmp_path / "not" / "there")
    found = {finding.name: finding for finding in checks}
    assert list(found) == [
        *("python", "versions", "extras", "cores", "memory", "file limit", "ports", "load", "loopback"),
        *("disk", "clock", "timer", "receive stamps", "readers", "proxy"),
    ]
    assert "locust 2." in found["versions"].detail
    assert "about 250 needed" in found["file limit"].detail
    assert "streams per second (a short stream takes" in found["load"].detail
    assert str(tmp_path) in found["disk"].detail
    assert not (tmp_path / "not").exists()


def test_more_processes_share_the_files(tmp_path: Path) -> None:
    plan = LoadSettings(rate=10, max_in_flight=1_000, processes=4)
    found = {finding.name: finding for finding in check_machine(plan, 1_000, tmp_path)}
    assert "about 450 needed per process" in found["file limit"].detail
    assert "about 1600 needed" in found["ports"].detail
