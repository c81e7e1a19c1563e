"""Runs the compared clients, each on one core, and measures them from outside.

CPU time and memory are read from the system and events from the target, in the same way for all clients.
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

from harness.formatting import counted
from harness.results.histogram import Histogram
from harness.results.reader import Results
from tests.benchmarks.stock import body
from tests.benchmarks.target import ROOT, Target, pinned

_STOCK = Path(__file__).with_name("stock")
_START_TIMEOUT_S = 30.0
_SETTLE_S = 1.5
_STOP_TIMEOUT_S = 20.0
_POLL_INTERVAL_S = 0.25
_FOLDER = "{folder}"  # placeholder in a command for the client's output folder


class ClientError(RuntimeError):
    """A client failed; the message names it and has the end of its output."""


@dataclass(frozen=True, slots=True)
class Client:
    """A compared client. command: its command line for a base URL, number of streams, and ramp in seconds."""

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


# --stop-timeout: streams still open at the end of the window are read to their end, so all their events are counted.
OURS = Client(
    "ours", _locust("ours.py", "--stop-timeout", "8", "--harness-out", f"{_FOLDER}/results"), is_ours=True
)
FAST_HTTP_USER = Client("FastHttpUser readline", _locust("fast_http_user.py"))
AIOHTTP = Client("aiohttp line by line", _module("aiohttp_lines"))
HTTPX_SSE = Client("httpx-sse", _module("httpx_sse_client"))
CLIENTS = (OURS, FAST_HTTP_USER, AIOHTTP, HTTPX_SSE)


@dataclass(slots=True)
class Sample:
    """The measurements of one client in one window.

    events_per_s, cpu_us_per_event, cpu_share: from the target's count and the system's clocks. waited_share: share of
    the window in which it was runnable while another process had its core. open_streams: mean. rss_bytes: at the end
    of the window. truth: the target's report. lag_ms, ttft_ms: measured by the client; for ours, from its results.
    lag_by_send_ms: ours, measured like the stock clients' lag. kernel_error_ms: difference between our arrival times
    of first tokens and the target's send times. problem: why the numbers are invalid; None if they are valid.
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


#: The settings of our client, with which it sends the request of the stock clients.
SETTINGS = {
    "HARNESS_TARGET__TOKEN": body.HEADERS["Authorization"].removeprefix("Bearer "),
    "HARNESS_TARGET__ORGANIZATION_ID": json.loads(body.BODY)["organizationId"],
    "HARNESS_TARGET__ACTIONS__SUCCESS": json.dumps(json.loads(body.BODY)["workflowAction"]),
}


CHAT_SETTINGS = {
    "BENCH_API": "openai-chat",
    "HARNESS_TARGET__PROFILE": "openai-chat",
    "HARNESS_TARGET__VARIABLES": json.dumps({"model": "m"}),
    "HARNESS_TARGET__ACTIONS__SUCCESS": "tell me a tale",
    "HARNESS_TARGET__ORGANIZATION_ID": "",
}
"""What both clients need for the API of OpenAI's chat completions."""


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without settings of the harness or the benchmark, plus `more`."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("HARNESS_", "BENCH_"))}
    return {**plain, "PYTHONPATH": str(ROOT), **SETTINGS, **more}


