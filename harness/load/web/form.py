"""Load settings as fields of Locust's start form, which are command-line options too.

Locust derives form fields from its parser's options. Here every value is text, as in a settings file, and empty for
"not set". LoadSettings parses and validates it, so a mistake gives the same message as in a settings file.
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
"""The duration, a day, in the settings of a closed loop that runs until it is stopped on the page."""

TRACE = "open_loop_trace"
"""The field of a file name. The page only offers the file that the settings or the command line name."""

_KEPT = (
    "processes",
    "spawn_rate",
    "keep_streams",
    "traceparent",
    "restart_at",
)  # load settings that the form does not have
_NOT_A_NUMBER = ("float_parsing", "int_parsing")


@dataclass(frozen=True, slots=True)
class FormField:
    """One form field and option, called `name`. setting: its name in LoadSettings. to_text: its value as text.

    on_page: whether Locust's page shows the option as it is.
    """

    name: str
    option: str
    help: str
    setting: str
    to_text: Callable[[LoadSettings], str]
    choices: tuple[str, ...] | None = None
    on_page: bool = True

    @property
    def label(self) -> str:
        """The field's label on the page."""
        return self.name.replace("_", " ").capitalize()


def _plain(setting: str) -> Callable[[LoadSettings], str]:
    def to_text(load: LoadSettings) -> str:
        value = getattr(load, setting)
        return "" if value is None else f"{value:.12g}" if isinstance(value, float) else str(value)

    return to_text


def _if_set(setting: str) -> Callable[[LoadSettings], str]:
    """For a setting whose default is random or derived from others."""
    return lambda load: _plain(setting)(load) if setting in load.model_fields_set else ""


def _open_loop_duration(load: LoadSettings) -> str:
    return f"{load.duration:.12g}s" if load.is_open and "duration" in load.model_fields_set else ""


def _weights(load: LoadSettings) -> str:
    return " ".join(f"{name}={weight}" for name, weight in load.journeys.model_dump().items() if weight)


JOURNEYS = FormField(
    "journeys",
    "--harness-journeys",
    "weights, for example fresh=7 resume=3; journeys without a weight do not run",
    "journeys",
    _weights,
)
WARM_UP = FormField(
    "warm_up",
    "--harness-warmup",
    "time at the start that is left out of metrics and rates, for example 10s",
    "warmup",
    lambda load: f"{load.warmup:.12g}s" if load.warmup else "",
)
ABORT_ON = FormField(
    "abort_on",
    "--harness-abort-on",
    "conditions that end the load, for example error_rate > 20% for 10s; violations > 100 for 30s",
    "abort_on",
    lambda load: "; ".join(load.abort_on),
)
_OPEN_LOOP = (
    FormField(
        "open_loop_rate",
        "--harness-rate",
        "runs started per second; leave all open loop fields empty for a closed loop",
        "rate",
        _plain("rate"),
    ),
    FormField(
        "open_loop_ramp", "--harness-ramp", "FROM:TO:OVER, for example 1:100:60s", "ramp", _plain("ramp")
    ),
    FormField(
        "open_loop_steps",
        "--harness-steps",
        "RATE:FOR,RATE:FOR, for example 10:30s,20:30s",
        "steps",
        _plain("steps"),
    ),
    FormField(
        "open_loop_spike",
        "--harness-spike",
        "BASE:PEAK:AT:FOR, for example 10:100:20s:5s",
        "spike",
        _plain("spike"),
    ),
    FormField(
        TRACE,
        "--harness-trace",
        "file of arrival times, one per line; on the page, the file of the command line or none",
        "trace",
        _plain("trace"),
        on_page=False,
    ),
    FormField(
        "open_loop_arrivals",
        "--harness-arrivals",
        "constant or random (Poisson) gaps",
        "arrivals",
        _plain("arrivals"),
        ("constant", "poisson"),
    ),
    FormField(
        "open_loop_duration",
        "--harness-duration",
        "how long arrivals start, for example 5m",
        "duration",
        _open_loop_duration,
    ),
    FormField(
        "open_loop_max_in_flight",
        "--harness-max-in-flight",
        "drop arrivals while this many streams are in flight",
        "max_in_flight",
        _plain("max_in_flight"),
    ),
    FormField(
        "open_loop_seed",
        "--harness-seed",
        "repeats the schedule with this seed",
        "seed",
        _if_set("seed"),
    ),
)
_OBJECTIVES = "objectives"


