"""Settings of a test: flags over ``HARNESS_*`` variables over ``harness.toml`` over defaults.

The file is ``harness.toml``, or ``[tool.harness]`` in ``pyproject.toml``, in the working directory, unless
one is named. A key that nobody knows is an error, because a misspelt limit that is silently ignored
would make a test green that is not.
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from array import array
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from random import SystemRandom
from typing import Annotated, Any, Literal, Self

import tomlkit
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableVariable

from harness.contract.expectations import Budgets, Expectations
from harness.errors import HarnessError
from harness.gate.baseline_store import KEEP
from harness.gate.comparison import USUAL_EFFECTS, Effects
from harness.gate.evaluate import Terms
from harness.gate.expressions import limits_of
from harness.reference.settings import demo_config

ENV_PREFIX = "HARNESS_"
CONFIG_VARIABLE = "HARNESS_CONFIG"
CONFIG_FILE = "harness.toml"

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h)?")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_LONGEST_TRACE_S = 8_640_000.0  # what is later is no time in a test, but likely one since 1970
_USUAL_DURATION_S = 20.0
_SEED_BITS = 32  # of a seed that is drawn: short enough to be typed


class SettingsError(HarnessError, ValueError):
    """A setting is wrong; the text is one sentence that says which, where, and what to do."""


def parse_duration_s(value: Any) -> Any:
    """Seconds from a number or from ``"90"``, ``"90s"``, ``"5m"``, ``"1h"``; raises ValueError otherwise."""
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"{value!r} is no duration; write seconds, or a number with ms, s, m or h")
    return float(match[1]) * _UNIT_S[match[2]]


def parse_ramp(text: str) -> tuple[float, float, float]:
    """``FROM:TO:OVER`` as two rates per second, and seconds. Raises ValueError, as the next two do."""
    *rates, over = _parts(text, "ramp", "FROM:TO:OVER", "1:100:60s")
    from_rate, to_rate = _rates(text, *rates)
    return from_rate, to_rate, _length_s(text, over)


def parse_steps(text: str) -> list[tuple[float, float]]:
    """``RATE:FOR,RATE:FOR…`` as pairs of a rate per second and seconds."""
    plan = [_parts(step, "plan of steps", "RATE:FOR,RATE:FOR…", "10:30s,20:30s") for step in text.split(",")]
    rates = _rates(text, *(rate for rate, _ in plan))
    return list(zip(rates, (_length_s(text, for_s) for _, for_s in plan), strict=True))


def parse_spike(text: str) -> tuple[float, float, float, float]:
    """``BASE:PEAK:AT:FOR`` as two rates per second, and when it begins and how long it lasts in seconds."""
    *rates, at, for_s = _parts(text, "spike", "BASE:PEAK:AT:FOR", "10:100:20s:5s")
    base, peak = _rates(text, *rates)
    return base, peak, float(parse_duration_s(at)), _length_s(text, for_s)


def _parts(text: str, what: str, form: str, example: str) -> list[str]:
    parts = text.strip().split(":")
    if len(parts) != len(form.partition(",")[0].split(":")):
        raise ValueError(f"{text!r} is no {what}; write {form}, for example {example}")
    return parts


def _rates(text: str, *parts: str) -> list[float]:
    for part in parts:
        if not _NUMBER.fullmatch(part.strip()):
            raise ValueError(f"{part!r} in {text!r} is no rate; write how many arrivals per second")
    rates = [float(part) for part in parts]
    if not any(rates):
        raise ValueError(f"nothing ever arrives with {text!r}; one of its rates must be above 0")
    return rates


def _length_s(text: str, part: str) -> float:
    length_s = float(parse_duration_s(part))
    if length_s <= 0:
        raise ValueError(f"{part!r} in {text!r} lasts no time; write a duration above 0")
    return length_s


def read_arrival_times(file: str) -> Sequence[float]:
    """The arrival times in a trace: seconds from the start, one a line, or the first column of a CSV file.

    A first line without a digit in that column is a CSV header. Raises ValueError that names the line.
    """
    try:
        stat = Path(file).stat()
        return _arrival_times(file, stat.st_mtime_ns, stat.st_size)
    except OSError as problem:
        raise ValueError(f"cannot read the trace {file}: {problem.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"the trace {file} is no text in UTF-8") from None


@lru_cache(maxsize=1)  # settings are gathered several times in a process, and a trace may be long
def _arrival_times(file: str, _changed_ns: int, _size: int) -> array[float]:
    times_s = array("d")
    with Path(file).open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            text = line.partition(",")[0].strip().strip('"')
            if not line.strip() or (number == 1 and text and not re.search(r"[0-9]", text)):
                continue
            try:
                times_s.append(_arrival_time_s(text, times_s[-1] if times_s else 0.0))
            except ValueError as problem:
                raise ValueError(f"line {number} of the trace {file}: {problem}") from None
    if not times_s:
        raise ValueError(f"the trace {file} holds no arrival time; write one a line, in seconds")
    return times_s


def _arrival_time_s(text: str, before_s: float) -> float:
    try:
        time_s = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time; write seconds from the start") from None
    if not 0 <= time_s <= _LONGEST_TRACE_S:  # NaN too
        raise ValueError(f"{text} is no time in a test; write seconds from the start, from 0 to 100 days")
    if time_s < before_s:
        raise ValueError(f"{text} comes after {before_s:g}; sort the times, which must never fall")
    return time_s


def _is_token(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\x21-\x7e]*", value.get_secret_value()):
        raise ValueError(
            "it holds a blank, a line break or another character that no Authorization header can"
        )
    return value


def _holds_no_null(value: JsonValue) -> JsonValue:
    if value is None:
        raise ValueError("it holds null, which a settings file cannot")
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            _holds_no_null(one)
    return value


Seconds = Annotated[float, BeforeValidator(parse_duration_s), Field(gt=0, allow_inf_nan=False)]
SecondsFromZero = Annotated[float, BeforeValidator(parse_duration_s), Field(ge=0, allow_inf_nan=False)]
Token = Annotated[SecretStr, AfterValidator(_is_token)]
JsonObject = Annotated[dict[str, JsonValue], AfterValidator(_holds_no_null)]
Action = JsonObject


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Actions(_Strict):
    """The workflowAction objects that bring about what a scenario needs."""

    success: Action | None = None
    long: Action | None = None
    failure: Action | None = None
    cancelled: Action | None = None
    silent: Action | None = None
    quiet: Action | None = None
    #: an action whose tokens give back a text of its parameters, there written as ``{text}``
    echo: Action | None = None


class SecondPrincipal(_Strict):
    """Another organization, to show that keys are kept apart."""

    token: Token
    organization_id: str


class OtherRoute(_Strict):
    """A second endpoint with the same frames; `body` is merged into what is posted there."""

    path: str
    body: JsonObject = Field(default_factory=dict)


class TargetSettings(_Strict):
    """The server under test."""

    base_url: str | None = None
    path: str = "/agent/workflow-actions"
    organization_id: str = "org-1"
    token: Token | None = None
    verify_tls: bool = True
    ca_file: str | None = None
    #: "new": each stream of a load on a connection of its own; "reuse": on one that has answered before
    connections: Literal["new", "reuse"] = "new"
    conflict: Literal["any", "http-409", "event"] = "any"
    resume_start: Literal["any", "replay", "tail"] = "any"
    last_event_id: bool | None = None
    actions: Actions = Field(default_factory=Actions)
    second_principal: SecondPrincipal | None = None
    body: JsonObject = Field(default_factory=dict)
    other_route: OtherRoute | None = None

    @field_validator("base_url")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is not None and "@" in value:
            raise ValueError("a URL with a user name is not supported; the token is a setting of its own")
        if value is not None and not re.fullmatch(r"https?://[^/?#\s]+/*", value):
            raise ValueError(
                f"{value!r} is not of the form http[s]://host[:port]; the path is a setting of its own"
            )
        return value

    @field_validator("path")
    @classmethod
    def _is_path(cls, value: str) -> str:
        if not re.fullmatch(r"/[\x21-\x7e]*", value):
            raise ValueError(f"{value!r} does not begin with a slash, or holds blanks")
        return value


class BudgetSettings(_Strict):
    """How long things may take, in seconds."""

    first_event: Seconds = 10.0
    terminal_close: Seconds = 5.0
    heartbeat: Seconds = 15.0
    run: Seconds = 120.0


class JourneyWeights(_Strict):
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
            raise SettingsError(f"there is no journey {name!r}{_nearest(name, weights)}")
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


class LoadSettings(_Strict):
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
    def said(self) -> str:
        """What drives it, in a few words; nothing for a closed loop of the usual number of users."""
        rhythm = "Poisson arrivals, " if self.arrivals == "poisson" else ""
        if self.rate is not None:
            return f"{rhythm}{self.rate:g} runs/s"
        for name in _OPEN_LOOPS[1:]:
            if getattr(self, name) is not None:
                return f"{rhythm}{name} {getattr(self, name)}"
        return "" if self.users is None else f"{self.users} users"

    @classmethod
    def of_another_process(cls, plain: Mapping[str, Any]) -> Self:
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


def parse_share(value: Any) -> Any:
    """A share from a number or from ``"5%"``; raises ValueError otherwise."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*(%?)", value.strip())
    if match is None:
        raise ValueError(f"{value!r} is no share; write for example 5%")
    return float(match[1]) / (100 if match[2] else 1)


