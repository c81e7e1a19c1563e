"""The settings of a load: its loop, rate or users, duration and journeys."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from random import SystemRandom
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    model_validator,
)

from harness.config.parsing import (
    Seconds,
    SecondsFromZero,
    StrictModel,
    did_you_mean,
    parse_ramp,
    parse_spike,
    parse_steps,
)
from harness.config.trace import read_arrival_times
from harness.errors import SettingsError

_USUAL_DURATION_S = 20.0


_SEED_BITS = 32  # of a seed that is drawn: short enough to be typed


class JourneyWeights(StrictModel):
    """How often users set out on each journey, as relative weights; one that is not named is not travelled."""

    fresh: int = Field(0, ge=0)
    replay: int = Field(0, ge=0)
    resume: int = Field(0, ge=0)
    conflict: int = Field(0, ge=0)
    join: int = Field(0, ge=0)
    race: int = Field(0, ge=0)
    abandon: int = Field(0, ge=0)
    slow_reader: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _not_all_zero(self) -> Self:
        if not any(self.model_dump().values()):
            raise ValueError("every weight is 0, so there is no journey to take")
        return self


def parse_journeys(given: Sequence[str]) -> dict[str, int]:
    """``NAME=WEIGHT`` of each journey that is to be travelled, as the weights of all. Raises SettingsError."""
    weights = dict.fromkeys(JourneyWeights.model_fields, 0)
    named = set()
    for one in given:
        name, _, weight = one.partition("=")
        if name not in weights:
            raise SettingsError(f"there is no journey {name!r}{did_you_mean(name, weights)}")
        if name in named or not re.fullmatch(r"[0-9]+", weight):
            wrong = "is given twice" if name in named else f"weighs {weight!r}, which is no whole number"
            raise SettingsError(f"journey {name!r} {wrong}; write {name}=1")
        weights[name] = int(weight)
        named.add(name)
    return weights


def _usual_journeys() -> JourneyWeights:
    return JourneyWeights(
        fresh=50, replay=10, resume=15, conflict=5, join=5, race=5, abandon=5, slow_reader=5
    )


def _valid(parse: Callable[[str], Any]) -> AfterValidator:
    """A text that `parse` can read; it stays a text, as it is written, shown and sent."""

    def check(text: str) -> str:
        parse(text)
        return text

    return AfterValidator(check)


_OPEN_LOOPS = ("rate", "ramp", "steps", "spike", "trace")


def _natural_duration_s(load: Mapping[str, Any]) -> float:
    """How long a test is whose settings do not say so: as long as its schedule, where that has a length."""
    if load.get("ramp"):
        return parse_ramp(load["ramp"])[2]
    if load.get("steps"):
        return sum(for_s for _, for_s in parse_steps(load["steps"]))
    if load.get("spike"):
        _, _, at_s, for_s = parse_spike(load["spike"])
        return 2 * at_s + for_s  # as long after it as before it
    if load.get("trace"):
        return math.floor(read_arrival_times(load["trace"])[-1]) + 1.0  # so that the last one is within
    return _USUAL_DURATION_S


def _drawn_seed(load: Mapping[str, Any]) -> int | None:
    """A seed for an open loop that has none: so it stands in the results, and the test can be repeated."""
    is_open = any(load.get(name) is not None for name in _OPEN_LOOPS)
    return SystemRandom().getrandbits(_SEED_BITS) if is_open else None


class LoadSettings(StrictModel):
    """How the load is driven: `users` in a closed loop, or arrivals in an open one.

    The arrivals' rate is `rate` per second, or has the shape of a `ramp` (FROM:TO:OVER, and stays), of
    `steps` (RATE:FOR,RATE:FOR…, and ends) or of a `spike` (BASE:PEAK:AT:FOR); or the times in a `trace`
    file are the schedule. A test without a `duration` is as long as its shape.
    """

    users: int | None = Field(None, ge=1)
    rate: float | None = Field(None, gt=0, allow_inf_nan=False)
    ramp: Annotated[str, _valid(parse_ramp)] | None = None
    steps: Annotated[str, _valid(parse_steps)] | None = None
    spike: Annotated[str, _valid(parse_spike)] | None = None
    trace: Annotated[str, _valid(read_arrival_times)] | None = None
    #: gaps in an open loop: all alike, or exponentially distributed, at any of these rates
    arrivals: Literal["constant", "poisson"] = "constant"
    #: of the open loop's schedule, that is of its arrivals and of the journey that each begins
    seed: int | None = Field(default_factory=_drawn_seed, ge=0, lt=2**63)
    max_in_flight: int | None = Field(None, ge=1)
    duration: Seconds = Field(default_factory=_natural_duration_s)
    warmup: SecondsFromZero = 0.0
    spawn_rate: float | None = Field(None, gt=0, allow_inf_nan=False)
    processes: int = Field(1, ge=1)
    #: how many run rows a test keeps at most; counts and histograms are always of all
    keep_runs: int = Field(1_000_000, ge=0)
    journeys: JourneyWeights = Field(default_factory=_usual_journeys)

    @property
    def is_open(self) -> bool:
        """Whether arrivals come by a schedule, and not when users are free."""
        return any(getattr(self, name) is not None for name in _OPEN_LOOPS)

    @property
    def describe(self) -> str:
        """What drives it, in a few words; nothing for a closed loop of the usual number of users."""
        rhythm = "Poisson arrivals, " if self.arrivals == "poisson" else ""
        if self.rate is not None:
            return f"{rhythm}{self.rate:g} runs/s"
        for name in _OPEN_LOOPS[1:]:
            if getattr(self, name) is not None:
                return f"{rhythm}{name} {getattr(self, name)}"
        return "" if self.users is None else f"{self.users} users"

    @classmethod
    def from_message(cls, plain: Mapping[str, Any]) -> Self:
        """What another process dumped. Raises SettingsError where it cannot be followed here."""
        try:
            return cls.model_validate(plain)
        except ValidationError as problem:
            first = problem.errors(include_url=False)[0]
            message = first["msg"].removeprefix("Value error, ")
            raise SettingsError(f"the load that the master drives cannot be driven here: {message}") from None

    @model_validator(mode="after")
    def _one_loop(self) -> Self:
        given = [name for name in ("users", *_OPEN_LOOPS) if getattr(self, name) is not None]
        if "users" in given and len(given) > 1:
            raise ValueError(f"users (closed loop) and {given[1]} (open loop) exclude each other; give one")
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other; give one")
        return self

    @model_validator(mode="after")
    def _belongs_to_its_loop(self) -> Self:
        if not self.is_open:
            usual = {"arrivals": "constant", "seed": None, "max_in_flight": None}
            for name in (name for name, value in usual.items() if getattr(self, name) != value):
                raise ValueError(f"{name} is of an open loop; give one of {', '.join(_OPEN_LOOPS)} with it")
        if self.trace is not None and self.arrivals != "constant":
            raise ValueError(
                "a trace says when arrivals are due, so arrivals = 'poisson' cannot be had with it"
            )
        return self

    @model_validator(mode="after")
    def _fits_into_its_duration(self) -> Self:
        if self.warmup >= self.duration:
            raise ValueError(
                f"a warmup of {self.warmup:g} s leaves nothing of a duration of {self.duration:g} s"
            )
        if self.spike is not None and parse_spike(self.spike)[2] >= self.duration:
            raise ValueError(f"the spike {self.spike} begins after the duration of {self.duration:g} s")
        return self