class _ClientProcess:
    """A client's process, and its output folder."""

    def __init__(self, client: Client, command: list[str], folder: Path, more: Mapping[str, str]) -> None:
        self.name = client.name
        self.folder = folder
        self.measured = folder / "measured.json"
        self._output = folder / "output"
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment({"BENCH_OUT": str(self.measured), **more}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.stats = psutil.Process(self._process.pid)

    def signal(self, number: int) -> None:
        """Send it a signal. Raises ClientError if it has ended."""
        self.wait_for(lambda: True, 0, "")
        self._process.send_signal(number)

    def cpu_s(self) -> float:
        """CPU time so far."""
        times = self.stats.cpu_times()
        return float(times.user + times.system)

    def waited_s(self) -> float:
        """Run-queue wait of its main thread so far; 0 on systems without it."""
        try:
            return int(Path(f"/proc/{self._process.pid}/schedstat").read_text().split()[1]) / 1e9
        except FileNotFoundError:
            return 0.0

    def wait_for(self, condition: Callable[[], bool], timeout_s: float, problem: str) -> None:
        """Wait for `condition`. Raises ClientError with `problem` after `timeout_s`, or if the client has ended."""
        deadline = time.monotonic() + timeout_s
        while True:
            if self._process.poll() is not None:
                raise ClientError(self._describe(f"exited with code {self._process.returncode}"))
            if condition():
                return
            if time.monotonic() > deadline:
                raise ClientError(self._describe(problem))
            time.sleep(0.05)

    def error(self) -> str | None:
        """The last line of the first traceback in its output: Locust continues after an exception."""
        _, found, traceback = self._output.read_text(errors="replace").partition("Traceback")
        return next((line for line in traceback.splitlines()[1:] if line[:1].strip()), "?") if found else None

    def _describe(self, problem: str) -> str:
        tail = self._output.read_text(errors="replace")[-1500:].strip()
        return f"{self.name}: {problem}" + (f"; end of its output:\n{tail}" if tail else "")

    def stop(self) -> None:
        """Terminate it and wait for its end."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()
                raise ClientError(self._describe("did not stop on SIGTERM")) from None

    def kill(self) -> None:
        """Kill it if it is still running."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


@contextmanager
def _running(client: Client, command: list[str], more: Mapping[str, str]) -> Iterator[_ClientProcess]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        command = [part.replace(_FOLDER, folder) for part in command]
        process = _ClientProcess(client, command, Path(folder), more)
        try:
            yield process
        finally:
            process.kill()


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
    """Open that many streams, let them settle, and measure the client for `window_s`.

    Raises ClientError if they cannot be opened, or the client ends early.
    """
    before = _idle_report(target)
    command = pinned(client.command(target.base_url, streams, ramp_s), core)
    with _running(client, command, more or {}) as process:
        process.wait_for(
            lambda: target.report()["requests"] >= before["requests"] + streams,
            ramp_s + _START_TIMEOUT_S,
            f"did not open {streams} streams",
        )
        time.sleep(_SETTLE_S)
        sample, opened_wall_s, closed_wall_s = _window(process, target, streams, window_s)
        process.wait_for(process.measured.is_file, _STOP_TIMEOUT_S, "did not write its measurements")
        process.stop()
        measured = json.loads(process.measured.read_text())
        left = sample.truth["broken_off"] - before["broken_off"]
        problems = list(_problems(process, target, measured, left))
        sample.lag_ms, sample.ttft_ms = measured["lag_ms"], measured["ttft_ms"]
        if client.is_ours:
            sample.lag_by_send_ms, sample.kernel_error_ms = measured["lag_ms"], measured["kernel_error_ms"]
            problems += _take_results(sample, process.folder / "results", opened_wall_s, closed_wall_s)
        sample.problem = "; ".join(problems) or None
        return sample


def _idle_report(target: Target) -> dict[str, Any]:
    """The target's report, once the streams of the previous client are closed."""
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while (report := target.report())["open"]:
        if time.monotonic() > deadline:
            raise ClientError(f"{report['open']} streams are open at the target, but no client is running")
        time.sleep(0.05)
    return report


def _problems(process: _ClientProcess, target: Target, measured: dict[str, Any], left: int) -> Iterator[str]:
    """Why the numbers are invalid, if they are. left: streams that the client closed before their end."""
    if (error := process.error()) is not None:
        yield f"it printed {error!r}"
    if left:
        yield f"it closed {counted(left, 'stream')} before the end"
    if not measured["streams"]:
        yield "none of its streams ended"
    if measured["events"] != measured["streams"] * target.rhythm.events:
        yield f"it read {counted(measured['events'], 'event')} in {counted(measured['streams'], 'stream')}"


def _window(
    process: _ClientProcess, target: Target, streams: int, window_s: float
) -> tuple[Sample, float, float]:
    time.sleep(-time.time() % 1)  # our results are per second, so the window is aligned to seconds
    target.reset()
    before, cpu_s, waited_s = target.report(), process.cpu_s(), process.waited_s()
    began_s, opened_wall_s = time.monotonic(), time.time()
    process.signal(signal.SIGUSR1)
    open_streams = []
    while time.monotonic() < began_s + window_s:
        time.sleep(_POLL_INTERVAL_S)
        open_streams.append(target.report()["open"])
    truth, cpu_s, waited_s = target.report(), process.cpu_s() - cpu_s, process.waited_s() - waited_s
    took_s = time.monotonic() - began_s
    rss_bytes = process.stats.memory_info().rss
    process.signal(signal.SIGUSR2)
    events = truth["events"] - before["events"]
    if not events:
        raise ClientError(f"{process.name}: no event from the target within {took_s:.1f} s")
    sample = Sample(
        client=process.name,
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


def _take_results(sample: Sample, folder: Path, opened_wall_s: float, closed_wall_s: float) -> list[str]:
    """Fill in the lag and TTFT of the window from our results file; returns the problems."""
    problems: list[str] = []
    with Results(folder / "results.sqlite") as results:
        seconds = range(round(opened_wall_s), round(closed_wall_s))
        sample.lag_ms = _distribution(results, "receive_lag_ms", seconds)
        # By the second in which a run started: the last second's first tokens may arrive after the window.
        sample.ttft_ms = _distribution(results, "ttft_ms", seconds[:-1])
        ledger = results.ledger()
        if failures := results.failures():
            reasons = Counter(row.reason for row in results.streams() if row.reason is not None)
            most = f", most of them: {reasons.most_common(1)[0][0]}" if reasons else ""
            problems.append(f"{failures} of {ledger.judged} streams failed{most}")
        if not ledger.adds_up:
            problems.append(f"the ledger does not add up: {ledger}")
    return problems


def _distribution(results: Results, metric: str, seconds: range) -> dict[str, Any]:
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
