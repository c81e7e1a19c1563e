"""The settings that can be chosen in the start form of Locust's page, each a command line option as well.

Locust makes a field of the form from an option of its parser, and an option's value from the field. All of
them are texts here, as a settings file has them, and empty for nothing; what they mean is for the settings to
say, so a mistake is found by the same rules and said in the same words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from harness.config.load_settings import LoadSettings, parse_journeys
from harness.config.settings import Settings
from harness.errors import SettingsError
from harness.gate.expressions import EXPRESSIONS, limits_of
from harness.gate.objective import parse_objectives

UNTIL_STOPPED_S = 86_400.0
"""The duration, a day, in the settings of a closed loop that only somebody's click ends."""

_KEPT = ("processes", "spawn_rate", "keep_runs")  # load settings that the form does not have
_NOT_A_TEXT = ("float_parsing", "int_parsing")


@dataclass(frozen=True, slots=True)
class FormField:
    """One field. name: in the form, and of the option's value. setting: its name in the load settings."""

    name: str
    option: str
    help: str
    setting: str
    shown: Callable[[LoadSettings], str]
    choices: tuple[str, ...] | None = None

    @property
    def label(self) -> str:
        """What the page calls it."""
        return self.name.replace("_", " ").capitalize()


def _plain(setting: str) -> Callable[[LoadSettings], str]:
    def shown(load: LoadSettings) -> str:
        value = getattr(load, setting)
        return "" if value is None else f"{value:.12g}" if isinstance(value, float) else str(value)

    return shown


def _if_given(setting: str) -> Callable[[LoadSettings], str]:
    """Of what is otherwise drawn, or follows from other fields."""
    return lambda load: _plain(setting)(load) if setting in load.model_fields_set else ""


def _open_loops_duration(load: LoadSettings) -> str:
    return f"{load.duration:.12g}s" if load.is_open and "duration" in load.model_fields_set else ""


def _weights(load: LoadSettings) -> str:
    return " ".join(f"{name}={weight}" for name, weight in load.journeys.model_dump().items() if weight)


JOURNEYS = FormField(
    "journeys",
    "--harness-journeys",
    "weights, as fresh=7 resume=3; what is not named is not travelled",
    "journeys",
    _weights,
)
WARM_UP = FormField(
    "warm_up",
    "--harness-warmup",
    "how much of the beginning is left out, as 10s",
    "warmup",
    lambda load: f"{load.warmup:.12g}s" if load.warmup else "",
)
_OPEN_LOOP = (
    FormField(
        "open_loop_rate",
        "--harness-rate",
        "runs begun per second; leave all of open loop empty for a closed loop of users",
        "rate",
        _plain("rate"),
    ),
    FormField("open_loop_ramp", "--harness-ramp", "FROM:TO:OVER, as 1:100:60s", "ramp", _plain("ramp")),
    FormField(
        "open_loop_steps", "--harness-steps", "RATE:FOR,RATE:FOR, as 10:30s,20:30s", "steps", _plain("steps")
    ),
    FormField(
        "open_loop_spike", "--harness-spike", "BASE:PEAK:AT:FOR, as 10:100:20s:5s", "spike", _plain("spike")
    ),
    FormField(
        "open_loop_trace", "--harness-trace", "file of arrival times, one a line", "trace", _plain("trace")
    ),
    FormField(
        "open_loop_arrivals",
        "--harness-arrivals",
        "gaps all alike, or random",
        "arrivals",
        _plain("arrivals"),
        ("constant", "poisson"),
    ),
    FormField(
        "open_loop_duration",
        "--harness-duration",
        "how long arrivals begin, as 5m",
        "duration",
        _open_loops_duration,
    ),
    FormField(
        "open_loop_max_in_flight",
        "--harness-max-in-flight",
        "drop arrivals beyond so many",
        "max_in_flight",
        _plain("max_in_flight"),
    ),
    FormField(
        "open_loop_seed",
        "--harness-seed",
        "repeats the schedule of that seed",
        "seed",
        _if_given("seed"),
    ),
)
_OBJECTIVES = "objectives"