class LoadForm:
    """The start form, filled in from the settings.

    has_load_fields: whether the users follow the load settings, as with the shipped locustfile. Users with their own
    tasks do not, so the form has only warm-up and objectives. defaults: the initial text of each field.
    """

    def __init__(self, settings: Settings, *, has_load_fields: bool) -> None:
        self._has_load_fields = has_load_fields
        self.fields = (JOURNEYS, WARM_UP, ABORT_ON, *_OPEN_LOOP) if has_load_fields else (WARM_UP, ABORT_ON)
        objectives = parse_objectives(settings.objectives)
        self.defaults = {
            **{field.name: field.to_text(settings.load) for field in self.fields},
            _OBJECTIVES: "; ".join(objective.expression for objective in objectives),
        }

    def add_to(self, parser: Any) -> None:
        """Declare the options on Locust's parser."""
        for field in self.fields:
            parser.add_argument(
                field.option,
                dest=field.name,
                default=self.defaults[field.name],
                choices=list(field.choices) if field.choices else None,
                help=field.help,
                metavar=None if field.choices else "TEXT",
                include_in_web_ui=field.on_page,
            )
        parser.add_argument(
            "--harness-objectives",
            dest=_OBJECTIVES,
            default=self.defaults[_OBJECTIVES],
            help="for example ttft_p95_ms < 800; violations == 0",
            metavar="TEXT",
        )

    def values(self, options: Mapping[str, Any]) -> dict[str, str]:
        """The fields from Locust's options or a posted form; defaults for missing fields."""
        return {
            name: str(options.get(name, default) or "").strip() or _empty_value(name)
            for name, default in self.defaults.items()
        }

    def settings(
        self,
        settings: Settings,
        values: Mapping[str, str],
        *,
        users: int | None = None,
        run_time_s: float | None = None,
    ) -> Settings:
        """The settings, overridden by the form's values.

        users, run_time_s: Locust's own fields, for a closed loop. Raises SettingsError with one sentence.
        """
        load = self._load(settings.load, values, users, run_time_s)
        return settings.model_copy(update={"load": load, "objectives": _objectives(values[_OBJECTIVES])})

    def _load(
        self, before: LoadSettings, values: Mapping[str, str], users: int | None, run_time_s: float | None
    ) -> LoadSettings:
        plain = before.to_message()
        if self._has_load_fields:
            plain = {name: value for name, value in plain.items() if name in _KEPT}
        for field in self.fields:
            plain.pop(field.setting, None)
            if values[field.name]:
                plain[field.setting] = values[field.name]
        if self._has_load_fields:
            plain["journeys"] = parse_journeys(values[JOURNEYS.name].replace(",", " ").split())
        if not any(plain.get(field.setting) for field in _OPEN_LOOP[:5]):
            if self._has_load_fields and "duration" in plain:
                raise SettingsError(
                    "Open loop duration applies to an open loop; for a closed loop set Run time under Advanced options"
                )
            plain |= {"users": users or before.users, "duration": run_time_s or UNTIL_STOPPED_S}
        try:
            return LoadSettings.model_validate(plain)
        except ValidationError as problem:
            raise SettingsError(_message(problem, self.fields, values)) from None


def _empty_value(name: str) -> str:
    """The value of an empty field."""
    return "constant" if name == "open_loop_arrivals" else ""


def _objectives(text: str) -> dict[str, float]:
    try:
        return limits_of({EXPRESSIONS: [expression for expression in text.split(";") if expression.strip()]})
    except ValueError as problem:
        raise SettingsError(str(problem).partition("\n")[0]) from None


def _message(problem: ValidationError, fields: Iterable[FormField], values: Mapping[str, str]) -> str:
    first = problem.errors(include_url=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    setting = first["loc"][0] if first["loc"] else ""
    for field in fields:
        if field.setting == setting:
            if first["type"] in _NOT_A_NUMBER:
                message = f"{values[field.name]!r} is not a number"
            return f"{field.label}: {message[:1].lower()}{message[1:]} ({field.help})"
    return message
