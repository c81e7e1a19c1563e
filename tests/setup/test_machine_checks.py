from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.config.load_settings import LoadSettings
from harness.setup.finding import SetupFinding
from harness.setup.machine_checks import (
    clock_row,
    cores_row,
    disk_row,
    files_row,
    machine_rows,
    memory_row,
    ports_row,
    proxy_row,
    stamps_row,
    timer_row,
)

GB, MB = 1 << 30, 1 << 20
HERE = Path("/somewhere")
NO_LIMIT = float("inf")


@pytest.mark.parametrize(
    ("row", "standing"),
    [
        (lambda: cores_row(4, 1, 0.2), "ok"),
        (lambda: cores_row(2, 1, 0.2), "ok"),
        (lambda: cores_row(2, 2, 0.2), "warn"),
        (lambda: cores_row(1, 1, 0.2), "warn"),
        (lambda: cores_row(2, 3, 0.2), "fail"),
        (lambda: cores_row(0.5, 1, 0.0), "fail"),
        (lambda: cores_row(4, 1, 2.1), "warn"),
        (lambda: memory_row(None), "ok"),
        (lambda: memory_row(GB), "ok"),
        (lambda: memory_row(GB - 1), "warn"),
        (lambda: memory_row(256 * MB), "warn"),
        (lambda: memory_row(256 * MB - 1), "fail"),
        (lambda: files_row(1024, 1024, 1024), "ok"),
        (lambda: files_row(1025, 1024, 1024), "fail"),
        (lambda: files_row(9_000, 1024, 20_000), "ok"),  # Locust raises it to 10,000 itself
        (lambda: files_row(10_001, 1024, 20_000), "fail"),
        (lambda: files_row(10_001, 12_000, 20_000), "ok"),
        (lambda: files_row(10_001, 1024, NO_LIMIT), "fail"),
        (lambda: files_row(10_001, NO_LIMIT, NO_LIMIT), "ok"),
        (lambda: ports_row(None, 9e9, 1), "ok"),
        (lambda: ports_row(28_000, 233.0, 10), "ok"),
        (lambda: ports_row(28_000, 234.0, 10), "warn"),
        (lambda: ports_row(28_000, 467.0, 10), "fail"),
        (lambda: ports_row(28_000, None, 28_001), "fail"),
        (lambda: disk_row(GB, True, HERE), "ok"),
        (lambda: disk_row(GB - 1, True, HERE), "warn"),
        (lambda: disk_row(100 * MB - 1, True, HERE), "fail"),
        (lambda: disk_row(GB, False, HERE), "fail"),
        (lambda: disk_row(None, True, HERE), "fail"),
        (lambda: clock_row(1e-9, 0.0), "ok"),
        (lambda: clock_row(1e-9, -0.006), "warn"),
        (lambda: clock_row(0.015, 0.0), "fail"),
        (lambda: timer_row([0.0001] * 100), "ok"),
        (lambda: timer_row([0.0001] * 90 + [0.02] * 10), "warn"),
        (lambda: stamps_row(0), "ok"),
        (lambda: stamps_row(None), "warn"),
        (lambda: proxy_row({"HTTP_PROXY": "", "NO_PROXY": "x"}), "ok"),
        (lambda: proxy_row({"https_proxy": "http://p"}), "warn"),
    ],
)
def test_where_a_limit_lies(row: Callable[[], SetupFinding], standing: str) -> None:
    found = row()
    assert found.standing == standing, found
    assert bool(found.advice) is (standing != "ok")


def test_what_would_help_is_said_with_the_number_that_does() -> None:
    assert files_row(10_001, 1024, 20_000).advice == "before the test: ulimit -n 10001"
    assert "hard limit" in files_row(30_000, 1024, 20_000).advice
    assert "https_proxy is set" in proxy_row({"https_proxy": "http://user:pw@p"}).found
    assert "pw" not in proxy_row({"https_proxy": "http://user:pw@p"}).found


def test_this_machine_can_be_looked_over(tmp_path: Path) -> None:
    found = {row.name: row for row in machine_rows(LoadSettings(users=50), 50, tmp_path / "not" / "there")}
    assert list(found) == [
        *("python", "versions", "extras", "cores", "memory", "file limit", "ports", "loopback", "disk"),
        *("clock", "timer", "receive stamps", "proxy"),
    ]
    assert "locust 2." in found["versions"].found
    assert "about 250 are needed" in found["file limit"].found
    assert str(tmp_path) in found["disk"].found
    assert not (tmp_path / "not").exists()


def test_more_processes_share_the_files(tmp_path: Path) -> None:
    plan = LoadSettings(rate=10, max_in_flight=1_000, processes=4)
    found = {row.name: row for row in machine_rows(plan, 1_000, tmp_path)}
    assert "about 450 are needed in a process" in found["file limit"].found
    assert "about 1600 are needed" in found["ports"].found
