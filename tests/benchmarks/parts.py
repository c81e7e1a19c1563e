"""What the benchmark measures, part by part: each gives a document of samples, and draws no conclusion."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import tomlkit

from harness.config.load_settings import JourneyWeights, LoadSettings
from harness.config.settings import CONFIG_VARIABLE
from harness.load.locust.command import load_command
from harness.results.reader import Results
from tests.benchmarks.clients import (
    AIOHTTP,
    FAST_HTTP_USER,
    HTTPX_SSE,
    OURS,
    Client,
    ClientError,
    Sample,
    environment,
    measure,
)
from tests.benchmarks.target import ROOT, Rhythm, Target, cores, running_target

Document = dict[str, Any]
FORMAT = (
    1  # of the documents; what an earlier version of this file measured is not shown beside what it does now
)

BLAST = Rhythm(tokens=500)
BLAST_STREAMS = 64
_REUSE = {"HARNESS_TARGET__CONNECTIONS": "reuse"}  # as the stock clients do

#: 20 events/s a stream, as a fast model makes tokens.
PACED = Rhythm(tokens=100, first_token_us=50_000, gap_us=50_000)
LAG_LIMIT_MS = 10.0
RUNGS = (125, 250, 500, 750, 1000, 1250, 1500, 1750, 2000, 2500, 3000, 3500, 4000, 5000, 6000, 7000, 8000)
#: Where each begins to climb: near what it may hold, or the ladder would take an hour.
FIRST_RUNG = {OURS.name: 1500, FAST_HTTP_USER.name: 1000, AIOHTTP.name: 500, HTTPX_SSE.name: 250}
_OPEN_SHARE = 0.95  # a client that is still busy with streams that ended does not hold its number
_CHECK_EVERY = "8"  # of our streams are measured by the others' rule too: enough to tell, too few to cost

TTFT = Rhythm(tokens=40, first_token_us=200_000, gap_us=50_000)
TTFT_STREAMS = 1000

CPU_STREAMS = 2000
MEMORY_STREAMS = (100, 1000)

OPEN_RATE, OPEN_S, OPEN_PROCESSES = 500, 10, 2
OPEN = Rhythm(tokens=20, first_token_us=50_000, gap_us=20_000)


@dataclass(frozen=True, slots=True)
class Effort:
    """How much time is spent. repeats: of ours and the one it is held against. rungs_step: 1 climbs every rung."""

    repeats: int
    window_s: float
    ramp_s: float
    rungs_step: int
    others: tuple[Client, ...]

    @property
    def clients(self) -> tuple[Client, ...]:
        """All that are measured."""
        return (OURS, FAST_HTTP_USER, *self.others)

    @property
    def clients_of_a_thousand(self) -> tuple[Client, ...]:
        """Those that can be asked for a thousand streams; httpx-sse does not bring them up in time."""
        return tuple(one for one in self.clients if one is not HTTPX_SSE)


FULL = Effort(repeats=3, window_s=5, ramp_s=4, rungs_step=1, others=(AIOHTTP, HTTPX_SSE))
QUICK = Effort(repeats=1, window_s=2, ramp_s=2, rungs_step=3, others=())


def say(text: str) -> None:
    """A line on what was just measured."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _told(one: Sample) -> str:
    def ms(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    told = (
        f"{one.client:22} {one.streams:5} streams",
        f"{one.events_per_s:9.0f} events/s {one.cpu_us_per_event:6.2f} us/event",
        f"core {one.cpu_share:4.0%}, waited for {one.waited_share:.0%}",
        f"open {one.open_streams:.0f}",
        f"lag p99 {ms(one.lag_ms.get('p99'))} ms",
        f"ttft p50/p99 {ms(one.ttft_ms.get('p50'))}/{ms(one.ttft_ms.get('p99'))} ms",
        f"rss {one.rss_bytes / 2**20:.0f} MB",
        *([f"PROBLEM: {one.problem}"] if one.problem else []),
    )
    return "  ".join(told)


def _sample(client: Client, target: Target, streams: int, effort: Effort, **more: Any) -> Sample:
    _, core = cores()
    given = {"ramp_s": effort.ramp_s, "window_s": effort.window_s, **more}
    given["more"] = {**_REUSE, **given.get("more", {})}
    sample = measure(client, target, streams=streams, core=core, **given)
    say(_told(sample))
    return sample


def _document(rhythm: Rhythm, target: Target, samples: list[Sample], **more: Any) -> Document:
    return {
        "rhythm": asdict(rhythm),
        "target": target.kind,
        "samples": [asdict(sample) for sample in samples],
        **more,
    }


def blast(effort: Effort) -> Document:
    """Events as fast as a client takes them, in turns."""
    with running_target(BLAST, core=cores()[0]) as target:
        samples = [
            _sample(client, target, BLAST_STREAMS, effort, ramp_s=1, window_s=3)
            for client in (OURS, FAST_HTTP_USER) * effort.repeats + effort.others
        ]
        return _document(BLAST, target, samples)


def holds(sample: Sample) -> bool:
    """Whether a client kept up: it had events in time, its number of streams open, and none of them failed.

    Ours must have had them in time by its own metric, and by the rule for the others too. A target that was
    a whole gap late did not send at the pace in question, and nothing is shown by keeping up with it.
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


def climb(rungs: tuple[int, ...], first: int, is_held: Callable[[int], bool]) -> Iterator[int | None]:
    """Climb from rung `first` to the last that is held, a rung at each step; yields the highest so far.

    A rung that is not held is tried once more: this machine may have been at something else. Where not
    even the first holds, it climbs down. Yields None until a rung has been held.
    """
    at, best = rungs.index(first), None
    while at < len(rungs) and (is_held(rungs[at]) or is_held(rungs[at])):
        best, at = rungs[at], at + 1
        yield best
    while best is None and at > 0:
        at -= 1
        if is_held(rungs[at]) or is_held(rungs[at]):
            best = rungs[at]
        yield best


def ladder(effort: Effort) -> Document:
    """How many paced streams each client holds, rung by rung and in turns."""
    samples: list[Sample] = []
    with running_target(PACED, core=cores()[0]) as target:

        def is_held_by(client: Client) -> Callable[[int], bool]:
            def is_held(streams: int) -> bool:
                try:
                    sample = _sample(
                        client, target, streams, effort, more={"BENCH_CHECK_EVERY": _CHECK_EVERY}
                    )
                except ClientError as problem:  # it cannot even bring them up, or fails streams
                    say(f"{client.name} {streams}: {problem}")
                    return False
                samples.append(sample)
                return holds(sample)

            return is_held

        climbers = {
            client.name: climb(_rungs(effort, client), FIRST_RUNG[client.name], is_held_by(client))
            for client in effort.clients
        }
        held: dict[str, int | None] = dict.fromkeys(climbers)
        while climbers:
            for name, climber in list(climbers.items()):
                try:
                    held[name] = next(climber)
                except StopIteration:
                    del climbers[name]
        return _document(PACED, target, samples, held=held, limit_ms=LAG_LIMIT_MS)


def _rungs(effort: Effort, client: Client) -> tuple[int, ...]:
    start = RUNGS.index(FIRST_RUNG[client.name])
    return RUNGS[start % effort.rungs_step :: effort.rungs_step]


def cpu(effort: Effort) -> Document:
    """Processor time an event, at a number of streams that both hold or nearly do, in turns."""
    clients = (OURS, FAST_HTTP_USER) * max(1, effort.repeats - 1)
    with running_target(PACED, core=cores()[0]) as target:
        samples = [_sample(client, target, CPU_STREAMS, effort) for client in clients]
        return _document(PACED, target, samples)


def ttft(effort: Effort) -> Document:
    """Time to first token as each client tells it, beside what the target did; ours with a busy hub too."""
    checked = {"BENCH_CHECK_EVERY": "4"}
    with running_target(TTFT, core=cores()[0]) as target:
        samples = [
            _sample(one, target, TTFT_STREAMS, effort, more=checked) for one in effort.clients_of_a_thousand
        ]
        busy = _sample(OURS, target, TTFT_STREAMS, effort, more={**checked, "BENCH_BUSY": "0.2"})
        samples.append(replace(busy, client=f"{OURS.name}, hub kept 20% busy"))
        return _document(TTFT, target, samples)


def memory(effort: Effort) -> Document:
    """Resident memory with few and with many streams open."""
    samples: list[Sample] = []
    with running_target(PACED, core=cores()[0]) as target:
        for streams in MEMORY_STREAMS:
            # A whole stream long, so that the oldest of them are at their end.
            samples += [
                _sample(one, target, streams, effort, window_s=PACED.stream_s)
                for one in effort.clients_of_a_thousand
            ]
        return _document(PACED, target, samples)


def open_loop(effort: Effort) -> Document:
    """Arrivals at a rate, over two processes, against what the target was asked."""
    rounds = []
    for _ in range(max(1, effort.repeats - 1)):
        with running_target(OPEN, core=cores()[0]) as target:
            found = _open_round(target)
            say(f"open loop: {found}")
            rounds.append(found)
    return {"rate": OPEN_RATE, "duration_s": OPEN_S, "processes": OPEN_PROCESSES, "rounds": rounds}


def _open_round(target: Target) -> Document:
    plan = LoadSettings(
        rate=OPEN_RATE,
        duration=OPEN_S,
        processes=OPEN_PROCESSES,
        journeys=JourneyWeights(**{name: int(name == "fresh") for name in JourneyWeights.model_fields}),
    )
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        where = Path(scratch)
        settings = {
            "target": {
                "base_url": target.base_url,
                "token": "demo-token",
                "actions": {"success": {"toolId": "a"}},
            },
            "load": plan.model_dump(exclude_none=True),
        }
        (where / "harness.toml").write_text(tomlkit.dumps(settings))
        done = subprocess.run(
            load_command(plan, out=where / "results"),
            env=environment({CONFIG_VARIABLE: str(where / "harness.toml")}),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=OPEN_S + 60,
            check=False,
        )
        if not (where / "results" / "results.sqlite").is_file():
            raise ClientError(f"the open loop left no results:\n{done.stderr[-1500:]}")
        return {
            "exit_code": done.returncode,
            "asked_of_target": target.report()["requests"],
            **arrivals(where / "results" / "results.sqlite"),
        }


def arrivals(file: Path) -> Document:
    """What a results file says of an open loop at OPEN_RATE.

    missing_or_doubled: places on the schedule's grid that have no arrival, and arrivals beyond the first at
    a place; from the rows, so it is only told where there is a row for each.
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


#: By name, in the order in which they are measured.
PARTS: dict[str, Callable[[Effort], Document]] = {
    "blast": blast,
    "cpu": cpu,
    "ttft": ttft,
    "memory": memory,
    "open_loop": open_loop,
    "ladder": ladder,
}
QUICK_PARTS = ("blast", "cpu", "ttft", "open_loop", "ladder")
