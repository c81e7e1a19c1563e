"""The clients under comparison, each started on one core and watched from outside.

What a client is charged with (processor time, memory) and what it got through (events) is read from the system
and from the target, the same for all, so that no client measures itself more kindly than another.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from harness.results.histogram import Histogram
from harness.results.reader import Results
from tests.benchmarks.target import ROOT, Target, pinned

_STOCK = Path(__file__).with_name("stock")
_UP_WITHIN_S = 30.0
_SETTLE_S = 1.5
_END_WITHIN_S = 20.0
_LOOK_EVERY_S = 0.25
_WHERE = "{where}"  # stands in a command for the directory into which its client may write


class ClientError(RuntimeError):
    """A client did not do what it was started for; the text says which, and what it printed last."""


@dataclass(frozen=True, slots=True)
class Client:
    """One of them. command: makes its command line of base URL, number of streams, and ramp in seconds."""

    name: str
    command: Callable[[str, int, float], list[str]]
    is_ours: bool = False


def _locust(file: str, *more: str) -> Callable[[str, int, float], list[str]]:
    def command(base_url: str, streams: int, ramp_s: float) -> list[str]:
        return [
            *(sys.executable, "-m", "locust", "-f", str(_STOCK / file), "--headless", "--only-summary"),
            *("--users", str(streams), "--spawn-rate", f"{max(1.0, streams / ramp_s):g}"),
            *("--host", base_url, "--loglevel", "WARNING", *more),
        ]

    return command


def _module(name: str) -> Callable[[str, int, float], list[str]]:
    def command(base_url: str, streams: int, ramp_s: float) -> list[str]:
        return [sys.executable, "-m", f"tests.benchmarks.stock.{name}", base_url, str(streams), f"{ramp_s:g}"]

    return command


# What is open when the window closes is still read to its end, so that all that was seen is counted.
OURS = Client(
    "ours", _locust("ours.py", "--stop-timeout", "8", "--harness-out", f"{_WHERE}/results"), is_ours=True
)
FAST_HTTP_USER = Client("FastHttpUser readline", _locust("fast_http_user.py"))
AIOHTTP = Client("aiohttp line by line", _module("aiohttp_lines"))
HTTPX_SSE = Client("httpx-sse", _module("httpx_sse_client"))
CLIENTS = (OURS, FAST_HTTP_USER, AIOHTTP, HTTPX_SSE)


@dataclass(slots=True)
class Sample:
    """One client's window.

    events_per_s, cpu_us_per_event, cpu_share: by the target's count and the system's clocks. waited_share:
    how much of the window it was ready to run while something else had its core. open_streams: mean.
    rss_bytes: of the client at the window's end. truth: the target's report. lag_ms, ttft_ms: as the client
    saw them; of ours, as its results say. lag_by_send_ms: ours, by the rule for the others' lag.
    kernel_error_ms: how far our arrival times of first tokens were from the target's sends of them.
    problem: why its numbers are not those of a client that did its work; None where it did.
    """

    client: str
    streams: int
    events_per_s: float
    cpu_us_per_event: float
    cpu_share: float
    waited_share: float
    open_streams: float
    rss_bytes: int
    truth: dict[str, Any]
    lag_ms: dict[str, Any] = field(default_factory=dict)
    ttft_ms: dict[str, Any] = field(default_factory=dict)
    lag_by_send_ms: dict[str, Any] | None = None
    kernel_error_ms: dict[str, Any] | None = None
    problem: str | None = None


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """This process's, without what would set the harness otherwise than as a fresh one is set."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("HARNESS_", "BENCH_"))}
    return {**plain, "PYTHONPATH": str(ROOT), **more}


