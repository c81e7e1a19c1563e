"""Settings of a test: flags over ``HARNESS_*`` variables over ``harness.toml`` over defaults.

The file is ``harness.toml``, or ``[tool.harness]`` in ``pyproject.toml``, in the working directory, unless
one is named. A key that nobody knows is an error, because a misspelt limit that is silently ignored
would make a test green that is not.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
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
from harness.gate.objectives import Objective
from harness.reference.settings import demo_config

ENV_PREFIX = "HARNESS_"
CONFIG_VARIABLE = "HARNESS_CONFIG"
CONFIG_FILE = "harness.toml"

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h)?")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


class SettingsError(ValueError):
    """A setting is wrong; the text is one sentence that says which, where, and what to do."""


def parse_duration_s(value: Any) -> Any:
    """Seconds from a number or from ``"90"``, ``"90s"``, ``"5m"``, ``"1h"``; raises ValueError otherwise."""
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"{value!r} is no duration; write seconds, or a number with ms, s, m or h")
    return float(match[1]) * _UNIT_S[match[2]]


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
    """How often users set out on each journey, as relative weights."""

    fresh: int = Field(60, ge=0)
    replay: int = Field(10, ge=0)
    resume: int = Field(20, ge=0)
    conflict: int = Field(10, ge=0)

    @model_validator(mode="after")
    def _not_all_zero(self) -> Self:
        if not any(self.model_dump().values()):
            raise ValueError("every weight is 0, so there is no journey to take")
        return self


class LoadSettings(_Strict):
    """How the load is driven: `users` in a closed loop, or `rate` arrivals per second in an open one."""

    users: int | None = Field(None, ge=1)
    rate: float | None = Field(None, gt=0, allow_inf_nan=False)
    duration: Seconds = 20.0
    spawn_rate: float | None = Field(None, gt=0, allow_inf_nan=False)
    processes: int = Field(1, ge=1)
    journeys: JourneyWeights = Field(default_factory=JourneyWeights)

    @model_validator(mode="after")
    def _one_loop(self) -> Self:
        if self.users is not None and self.rate is not None:
            raise ValueError("users (closed loop) and rate (open loop) exclude each other; give one")
        return self


class Settings(BaseSettings):
    """Everything a test is told."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    target: TargetSettings = Field(default_factory=TargetSettings)
    budgets: BudgetSettings = Field(default_factory=BudgetSettings)
    load: LoadSettings = Field(default_factory=LoadSettings)
    objectives: dict[str, float] = Field(default_factory=lambda: {"error_rate": 0.001, "violations": 0.0})

    @field_validator("objectives")
    @classmethod
    def _known(cls, value: dict[str, float]) -> dict[str, float]:
        for key, limit in value.items():
            Objective.parse(key, limit)
        return value

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
    message = first["msg"].removeprefix("Value error, ")
    where = f"setting {place!r}: " if place else ""
    return f"{where}{message} (from flags, {ENV_PREFIX}* or {origin})"


def _fields_at(path: list[str]) -> Mapping[str, Any]:
    model: Any = Settings
    for part in path:
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        model = next(one for one in candidates if isinstance(one, type) and issubclass(one, BaseModel))
    fields: Mapping[str, Any] = model.model_fields
    return fields