ShareOfIt = Annotated[float, BeforeValidator(parse_share), Field(gt=0, le=1, allow_inf_nan=False)]


class GateSettings(_Strict):
    """How results are compared with a baseline."""

    #: a difference in a latency below this share of the baseline's, or below so many ms, is not worth failing for
    smallest_effect: ShareOfIt = USUAL_EFFECTS.relative
    smallest_effect_ms: float = Field(USUAL_EFFECTS.ms, ge=0, allow_inf_nan=False)
    #: likewise of error_rate and goodput: half a percentage point
    smallest_effect_share: ShareOfIt = USUAL_EFFECTS.share
    #: whether the gate holds when it cannot tell of some metrics; that it can tell of none never passes
    inconclusive: Literal["pass", "fail"] = "pass"
    #: how often a check may be repeated while a comparison is inconclusive
    rerun_inconclusive: int = Field(0, ge=0)
    #: how many files a folder of baselines holds
    keep: int = Field(KEEP, ge=1)

    @property
    def terms(self) -> Terms:
        """What the gate is told."""
        effects = Effects(self.smallest_effect, self.smallest_effect_ms, self.smallest_effect_share)
        return Terms(effects, self.rerun_inconclusive + 1, self.inconclusive == "fail")


class ExportSettings(_Strict):
    """Where numbers go while a load goes on."""

    #: base URL of an OpenTelemetry collector that takes OTLP over HTTP
    otlp_endpoint: str | None = None

    @field_validator("otlp_endpoint")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^/?#@\s]+(/[^?#@\s]*)?", value):
            raise ValueError(
                f"{value!r} is not of the form http[s]://host:port; write for example http://localhost:4318, "
                f"and put secrets into OTEL_EXPORTER_OTLP_HEADERS"
            )
        return value


