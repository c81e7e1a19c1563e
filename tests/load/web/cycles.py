"""Tests started and stopped repeatedly on the web page: its process keeps neither memory nor descriptors.

As a program (python -m tests.load.web.cycles --cycles 200) it prints a table.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.load.locust_process import wait_for
from tests.load.run_server import RunServer, run_server
from tests.load.web.web_page import Served, served

_READ = ("/", "/stats/requests", "/harness/live.json", "/harness/charts", "/exceptions", "/logs", "/tasks")
_REQUESTS = 40
_REPORT_EVERY = 25
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Footprint:
    """What the page's process has after a cycle."""

    rss_bytes: int
    descriptors: int
    threads: int


def cycles(where: Path, count: int) -> Iterator[Footprint]:
    """Start and stop that many tests. Gives the footprint after each."""
    with run_server(gap_s=0.001) as server, served(where, server.base_url, "local", users=4) as page:
        process = psutil.Process(page.processes[0])
        for number in range(count):
            _start_and_stop(page, server)
            if number % _REPORT_EVERY == 0:
                page.report("/stats/report")
            yield Footprint(process.memory_info().rss, process.num_fds(), process.num_threads())
    assert page.code == 0, page.printed
    assert "Traceback" not in page.printed
    assert len(list((where / "out").glob("results*.sqlite"))) == count


def _start_and_stop(page: Served, server: RunServer) -> None:
    before = server.stats.counts["requests"]
    page.swarm()
    wait_for(lambda: server.stats.counts["requests"] > before + _REQUESTS)
    for path in _READ:
        page.get(path)
    page.post("/stop")
    assert page.live()["state"] == "finished"
    assert page.live()["ledger"]["adds_up"]


def growth_bytes(found: Sequence[Footprint]) -> int:
    """The growth of memory from the second quarter of the cycles, when all is loaded, to the last quarter."""
    quarter = max(1, len(found) // 4)
    early, late = found[quarter : 2 * quarter], found[-quarter:]
    return min(one.rss_bytes for one in late) - min(one.rss_bytes for one in early)


def main() -> None:
    """Print the footprint of some cycles, and the growth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=200)
    count: int = parser.parse_args().cycles
    found: list[Footprint] = []
    print(f"{'cycle':>6}{'MiB':>8}{'descriptors':>13}{'threads':>9}")
    with tempfile.TemporaryDirectory(prefix="cycles-") as where:
        for footprint in cycles(Path(where), count):
            found.append(footprint)
            if len(found) in {1, 2, 5} or len(found) % 20 == 0:
                line = f"{len(found):6}{footprint.rss_bytes / _MIB:8.1f}{footprint.descriptors:13}{footprint.threads:9}"
                print(line, flush=True)
    print(f"growth from the second to the last quarter: {growth_bytes(found) / _MIB:.1f} MiB")
    print(f"descriptors: at most {max(one.descriptors for one in found)}")
    late, early = found[-5:], found[:5]
    sys.exit(min(one.descriptors for one in late) > max(one.descriptors for one in early))


if __name__ == "__main__":
    main()
