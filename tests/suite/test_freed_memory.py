"""Memory of large values returns to the system, also after a larger one was freed."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
from harness.suite.freed_memory import return_freed_memory

def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

if sys.argv[1] == "on":
    assert return_freed_memory()
bytearray(30 * 2**20)  # freed: glibc raises its threshold to this
before = resident_mb()
kept = []
for _ in range(20):
    large = [bytes(4 * 2**20) for _ in range(3)]
    kept.append(bytes(120_000))  # in the heap, above the large ones
    del large
    kept.append(bytes(60_000))
large = [b"x" * (4 * 2**20) for _ in range(10)]
kept.append(bytes(120_000))
del large
print(resident_mb() - before)
"""


def grown_mb(setting: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, setting], capture_output=True, text=True, check=True, timeout=60
    )
    return float(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_large_values_return_to_the_system() -> None:
    assert grown_mb("off") > 30  # else this test shows nothing
    assert grown_mb("on") < 10