class LoadForm:
    """The form as a settings file fills it in.

    drives: whether the load settings rule what users do, as they do with the shipped locustfile; users of
    one's own have their tasks, so then only warm-up and objectives are asked for.
    """

    def __init__(self, settings: Settings, *, drives: bool) -> None:
        self._drives = drives
        self.fields = (JOURNEYS, WARM_UP, *_OPEN_LOOP) if drives else (WARM_UP,)
        objectives = parse_objectives(settings.objectives)
        self.filled = {
            **{field.name: field.shown(settings.load) for field in self.fields},
            _OBJECTIVES: "; ".join(one.expression for one in objectives),
        }

    def add_to(self, parser: Any) -> None:
        """Declare the options on Locust's parser."""
        for field in self.fields:
            parser.add_argument(
                field.option,
                dest=field.name,
                default=self.filled[field.name],
                choices=list(field.choices) if field.choices else None,
                help=field.help,
                metavar=None if field.choices else "TEXT",
            )
        parser.add_argument(
            "--harness-objectives",
            dest=_OBJECTIVES,
            default=self.filled[_OBJECTIVES],
            help="what has to hold, as ttft_p95_ms < 800; violations == 0",
            metavar="TEXT",
        )

    def values(self, options: Mapping[str, Any]) -> dict[str, str]:
        """Its fields among Locust's options, or a posted form; what is missing there, as it was filled in."""
        return {
            name: str(options.get(name, filled) or "").strip() or _nothing(name)
            for name, filled in self.filled.items()
        }

    def settings(
        self,
        settings: Settings,
        values: Mapping[str, str],
        *,
        users: int | None = None,
        run_time_s: float | None = None,
    ) -> Settings:
        """The settings with what the form says in the place of their own.

        users, run_time_s: what Locust's fields say of a closed loop. Raises SettingsError, a sentence.
        """
        load = self._load(settings.load, values, users, run_time_s)
        return settings.model_copy(update={"load": load, "objectives": _objectives(values[_OBJECTIVES])})

    def _load(
        self, before: LoadSettings, values: Mapping[str, str], users: int | None, run_time_s: float | None
    ) -> LoadSettings:
        kept = before.model_dump(include=None if not self._drives else set(_KEPT), exclude_none=True)
        plain: dict[str, Any] = {**kept}
        for field in self.fields:
            plain.pop(field.setting, None)
            if values[field.name]:
                plain[field.setting] = values[field.name]
        if self._drives:
            plain["journeys"] = parse_journeys(values[JOURNEYS.name].replace(",", " ").split())
        if not any(plain.get(field.setting) for field in _OPEN_LOOP[:5]):
            if self._drives and "duration" in plain:
                raise SettingsError(
                    "Open loop duration is of an open loop; give a closed one a Run time, under Advanced options"
                )
            plain |= {"users": users or before.users, "duration": run_time_s or UNTIL_STOPPED_S}
        try:
            return LoadSettings.model_validate(plain)
        except ValidationError as problem:
            raise SettingsError(_sentence(problem, self.fields, values)) from None


def _nothing(name: str) -> str:
    """What an empty field stands for, where it is not nothing."""
    return "constant" if name == "open_loop_arrivals" else ""


def _objectives(text: str) -> dict[str, float]:
    try:
        return limits_of({EXPRESSIONS: [one for one in text.split(";") if one.strip()]})
    except ValueError as problem:
        raise SettingsError(str(problem).partition("\n")[0]) from None


def _sentence(problem: ValidationError, fields: Iterable[FormField], values: Mapping[str, str]) -> str:
    first = problem.errors(include_url=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    place = first["loc"][0] if first["loc"] else ""
    for field in fields:
        if field.setting == place:
            if first["type"] in _NOT_A_TEXT:
                message = f"{values[field.name]!r} is no number"
            return f"{field.label}: {message[:1].lower()}{message[1:]} ({field.help})"
    return message
