"""Settings of a test: flags over ``HARNESS_*`` variables over ``harness.toml`` over defaults.

The file is ``harness.toml``, or ``[tool.harness]`` in ``pyproject.toml``, in the working directory, unless
one is named. A key that nobody knows is an error, because a misspelt limit that is silently ignored
would make a test green that is not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import tomlkit
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    JsonValue,
    SecretStr,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from harness.config.load_settings import LoadSettings
from harness.config.parsing import Seconds, StrictModel, parse_share
from harness.contract.expectations import Budgets, Expectations
from harness.gate.baseline_store import KEEP
from harness.gate.comparison import USUAL_EFFECTS, Effects
from harness.gate.expressions import limits_of
from harness.gate.report import ComparisonTerms

ENV_PREFIX = "HARNESS_"
CONFIG_VARIABLE = "HARNESS_CONFIG"
CONFIG_FILE = "harness.toml"


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


Token = Annotated[SecretStr, AfterValidator(_is_token)]
JsonObject = Annotated[dict[str, JsonValue], AfterValidator(_holds_no_null)]
Action = JsonObject


class Actions(StrictModel):
    """The workflowAction objects that bring about what a scenario needs."""

    success: Action | None = None
    long: Action | None = None
    failure: Action | None = None
    cancelled: Action | None = None
    silent: Action | None = None
    quiet: Action | None = None
    #: an action whose tokens give back a text of its parameters, there written as ``{text}``
    echo: Action | None = None


class SecondPrincipal(StrictModel):
    """Another organization, to show that keys are kept apart."""

    token: Token
    organization_id: str


class OtherRoute(StrictModel):
    """A second endpoint with the same frames; `body` is merged into what is posted there."""

    path: str
    body: JsonObject = Field(default_factory=dict)


class TargetSettings(StrictModel):
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


class BudgetSettings(StrictModel):
    """How long things may take, in seconds."""

    first_event: Seconds = 10.0
    terminal_close: Seconds = 5.0
    heartbeat: Seconds = 15.0
    run: Seconds = 120.0


ShareOfIt = Annotated[float, BeforeValidator(parse_share), Field(gt=0, le=1, allow_inf_nan=False)]


class GateSettings(StrictModel):
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
    def terms(self) -> ComparisonTerms:
        """What the gate is told."""
        effects = Effects(self.smallest_effect, self.smallest_effect_ms, self.smallest_effect_share)
        return ComparisonTerms(effects, self.rerun_inconclusive + 1, self.inconclusive == "fail")


class ExportSettings(StrictModel):
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


def _revealed(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Mapping):
        return {key: _revealed(one) for key, one in value.items()}
    return value
