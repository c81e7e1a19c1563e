"""Refuses a load that is far beyond what this machine can do, before anything is sent.

A load that is only somewhat too high is not refused: it runs, and the results say that the harness was saturated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from harness.config.load_settings import LoadSettings
from harness.config.parsing import parse_ramp, parse_spike, parse_steps
from harness.config.trace import read_arrival_times
from harness.errors import SettingsError
from harness.formatting import counted
from harness.load.bounds.machine import (
    OTHER_FILES,
    PROCESS_BYTES,
    USER_BYTES,
    Machine,
    stream_cost_s,
    this_machine,
)

MARGIN = 2.0
"""A rate is refused above this multiple of what was measured: on a busy machine the measurement may show half."""

UNMEASURED_RATE = 100.0
"""Arrivals per second and process that every machine can send: up to here nothing is measured."""

UNKNOWN_RATE = 10_000.0
"""Arrivals per second and process that no machine can send: the limit where the measurement fails."""

PROCESSES_PER_CORE = 4
LEAST_PROCESSES = 8
"""So many processes are never refused, however few cores there are: they may be meant to share them."""

MEMORY_SHARE = 0.8
"""Share of the available memory that users may take."""

ELSEWHERE = "start workers on other machines (docs/how-to.md)"


@dataclass(frozen=True, slots=True)
class LoadLimits:
    """What a load can do at most on this machine, or on the machines of its workers, each taken to be like this one.

    workers: processes that send the load. local: whether all of them run on this machine. cost_s: CPU time of one
    short stream; called only if the rate is not certainly possible.
    """

    machine: Machine
    workers: int
    local: bool = True
    cost_s: Callable[[], float | None] = stream_cost_s

    @property
    def processes(self) -> int:
        """The most processes that make sense on this machine."""
        by_cores = max(LEAST_PROCESSES, math.floor(self.machine.cores * PROCESSES_PER_CORE))
        memory = self.machine.memory_bytes
        return by_cores if memory is None else max(1, min(by_cores, memory // PROCESS_BYTES))

    @property
    def busy_cores(self) -> float:
        """The cores that the workers can use."""
        return min(float(self.workers), max(1.0, self.machine.cores)) if self.local else float(self.workers)

    @property
    def users(self) -> tuple[int, str]:
        """The most concurrent users, and what sets this limit."""
        machine = self.machine
        limits: list[tuple[float, str]] = []
        if math.isfinite(machine.open_files):
            each = max(1, int(machine.open_files) - OTHER_FILES)
            limits.append((self.workers * each, f"{counted(each, 'connection')} per process (ulimit -n)"))
        if machine.memory_bytes is not None and self.local:
            text = f"{machine.memory_bytes / 1e9:.1f} GB of memory"
            limits.append((MEMORY_SHARE * machine.memory_bytes / USER_BYTES, text))
        if machine.ports is not None and self.local:
            text = f"{machine.ports:,} ports for one address (net.ipv4.ip_local_port_range)"
            limits.append((machine.ports, text))
        most, why = min(limits, default=(math.inf, ""))
        return (int(most), why) if math.isfinite(most) else (10**9, "no system has more connections")

    def rate(self) -> tuple[float, str]:
        """The most arrivals per second, and how this was found. Measures if that has not been done."""
        cost_s = self.cost_s()
        if cost_s is None:
            return UNKNOWN_RATE * self.workers, "could not be measured here; no machine sends more"
        one = 1 / cost_s
        where = "here" if self.local else "on a machine like this"
        how = f"a short stream takes {cost_s * 1000:.2g} ms of CPU {where}, measured now: about {one:,.0f} per second"
        return one * self.busy_cores, f"{how} and process"


def limits_here(workers: int, *, local: bool = True) -> LoadLimits:
    """The limits on this machine, as it is now. workers, local: as in LoadLimits."""
    return LoadLimits(this_machine(), workers, local)


def refuse_impossible(
    load: LoadSettings,
    *,
    users: float | None = None,
    spawn_rate: float | None = None,
    limits: LoadLimits | None = None,
) -> None:
    """Raise SettingsError, in one sentence, for a load that is far beyond what this machine can do.

    The sentence says what the machine can do, how that is known, and how to go past it. Call it before a load is
    started, with the values that will be used. It takes a millisecond, and about a second once per process for a rate
    above UNMEASURED_RATE.

    load: the settings. users, spawn_rate: of a closed loop, if they come from elsewhere, for example a form.
    limits: None for the configured processes on this machine.
    """
    limits = limits or limits_here(load.processes)
    refuse_processes(load.processes, limits)
    if load.is_open:
        _refuse_rate(load, limits)
    users = load.users if users is None else users
    spawn_rate = load.spawn_rate if spawn_rate is None else spawn_rate
    most, why = limits.users
    if users is not None and users < 0:
        raise SettingsError(f"{users} users are not possible; use 1 or more")
    if spawn_rate is not None and not spawn_rate > 0:
        raise SettingsError(f"{spawn_rate:g} users started per second are not possible; use more than 0")
    for value, what in ((users, "users"), (spawn_rate, "users started per second")):
        if value is not None and value > most:
            raise SettingsError(
                f"{_number(value)} {what} are more than {_who(limits)} can hold: at most {most:,}, because of {why}; "
                f"use fewer, raise that limit, use more --processes, or {ELSEWHERE}"
            )


def _number(value: float) -> str:
    """A number, however large: a whole one of 400 digits is too large for a float."""
    return "so many" if isinstance(value, int) and value > 10**15 else f"{value:,.10g}"


def refuse_processes(processes: int, limits: LoadLimits | None = None) -> None:
    """Raise SettingsError for more worker processes than this machine can use."""
    limits = limits or limits_here(processes)
    if processes > limits.processes:
        memory = limits.machine.memory_bytes
        has = f"{limits.machine.cores:g} cores" + (
            "" if memory is None else f" and {memory / 1e9:.1f} GB free"
        )
        raise SettingsError(
            f"{processes:,} processes are more than this machine can use: it has {has}, enough for "
            f"{limits.processes:,}; use fewer, or {ELSEWHERE}"
        )


def _refuse_rate(load: LoadSettings, limits: LoadLimits) -> None:
    rate, where = peak_rate(load)
    if rate <= UNMEASURED_RATE * limits.workers:
        return
    most, how = limits.rate()
    if rate > MARGIN * most:
        more = _more_processes(limits)
        raise SettingsError(
            f"{rate:,.10g} arrivals per second{where} are far more than {_who(limits)} can send, about {most:,.0f} "
            f"({how}); lower the rate,{more} or {ELSEWHERE}"
        )


def _more_processes(limits: LoadLimits) -> str:
    free = math.floor(limits.machine.cores) - limits.workers
    return f" use up to {math.floor(limits.machine.cores)} --processes," if limits.local and free > 0 else ""


def _who(limits: LoadLimits) -> str:
    what = counted(limits.workers, "process", "processes")
    return f"{what} of this machine" if limits.local else what


def peak_rate(load: LoadSettings) -> tuple[float, str]:
    """The highest rate of an open loop, in arrivals per second, and where it occurs; 0 for a closed loop."""
    if load.rate is not None:
        return load.rate, ""
    if load.ramp is not None:
        return max(parse_ramp(load.ramp)[:2]), " in the ramp"
    if load.steps is not None:
        return max(rate for rate, _ in parse_steps(load.steps)), " in the steps"
    if load.spike is not None:
        return max(parse_spike(load.spike)[:2]), " in the spike"
    if load.trace is not None:
        times_s = np.asarray(read_arrival_times(load.trace))
        in_second = np.searchsorted(times_s, times_s + 1.0) - np.arange(times_s.size)
        busiest = int(in_second.argmax())
        return float(in_second[busiest]), f" in the trace, from {times_s[busiest]:g} s"
    return 0.0, ""


def refuse_too_few(load: LoadSettings, workers: int, users: int) -> None:
    """Raise SettingsError if the streams or users are fewer than the workers, which divide them among them."""
    limit = load.max_in_flight
    if limit is not None and limit < workers:
        raise SettingsError(
            f"max_in_flight is divided among the workers, and {limit} is too few for {workers} workers; raise it"
        )
    if load.is_open and users < workers:
        raise SettingsError(
            f"an open loop needs one user per worker: there are {workers} workers, but users = {users}; "
            f"use --users {workers}"
        )
