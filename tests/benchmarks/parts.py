"""The parts of the benchmark. Each returns a document of samples, without conclusions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness.results.reader import Results
from tests.benchmarks.clients import (
    AIOHTTP,
    CHAT_SETTINGS,
    FAST_HTTP_USER,
    HTTPX_SSE,
    OURS,
    Client,
    ClientError,
    Sample,
    measure,
)
from tests.benchmarks.harness_load import harness_load
from tests.benchmarks.master import RHYTHM as MASTER_RHYTHM
from tests.benchmarks.master import RUNS, measure_master
from tests.benchmarks.target import Rhythm, Target, cores, running_target
from tests.benchmarks.traces import PACED_RUNS, SHORT_RUNS, measure_traces

Document = dict[str, Any]
FORMAT = 1  # of the documents; those of a different format are ignored

BLAST = Rhythm(tokens=500)
CHAT_BLAST = Rhythm(tokens=500, api="openai-chat")
BLAST_STREAMS = 64
_REUSE = {"HARNESS_TARGET__CONNECTIONS": "reuse"}  # like the stock clients

#: 20 events/s per stream, like a fast model.
PACED = Rhythm(tokens=100, first_token_us=50_000, gap_us=50_000)
LAG_LIMIT_MS = 10.0
RUNGS = (125, 250, 500, 750, 1000, 1250, 1500, 1750, 2000, 2500, 3000, 3500, 4000, 5000, 6000, 7000, 8000)
#: Where each client starts: near its expected limit, since the whole ladder would take an hour.
FIRST_RUNG = {OURS.name: 1500, FAST_HTTP_USER.name: 1000, AIOHTTP.name: 500, HTTPX_SSE.name: 250}
_OPEN_SHARE = 0.95  # below it, the client is still busy with finished streams
_CHECK_EVERY = "8"  # one in eight of our streams is also measured like the stock clients, at negligible cost

TTFT = Rhythm(tokens=40, first_token_us=200_000, gap_us=50_000)
TTFT_STREAMS = 1000

CPU_STREAMS = 2000
MEMORY_STREAMS = (100, 1000)

OPEN_RATE, OPEN_S, OPEN_PROCESSES = 500, 10, 2
OPEN = Rhythm(tokens=20, first_token_us=50_000, gap_us=20_000)


@dataclass(frozen=True, slots=True)
class Effort:
    """How thoroughly to measure. repeats: of ours and FastHttpUser. rungs_step: 1 tries every step of the ladder."""

    repeats: int
    window_s: float
    ramp_s: float
    rungs_step: int
    others: tuple[Client, ...]

    @property
    def clients(self) -> tuple[Client, ...]:
        """All clients."""
        return (OURS, FAST_HTTP_USER, *self.others)

    @property
    def clients_for_1000_streams(self) -> tuple[Client, ...]:
        """Without httpx-sse, which cannot open a thousand streams in time."""
        return tuple(client for client in self.clients if client is not HTTPX_SSE)


FULL = Effort(repeats=3, window_s=5, ramp_s=4, rungs_step=1, others=(AIOHTTP, HTTPX_SSE))
QUICK = Effort(repeats=1, window_s=2, ramp_s=2, rungs_step=3, others=())


def log(text: str) -> None:
    """Print a line of progress."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _summary(sample: Sample) -> str:
    def ms(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    columns = (
        f"{sample.client:22} {sample.streams:5} streams",
        f"{sample.events_per_s:9.0f} events/s {sample.cpu_us_per_event:6.2f} us/event",
        f"core {sample.cpu_share:4.0%}, waited {sample.waited_share:.0%}",
        f"open {sample.open_streams:.0f}",
        f"lag p99 {ms(sample.lag_ms.get('p99'))} ms",
        f"ttft p50/p99 {ms(sample.ttft_ms.get('p50'))}/{ms(sample.ttft_ms.get('p99'))} ms",
        f"rss {sample.rss_bytes / 2**20:.0f} MB",
        *([f"PROBLEM: {sample.problem}"] if sample.problem else []),
    )
    return "  ".join(columns)


def _sample(client: Client, target: Target, streams: int, effort: Effort, **more: Any) -> Sample:
    _, core = cores()
    options = {"ramp_s": effort.ramp_s, "window_s": effort.window_s, **more}
    options["more"] = {**_REUSE, **options.get("more", {})}
    sample = measure(client, target, streams=streams, core=core, **options)
    log(_summary(sample))
    return sample


def _document(rhythm: Rhythm, target: Target, samples: list[Sample], **more: Any) -> Document:
    return {
        "rhythm": asdict(rhythm),
        "target": target.kind,
        "samples": [asdict(sample) for sample in samples],
        **more,
    }


def blast(effort: Effort) -> Document:
    """Events as fast as each client reads them, in turns."""
    with running_target(BLAST, core=cores()[0]) as target:
        samples = [
            _sample(client, target, BLAST_STREAMS, effort, ramp_s=1, window_s=3)
            for client in (OURS, FAST_HTTP_USER) * effort.repeats + effort.others
        ]
        return _document(BLAST, target, samples)


def chat_blast(effort: Effort) -> Document:
    """The same with the events of OpenAI's chat completions, which a profile describes."""
    with running_target(CHAT_BLAST, core=cores()[0]) as target:
        samples = [
            _sample(client, target, BLAST_STREAMS, effort, ramp_s=1, window_s=3, more=CHAT_SETTINGS)
            for client in (OURS, FAST_HTTP_USER) * effort.repeats
        ]
        return _document(CHAT_BLAST, target, samples)


def is_sustained(sample: Sample) -> bool:
    """Whether a client kept up: receive lag within the limit, all its streams open, and none failed.

    Ours must meet the limit by the harness's own metric and by the stock clients' measure. A sample whose target was
    late by a whole gap does not count, since the events were not sent at the required pace.
    """
    lags = [sample.lag_ms["p99"]]
    if sample.lag_by_send_ms is not None:
        lags.append(sample.lag_by_send_ms["p99"])
    return (
        sample.problem is None
        and all(lag is not None and lag <= LAG_LIMIT_MS for lag in lags)
        and sample.open_streams >= _OPEN_SHARE * sample.streams
        and sample.truth["lateness_us"]["p99"] <= PACED.gap_us
    )


def climb(rungs: tuple[int, ...], first: int, attempt: Callable[[int], bool]) -> Iterator[int | None]:
    """Climb from rung `first` to the last one that is sustained; yields the highest so far after each rung.

    A failed rung is tried a second time, in case the machine was disturbed. If the first rung fails, climbs down.
    Yields None until a rung is sustained.
    """
    at, best = rungs.index(first), None
    while at < len(rungs) and (attempt(rungs[at]) or attempt(rungs[at])):
        best, at = rungs[at], at + 1
        yield best
    while best is None and at > 0:
        at -= 1
        if attempt(rungs[at]) or attempt(rungs[at]):
            best = rungs[at]
        yield best


def ladder(effort: Effort) -> Document:
    """How many paced streams each client sustains, rung by rung, in turns."""
    samples: list[Sample] = []
    with running_target(PACED, core=cores()[0]) as target:

        def attempts_of(client: Client) -> Callable[[int], bool]:
            def attempt(streams: int) -> bool:
                try:
                    sample = _sample(
                        client, target, streams, effort, more={"BENCH_CHECK_EVERY": _CHECK_EVERY}
                    )
                except ClientError as problem:  # it could not open the streams, or some failed
                    log(f"{client.name} {streams}: {problem}")
                    return False
                samples.append(sample)
                return is_sustained(sample)

            return attempt

        climbers = {
            client.name: climb(_rungs(effort, client), FIRST_RUNG[client.name], attempts_of(client))
            for client in effort.clients
        }
        sustained: dict[str, int | None] = dict.fromkeys(climbers)
        while climbers:
            for name, climber in list(climbers.items()):
                try:
                    sustained[name] = next(climber)
                except StopIteration:
                    del climbers[name]
        return _document(PACED, target, samples, held=sustained, limit_ms=LAG_LIMIT_MS)


def _rungs(effort: Effort, client: Client) -> tuple[int, ...]:
    start = RUNGS.index(FIRST_RUNG[client.name])
    return RUNGS[start % effort.rungs_step :: effort.rungs_step]


def cpu(effort: Effort) -> Document:
    """CPU time per event, at a number of streams that both clients roughly sustain, in turns."""
    clients = (OURS, FAST_HTTP_USER) * max(1, effort.repeats - 1)
    with running_target(PACED, core=cores()[0]) as target:
        samples = [_sample(client, target, CPU_STREAMS, effort) for client in clients]
        return _document(PACED, target, samples)


def ttft(effort: Effort) -> Document:
    """TTFT as measured by each client, and its true value at the target; ours also with a busy hub."""
    check = {"BENCH_CHECK_EVERY": "4"}
    with running_target(TTFT, core=cores()[0]) as target:
        samples = [
            _sample(client, target, TTFT_STREAMS, effort, more=check)
            for client in effort.clients_for_1000_streams
        ]
        busy = _sample(OURS, target, TTFT_STREAMS, effort, more={**check, "BENCH_BUSY": "0.2"})
        samples.append(replace(busy, client=f"{OURS.name}, hub 20% busy"))
        return _document(TTFT, target, samples)


def memory(effort: Effort) -> Document:
    """Resident memory with few and with many open streams."""
    samples: list[Sample] = []
    with running_target(PACED, core=cores()[0]) as target:
        for streams in MEMORY_STREAMS:
            # As long as a whole stream, so the oldest ones are complete.
            samples += [
                _sample(client, target, streams, effort, window_s=PACED.stream_s)
                for client in effort.clients_for_1000_streams
            ]
        return _document(PACED, target, samples)


def open_loop(effort: Effort) -> Document:
    """Open-loop arrivals in two processes, compared with the target's count of requests."""
    rounds = []
    for _ in range(max(1, effort.repeats - 1)):
        with running_target(OPEN, core=cores()[0]) as target:
            result = _open_loop_round(target)
            log(f"open loop: {result}")
            rounds.append(result)
    return {"rate": OPEN_RATE, "duration_s": OPEN_S, "processes": OPEN_PROCESSES, "rounds": rounds}


def _open_loop_round(target: Target) -> Document:
    load = harness_load(target, rate=OPEN_RATE, duration_s=OPEN_S, processes=OPEN_PROCESSES, more_s=60)
    with load as (file, exit_code):
        return {
            "exit_code": exit_code,
            "asked_of_target": target.report()["requests"],
            **arrivals(file),
        }


def arrivals(file: Path) -> Document:
    """The arrivals of an open loop at OPEN_RATE, from its results file.

    missing_or_doubled: positions of the schedule without an arrival, plus repeated arrivals; computed from the rows,
    so it needs a row for each arrival.
    """
    with Results(file) as results:
        lag, scheduled = results.histogram("schedule_lag_ms"), results.ledger().scheduled
        due_ns = sorted(row.intended_ns for row in results.streams())
        failures = results.failures()
    places = [round((due - due_ns[0]) * OPEN_RATE / 1e9) for due in due_ns]
    without = len(set(range(places[-1] + 1)).difference(places)) if places else 0
    return {
        "due": OPEN_RATE * OPEN_S,
        "scheduled": scheduled,
        "failures": failures,
        "rows": len(due_ns),
        "missing_or_doubled": without + len(places) - len(set(places)),
        "schedule_lag_ms": {
            "count": lag.count,
            "p50": lag.percentile(50),
            "p99": lag.percentile(99),
            "max": lag.max,
        },
    }


def master(effort: Effort) -> Document:
    """The CPU time of a master, for different numbers of workers and of streams."""
    runs = []
    with running_target(MASTER_RHYTHM, core=cores()[0]) as target:
        for workers, rate in RUNS:
            runs.append(measure_master(target, workers, rate))
            log(f"master: {runs[-1]}")
        return {"rhythm": asdict(MASTER_RHYTHM), "target": target.kind, "runs": runs}


def traces(effort: Effort) -> Document:
    """The CPU time per event with and without traces."""
    cases = []
    for rhythm in (PACED_RUNS, SHORT_RUNS):
        with running_target(rhythm, core=cores()[0]) as target:
            cases.append(measure_traces(target, rounds=10 * effort.repeats))
            log(f"traces: {cases[-1]}")
    return {"target": target.kind, "cases": cases}


#: In the order of measurement.
PARTS: dict[str, Callable[[Effort], Document]] = {
    "blast": blast,
    "chat_blast": chat_blast,
    "cpu": cpu,
    "ttft": ttft,
    "memory": memory,
    "open_loop": open_loop,
    "master": master,
    "traces": traces,
    "ladder": ladder,
}
QUICK_PARTS = ("blast", "cpu", "ttft", "open_loop", "ladder")