class _Running:
    """A client's process, and where it writes."""

    def __init__(self, client: Client, command: list[str], where: Path, more: Mapping[str, str]) -> None:
        self.name = client.name
        self.where = where
        self.seen = where / "seen.json"
        self._printed = where / "printed"
        with self._printed.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment({"BENCH_OUT": str(self.seen), **more}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.stats = psutil.Process(self._process.pid)

    def signal(self, number: int) -> None:
        """Send it a signal. Raises ClientError when it has ended."""
        self.wait_for(lambda: True, 0, "")
        self._process.send_signal(number)

    def cpu_s(self) -> float:
        """Processor time it used so far."""
        times = self.stats.cpu_times()
        return float(times.user + times.system)

    def waited_s(self) -> float:
        """How long its main thread could have run and was not let, so far; 0 where the system does not tell."""
        try:
            return int(Path(f"/proc/{self._process.pid}/schedstat").read_text().split()[1]) / 1e9
        except FileNotFoundError:
            return 0.0

    def wait_for(self, what: Callable[[], bool], within_s: float, otherwise: str) -> None:
        """Wait until `what` holds. Raises ClientError."""
        deadline = time.monotonic() + within_s
        while True:
            if self._process.poll() is not None:
                raise ClientError(self._told(f"it ended with exit code {self._process.returncode}"))
            if what():
                return
            if time.monotonic() > deadline:
                raise ClientError(self._told(otherwise))
            time.sleep(0.05)

    def error(self) -> str | None:
        """The last line of the first traceback that it printed: Locust goes on after an exception."""
        _, found, traceback = self._printed.read_text(errors="replace").partition("Traceback")
        return next((line for line in traceback.splitlines()[1:] if line[:1].strip()), "?") if found else None

    def _told(self, problem: str) -> str:
        last = self._printed.read_text(errors="replace")[-1500:].strip()
        return f"{self.name}: {problem}" + (f"; it printed last:\n{last}" if last else "")

    def end(self) -> None:
        """Have it end, and wait until it has."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_END_WITHIN_S)
            except subprocess.TimeoutExpired:
                self.kill()
                raise ClientError(self._told("it did not end when it was told to")) from None

    def kill(self) -> None:
        """End it, however it is."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


@contextmanager
def _running(client: Client, command: list[str], more: Mapping[str, str]) -> Iterator[_Running]:
    with tempfile.TemporaryDirectory(prefix="bench-") as where:
        one = _Running(client, [part.replace(_WHERE, where) for part in command], Path(where), more)
        try:
            yield one
        finally:
            one.kill()


def measure(
    client: Client,
    target: Target,
    *,
    streams: int,
    core: int | None = None,
    window_s: float,
    ramp_s: float,
    more: Mapping[str, str] | None = None,
) -> Sample:
    """Bring that many streams up, let them settle, and watch the client for `window_s`.

    Raises ClientError when they do not come up, or the client ends before its time.
    """
    before = _quiet(target)
    command = pinned(client.command(target.base_url, streams, ramp_s), core)
    with _running(client, command, more or {}) as one:
        one.wait_for(
            lambda: target.report()["requests"] >= before["requests"] + streams,
            ramp_s + _UP_WITHIN_S,
            f"it did not bring up {streams} streams",
        )
        time.sleep(_SETTLE_S)
        sample, opened_wall_s, closed_wall_s = _window(one, target, streams, window_s)
        one.wait_for(one.seen.is_file, _END_WITHIN_S, "it did not say what it saw")
        one.end()
        seen = json.loads(one.seen.read_text())
        problems = list(_problems(one, target, seen, sample.truth["broken_off"] - before["broken_off"]))
        sample.lag_ms, sample.ttft_ms = seen["lag_ms"], seen["ttft_ms"]
        if client.is_ours:
            sample.lag_by_send_ms, sample.kernel_error_ms = seen["lag_ms"], seen["kernel_error_ms"]
            problems += _take_results(sample, one.where / "results", opened_wall_s, closed_wall_s)
        sample.problem = "; ".join(problems) or None
        return sample


def _quiet(target: Target) -> dict[str, Any]:
    """The target's report once the streams of the client before are gone."""
    deadline = time.monotonic() + _END_WITHIN_S
    while (report := target.report())["open"]:
        if time.monotonic() > deadline:
            raise ClientError(f"{report['open']} streams are open at the target, and no client is running")
        time.sleep(0.05)
    return report


def _problems(one: _Running, target: Target, seen: dict[str, Any], left: int) -> Iterator[str]:
    """Why its numbers are not those of a client that did its work."""
    if (error := one.error()) is not None:
        yield f"it printed {error!r}"
    if left:
        yield f"it left {left} streams before their end"
    if not seen["streams"]:
        yield "none of its streams ended"
    if seen["events"] != seen["streams"] * (target.rhythm.tokens + 1):
        yield f"it saw {seen['events']} events in {seen['streams']} streams"


def _window(one: _Running, target: Target, streams: int, window_s: float) -> tuple[Sample, float, float]:
    time.sleep(-time.time() % 1)  # our results are told by the second, so the window is of whole seconds
    target.reset()
    before, cpu_s, waited_s = target.report(), one.cpu_s(), one.waited_s()
    began_s, opened_wall_s = time.monotonic(), time.time()
    one.signal(signal.SIGUSR1)
    open_streams = []
    while time.monotonic() < began_s + window_s:
        time.sleep(_LOOK_EVERY_S)
        open_streams.append(target.report()["open"])
    truth, cpu_s, waited_s = target.report(), one.cpu_s() - cpu_s, one.waited_s() - waited_s
    took_s = time.monotonic() - began_s
    rss_bytes = one.stats.memory_info().rss
    one.signal(signal.SIGUSR2)
    events = truth["events"] - before["events"]
    if not events:
        raise ClientError(f"{one.name}: the target sent it no event within {took_s:.1f} s")
    sample = Sample(
        client=one.name,
        streams=streams,
        events_per_s=events / took_s,
        cpu_us_per_event=cpu_s * 1e6 / events,
        cpu_share=cpu_s / took_s,
        waited_share=waited_s / took_s,
        open_streams=sum(open_streams) / len(open_streams),
        rss_bytes=rss_bytes,
        truth=truth,
    )
    return sample, opened_wall_s, opened_wall_s + took_s


def _take_results(sample: Sample, where: Path, opened_wall_s: float, closed_wall_s: float) -> list[str]:
    """What our results file says of the window's seconds; returns what went wrong."""
    problems: list[str] = []
    with Results(where / "results.sqlite") as results:
        seconds = range(round(opened_wall_s), round(closed_wall_s))
        sample.lag_ms = _of_seconds(results, "receive_lag_ms", seconds)
        # Told by the second in which a run began: the last second's first tokens may come when the window is closed.
        sample.ttft_ms = _of_seconds(results, "ttft_ms", seconds[:-1])
        ledger = results.ledger()
        if failures := results.failures():
            reasons = Counter(row.reason for row in results.streams() if row.reason is not None)
            told = f", most of them: {reasons.most_common(1)[0][0]}" if reasons else ""
            problems.append(f"{failures} of {ledger.judged} streams failed{told}")
        if not ledger.adds_up:
            problems.append(f"the ledger does not add up: {ledger}")
    return problems


def _of_seconds(results: Results, metric: str, seconds: range) -> dict[str, Any]:
    whole = Histogram()
    for second, histogram in results.histograms_by_second(metric).items():
        if second in seconds:
            whole.merge(histogram)
    return {
        "count": whole.count,
        "p50": whole.percentile(50),
        "p99": whole.percentile(99),
        "max": whole.max,
    }
