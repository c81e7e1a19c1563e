"""The settings of a load: its loop, rate or users, duration and journeys."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from random import SystemRandom
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    model_validator,
)

from harness.config.parsing import (
    Seconds,
    SecondsFromZero,
    StrictModel,
    did_you_mean,
    parse_duration_s,
    parse_ramp,
    parse_spike,
    parse_steps,
)
from harness.config.trace import read_arrival_times
from harness.errors import SettingsError
from harness.gate.expressions import parse_abort_condition

_DEFAULT_DURATION_S = 20.0


_SEED_BITS = 32  # of a random seed: short enough to type
_SEED_LIMIT = 2**63
_MOST_WEIGHT = 10_000  # Locust repeats a task by its weight
_MOST_STREAMS = 1_000_000_000  # of a limit on streams


class JourneyWeights(StrictModel):
    """The relative weight of each journey. A journey with the weight 0 does not run."""

    #: starts a run and reads it to its end
    fresh: int = Field(0, ge=0, le=_MOST_WEIGHT)
    #: sends the same request again after the run has ended
    replay: int = Field(0, ge=0, le=_MOST_WEIGHT)
    #: cuts the connection after random events and resumes
    resume: int = Field(0, ge=0, le=_MOST_WEIGHT)
    #: sends a different body under the key of a run in flight
    conflict: int = Field(0, ge=0, le=_MOST_WEIGHT)
    #: opens several streams of one run while it is in flight
    join: int = Field(0, ge=0, le=_MOST_WEIGHT)
    #: sends identical requests at the same time
    race: int = Field(0, ge=0, le=_MOST_WEIGHT)
    #: cuts the connection and does not come back
    abandon: int = Field(0, ge=0, le=_MOST_WEIGHT)
    #: reads slowly, so that the server has to wait
    slow_reader: int = Field(0, ge=0, le=_MOST_WEIGHT)
    #: cancels a run in flight and reads it again
    cancel: int = Field(0, ge=0, le=_MOST_WEIGHT)
    #: runs the steps of a session one after another, each with the outputs of the earlier ones
    workflow: int = Field(0, ge=0, le=_MOST_WEIGHT)

    @model_validator(mode="after")
    def _not_all_zero(self) -> Self:
        if not any(self.model_dump().values()):
            raise ValueError("every weight is 0, so no journey would run")
        return self


def parse_journeys(options: Sequence[str]) -> dict[str, int]:
    """The weights of all journeys, from ``NAME=WEIGHT`` options. Raises SettingsError."""
    weights = dict.fromkeys(JourneyWeights.model_fields, 0)
    seen = set()
    for option in options:
        name, _, weight = option.partition("=")
        if name not in weights:
            raise SettingsError(f"unknown journey {name!r}{did_you_mean(name, weights)}")
        if name in seen or not re.fullmatch(r"[0-9]+", weight):
            mistake = (
                "is given twice"
                if name in seen
                else f"has the weight {weight!r}, which is not a whole number"
            )
            raise SettingsError(f"journey {name!r} {mistake}; write {name}=1")
        weights[name] = int(weight)
        seen.add(name)
    return weights


def _default_journeys() -> JourneyWeights:
    return JourneyWeights(
        fresh=50, replay=10, resume=15, conflict=5, join=5, race=5, abandon=5, slow_reader=5
    )


def _valid(parse: Callable[[str], Any]) -> AfterValidator:
    """Validates a text with `parse`. The setting keeps the text, which is written to files and sent to workers."""

    def check(text: str) -> str:
        parse(text)
        return text

    return AfterValidator(check)


def _split(value: Any) -> Any:
    """A text, as a form has it, means the conditions between its semicolons."""
    return [text.strip() for text in value.split(";") if text.strip()] if isinstance(value, str) else value


def _all_conditions(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        try:
            parse_abort_condition(text)
        except ValueError as problem:  # its first line is the sentence
            raise ValueError(str(problem).partition("\n")[0]) from None
    return texts


AbortConditions = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_all_conditions)]

_OPEN_LOOPS = ("rate", "ramp", "steps", "spike", "trace")


def _default_duration_s(load: Mapping[str, Any]) -> float:
    """The duration of a test without the setting: that of its schedule, if the schedule ends."""
    if load.get("ramp"):
        return parse_ramp(load["ramp"])[2]
    if load.get("steps"):
        return sum(for_s for _, for_s in parse_steps(load["steps"]))
    if load.get("spike"):
        _, _, at_s, for_s = parse_spike(load["spike"])
        return 2 * at_s + for_s  # the time after the spike equals the time before it
    if load.get("trace"):
        return math.floor(read_arrival_times(load["trace"])[-1]) + 1.0  # includes the last arrival
    return _DEFAULT_DURATION_S


def _random_seed(load: Mapping[str, Any]) -> int | None:
    """A seed for an open loop without one. The results contain it, so the test can be repeated."""
    is_open = any(load.get(name) is not None for name in _OPEN_LOOPS)
    return SystemRandom().getrandbits(_SEED_BITS) if is_open else None


class LoadSettings(StrictModel):
    """The load: `users` of a closed loop, or the arrivals of an open loop.

    Arrivals come at a constant `rate` per second, at rates that follow a `ramp` (FROM:TO:OVER; stays at TO), `steps`
    (RATE:FOR,RATE:FOR…; ends after the last) or a `spike` (BASE:PEAK:AT:FOR), or at the times in a `trace` file.
    The default duration is that of the ramp, steps, spike or trace.
    """

    #: closed loop: the number of concurrent users; 10 if no loop is set
    users: int | None = Field(None, ge=1, le=_MOST_STREAMS)
    #: open loop: arrivals per second
    rate: float | None = Field(None, gt=0, allow_inf_nan=False)
    #: open loop: a rising rate, FROM:TO:OVER, for example 1:100:60s
    ramp: Annotated[str, _valid(parse_ramp)] | None = None
    #: open loop: one rate after another, RATE:FOR,…, for example 10:30s,20:30s
    steps: Annotated[str, _valid(parse_steps)] | None = None
    #: open loop: a burst, BASE:PEAK:AT:FOR, for example 10:100:20s:5s
    spike: Annotated[str, _valid(parse_spike)] | None = None
    #: open loop: a file of arrival times in seconds, one per line
    trace: Annotated[str, _valid(read_arrival_times)] | None = None
    #: open loop: constant or exponentially distributed gaps between arrivals
    arrivals: Literal["constant", "poisson"] = "constant"
    #: open loop: seed of the arrival times and of the journey of each arrival; random by default
    seed: int | None = Field(default_factory=_random_seed, ge=0, lt=_SEED_LIMIT)
    #: open loop: arrivals above this number of streams in flight are dropped and counted
    max_in_flight: int | None = Field(None, ge=1, le=_MOST_STREAMS)
    #: how long arrivals start; by default the length of ramp, steps, spike or trace, else 20 s
    duration: Seconds = Field(default_factory=_default_duration_s)
    #: time at the start that is reported separately
    warmup: SecondsFromZero = 0.0
    #: when the server is restarted, after the start of the load: by target.restart_command, or without one by you.
    #: Runs that this interrupts are read again after it
    restart_at: Seconds | None = None
    #: closed loop: users started per second; by default all at once
    spawn_rate: float | None = Field(None, gt=0, allow_inf_nan=False)
    #: worker processes of Locust
    processes: int = Field(1, ge=1)
    #: the number of stream rows to keep; counts and histograms include all streams
    keep_streams: int = Field(1_000_000, ge=0, le=_MOST_STREAMS)
    #: whether each request has a traceparent field with the trace id of its journey; target.headers may have another
    traceparent: bool = True
    #: conditions that abort the load, for example ["error_rate > 20% for 10s"]
    abort_on: AbortConditions = ()
    #: the relative weights of the journeys; a journey with the weight 0 does not run
    journeys: JourneyWeights = Field(default_factory=_default_journeys)

    @property
    def is_open(self) -> bool:
        """Whether arrivals follow a schedule instead of waiting for free users."""
        return any(getattr(self, name) is not None for name in _OPEN_LOOPS)

    @property
    def describe(self) -> str:
        """The users or the rate in a few words; empty for a closed loop with the default number of users."""
        prefix = "Poisson arrivals, " if self.arrivals == "poisson" else ""
        if self.rate is not None:
            return f"{prefix}{self.rate:g} runs/s"
        for name in _OPEN_LOOPS[1:]:
            if getattr(self, name) is not None:
                return f"{prefix}{name} {getattr(self, name)}"
        return "" if self.users is None else f"{self.users} users"

    def to_message(self) -> dict[str, Any]:
        """The settings as plain values, for other processes and for `from_message`."""
        message: dict[str, Any] = self.model_dump(mode="json", exclude_none=True)
        return message

    def reseeded(self, number: int) -> Self:
        """The load with the seed of its repeat or step `number`, so that its arrivals differ."""
        seed = None if self.seed is None else (self.seed + number) % _SEED_LIMIT
        return self.model_copy(update={"seed": seed})

    @classmethod
    def from_message(cls, plain: Mapping[str, Any]) -> Self:
        """The settings in a message from another process. Raises SettingsError if they are invalid here."""
        try:
            return cls.model_validate(plain)
        except ValidationError as problem:
            first = problem.errors(include_url=False)[0]
            message = first["msg"].removeprefix("Value error, ")
            raise SettingsError(f"this process cannot run the master's load: {message}") from None

    @model_validator(mode="after")
    def _one_loop(self) -> Self:
        loops = [name for name in ("users", *_OPEN_LOOPS) if getattr(self, name) is not None]
        if "users" in loops and len(loops) > 1:
            raise ValueError(
                f"users (closed loop) and {loops[1]} (open loop) are mutually exclusive; set one of them"
            )
        if len(loops) > 1:
            raise ValueError(f"{' and '.join(loops)} are mutually exclusive; set one of them")
        return self

    @model_validator(mode="after")
    def _open_loop_only(self) -> Self:
        if not self.is_open:
            defaults = {"arrivals": "constant", "seed": None, "max_in_flight": None}
            for name in (name for name, value in defaults.items() if getattr(self, name) != value):
                raise ValueError(
                    f"{name} applies to an open loop only; set one of {', '.join(_OPEN_LOOPS)} with it"
                )
        if self.trace is not None and self.arrivals != "constant":
            raise ValueError(
                "a trace sets the arrival times, so arrivals = 'poisson' cannot be combined with it"
            )
        return self

    @model_validator(mode="after")
    def _fits_in_duration(self) -> Self:
        parse_duration_s(self.duration)  # also the sum of steps, which was not parsed as a whole
        if self.warmup >= self.duration:
            raise ValueError(
                f"a warmup of {self.warmup:g} s leaves no time in a duration of {self.duration:g} s"
            )
        if self.restart_at is not None and not self.warmup <= self.restart_at < self.duration:
            raise ValueError(
                f"restart_at, {self.restart_at:g} s, is not between the warmup of {self.warmup:g} s and the end of the "
                f"duration of {self.duration:g} s"
            )
        if self.spike is not None and parse_spike(self.spike)[2] >= self.duration:
            raise ValueError(f"the spike {self.spike} starts after the duration of {self.duration:g} s")
        return self