class Settings(BaseSettings):
    """Everything a test is told."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    target: TargetSettings = Field(default_factory=TargetSettings)
    budgets: BudgetSettings = Field(default_factory=BudgetSettings)
    load: LoadSettings = Field(default_factory=LoadSettings)
    objectives: dict[str, float] = Field(default_factory=lambda: {"error_rate": 0.001, "violations": 0.0})

    gate: GateSettings = Field(default_factory=GateSettings)
    export: ExportSettings = Field(default_factory=ExportSettings)

    @field_validator("objectives", mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        return limits_of(value) if isinstance(value, Mapping) else value

    @property
    def expectations(self) -> Expectations:
        """What judges are told of the target."""
        return Expectations(
            budgets=Budgets(
                first_event_s=self.budgets.first_event,
                terminal_close_s=self.budgets.terminal_close,
                heartbeat_s=self.budgets.heartbeat,
                run_s=self.budgets.run,
            ),
            conflict=self.target.conflict,
            resume_start=self.target.resume_start,
            last_event_id=self.target.last_event_id,
        )

    def document(self) -> dict[str, Any]:
        """The settings as plain values, secrets masked: for results and reports."""
        document: dict[str, Any] = self.model_dump(mode="json", exclude_none=True)
        return document

    def secrets(self) -> tuple[str, ...]:
        """Texts that must stand in no evidence."""
        second = self.target.second_principal
        found = (self.target.token, second.token if second else None)
        return tuple(secret.get_secret_value() for secret in found if secret and secret.get_secret_value())

    def write_private(self, path: Path) -> None:
        """Write the settings, secrets and all, to a file that only its owner can read."""
        plain = _revealed(self.model_dump(exclude_none=True))
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, 0o600)  # the file may have been there
            file.truncate()
            file.write(tomlkit.dumps(plain))


def read_token(path: Path) -> str:
    """The token in a file. Raises SettingsError."""
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as problem:
        raise SettingsError(f"cannot read the token file {path}: {problem}") from None
    if not token:
        raise SettingsError(f"the token file {path} is empty")
    return token


def _revealed(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Mapping):
        return {key: _revealed(one) for key, one in value.items()}
    return value


def load_settings(config: Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """Gather the settings.

    config: the file; None looks at HARNESS_CONFIG, then for harness.toml and pyproject.toml here.
    flags: nested values that win over all. Where no action is configured, the target is taken to be the
    embedded server, whose settings then are the defaults. Raises SettingsError.
    """
    file_values, origin = _read_file(config)
    _refuse_unknown_variables()
    settings = _gather(file_values, origin, flags or {}, {})
    if settings.target.actions == Actions():
        return _gather(file_values, origin, flags or {}, demo_config(settings.target.base_url))
    return settings


def _gather(
    file_values: Mapping[str, Any], origin: str, flags: Mapping[str, Any], defaults: Mapping[str, Any]
) -> Settings:

    class Loaded(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the library's signature
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (
                init_settings,
                env_settings,
                InitSettingsSource(settings_cls, dict(file_values)),
                InitSettingsSource(settings_cls, dict(defaults)),
            )

    try:
        return Loaded(**dict(flags))
    except ValidationError as problem:
        raise SettingsError(_sentence(problem, origin)) from None
    except UnreadableVariable as problem:
        field = next((one for one in Settings.model_fields if f'"{one}"' in str(problem)), "")
        raise SettingsError(
            f"an environment variable {ENV_PREFIX}{field.upper()}… is not valid JSON: {problem.__cause__}"
        ) from None


def _read_file(config: Path | None) -> tuple[dict[str, Any], str]:
    if config is None and os.environ.get(CONFIG_VARIABLE):
        config = Path(os.environ[CONFIG_VARIABLE])
    if config is not None:
        return _parse(config), str(config)
    if Path(CONFIG_FILE).is_file():
        return _parse(Path(CONFIG_FILE)), CONFIG_FILE
    project = Path("pyproject.toml")
    if project.is_file():
        table = _parse(project).get("tool", {}).get("harness")
        if isinstance(table, dict):
            return table, "pyproject.toml [tool.harness]"
        if table is not None:
            raise SettingsError("[tool.harness] in pyproject.toml is no table; write the settings under it")
    return {}, "the settings"


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise SettingsError(f"cannot read the settings file {path}: {problem.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise SettingsError(f"the settings file {path} is not valid TOML: {problem}") from None


def _refuse_unknown_variables() -> None:
    for name in os.environ:
        if not name.startswith(ENV_PREFIX) or name == CONFIG_VARIABLE:
            continue
        first = name.removeprefix(ENV_PREFIX).partition("__")[0].lower()
        if first not in Settings.model_fields:
            hint = _nearest(first, Settings.model_fields)
            raise SettingsError(f"the environment variable {name} sets no known setting{hint}")


def _nearest(key: str, known: Mapping[str, Any]) -> str:
    near = get_close_matches(key, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known here: {', '.join(known)}"


def _sentence(problem: ValidationError, origin: str) -> str:
    errors = problem.errors(include_url=False)
    first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        *parents, key = (str(part) for part in first["loc"])
        variable = ENV_PREFIX + "__".join([*parents, key]).upper()
        where = f"the environment variable {variable}" if variable in os.environ else origin
        return f"unknown setting {place!r} in {where}{_nearest(key, _fields_at(parents))}"
    message, *picture = first["msg"].removeprefix("Value error, ").splitlines()
    where = f"setting {place!r}: " if place else ""
    return "\n".join([f"{where}{message} (from flags, {ENV_PREFIX}* or {origin})", *picture])


def _fields_at(path: list[str]) -> Mapping[str, Any]:
    model: Any = Settings
    for part in path:
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        model = next(one for one in candidates if isinstance(one, type) and issubclass(one, BaseModel))
    fields: Mapping[str, Any] = model.model_fields
    return fields
