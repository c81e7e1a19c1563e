"""The settings of a test.

An unknown key is an error: a misspelt limit that is silently ignored would let a test pass.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomlkit
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    JsonValue,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from harness.booleans import NumbersAreNotBooleans
from harness.config.export_settings import ExportSettings
from harness.config.journey_settings import JourneySettings
from harness.config.load_settings import LoadSettings
from harness.config.parsing import (
    Seconds,
    StrictModel,
    base_url,
    masked_address,
    parse_share,
    secret_parameters,
)
from harness.config.report_settings import ReportSettings
from harness.config.scrape_settings import ScrapeSettings
from harness.contract.decoding.limits import MAX_RESPONSE_BYTES, MIB
from harness.contract.decoding.memory import DEFAULT_TOTAL_BYTES, KEPT_EVENTS, MemoryBudget
from harness.contract.evidence.redaction import Redactor
from harness.contract.expectations import Budgets, Expectations
from harness.gate.baseline_store import KEEP
from harness.gate.equivalence import USUAL_EFFECTS, Effects
from harness.gate.expressions import limits_of
from harness.gate.report import ComparisonTerms
from harness.profiles import library
from harness.profiles.capability import Capability
from harness.profiles.profile import Profile
from harness.profiles.workflow_actions.request import PREVIOUS_OUTPUT
from harness.protocol.request import FIELD_NAME

ENV_PREFIX = "HARNESS_"
CONFIG_VARIABLE = "HARNESS_CONFIG"
CONFIG_FILE = "harness.toml"
PASSWORD_VARIABLE = "HARNESS_WEB_PASSWORD"  # noqa: S105 - the name of the variable
"""The password of the web page's login. It is not a setting: results contain the settings."""


def _is_header_value(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\x21-\x7e]*", value.get_secret_value()):
        raise ValueError(
            "it contains a blank, a line break or another character that an Authorization header cannot contain"
        )
    return value


def _is_json_without_null(value: JsonValue) -> JsonValue:
    if value is None:
        raise ValueError("it contains null, which a settings file cannot contain")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"it contains {value}, which JSON cannot contain")
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _is_json_without_null(item)
    return value


def _previous_output() -> dict[str, JsonValue]:
    return dict(PREVIOUS_OUTPUT)


Token = Annotated[SecretStr, AfterValidator(_is_header_value)]
JsonObject = Annotated[dict[str, JsonValue], AfterValidator(_is_json_without_null)]
Action = JsonObject | Annotated[str, Field(min_length=1)]
_SECRET_HEADER = re.compile(r"auth|key|token|secret|cookie|password|credential|signature", re.IGNORECASE)


def _are_header_fields(fields: dict[str, SecretStr]) -> dict[str, SecretStr]:
    for name, value in fields.items():
        if not FIELD_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a header field")
        if not re.fullmatch(r"[\t\x20-\x7e]*", value.get_secret_value()):
            what = "a line break or another control character"
            if not value.get_secret_value().isascii():
                what = "a character that is not ASCII"
            raise ValueError(f"the value of {name} contains {what}")
    return fields


class Actions(StrictModel):
    """What causes the situations that scenarios need: a workflowAction object, or a prompt."""

    #: ends with done
    success: Action | None = None
    #: streams for a second or more, to be cut, resumed and joined
    long: Action | None = None
    #: ends with error
    failure: Action | None = None
    #: ends with cancelled
    cancelled: Action | None = None
    #: ends with done, without any token
    silent: Action | None = None
    #: pauses for longer than budgets.heartbeat
    quiet: Action | None = None
    #: returns the text of a parameter, which is written there as "{text}"
    echo: Action | None = None
    #: returns the outputs of earlier steps that the request has, unchanged and in their order
    recall: Action | None = None


class SecondPrincipal(StrictModel):
    """A second organization, to test that idempotency keys are scoped to organizations."""

    #: the bearer token of a user of the second organization
    token: Token
    #: its organization
    organization_id: str


class OtherRoute(StrictModel):
    """A second endpoint with the same frames. `body` is merged into the request body."""

    #: the path of the second endpoint
    path: str
    #: merged into the body of requests to it
    body: JsonObject = Field(default_factory=dict)


class CancelSettings(StrictModel):
    """How a run is cancelled, where the profile does not say it or the server differs from it: one of both."""

    #: the path of the request that cancels a run, for example "/agent/runs/${run_id}/cancel"
    path: str | None = None
    #: the method of that request
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    #: its body, as JSON; it may have ${run_id} too
    body: JsonObject | None = None
    #: true if a reader that disconnects cancels the run
    disconnect: bool = False

    @property
    def part(self) -> dict[str, Any]:
        """The same as a part of a profile."""
        if self.path is None:
            return {"disconnect": self.disconnect}
        body = {} if self.body is None else {"json": self.body}
        return {"method": self.method, "path": self.path, "disconnect": self.disconnect, **body}


def _default_path(target: Mapping[str, Any]) -> str:
    """The path of the profile's runs."""
    return library.load(target["profile"]).run.path if "profile" in target else ""


def _default_resume_start(target: Mapping[str, Any]) -> Literal["any", "replay", "tail"]:
    """A separate request for resumption is documented to start with the first event."""
    profile = library.load(target["profile"]) if "profile" in target else library.default_profile()
    return "replay" if profile.resumes_by_own_request and profile.idempotency is None else "any"


def _default_last_event_id(target: Mapping[str, Any]) -> bool | None:
    """Where resumption after an event has a separate request, it is documented what that returns."""
    profile = library.load(target["profile"]) if "profile" in target else library.default_profile()
    by_own_request = profile.resumes_by_own_request and Capability.RESUME_AFTER_ID in profile.capabilities
    return True if by_own_request else None


class TargetSettings(StrictModel):
    """The server under test."""

    #: scheme, host and port of the server, for example https://agent.example.com
    base_url: str | None = None
    #: the addresses of at least two replicas of the server, to test that they share their runs; the first is the
    #: base_url if none is set
    replicas: list[str] = Field(default_factory=list, max_length=100)
    #: whether the server is yours alone, so that a test may restart it
    own: bool = False
    #: the shell command that restarts the server, for example "docker compose restart api": at the end of the suite,
    #: and at load.restart_at
    restart_command: str | None = Field(None, min_length=1, pattern=r"^[^\x00]*$")
    #: the API: the name of a profile (harness profile list), or the path of your own, for example "./mine.toml"
    profile: str = library.DEFAULT
    #: values of the profile's variables, for example { model = "gpt-5-nano" }
    variables: JsonObject = Field(default_factory=dict)
    #: header fields to send with every request, for example { x-api-key = "…" }; secret ones are masked
    headers: Annotated[dict[str, SecretStr], AfterValidator(_are_header_fields)] = Field(default_factory=dict)
    #: whether each request of the suite has a traceparent field with a new trace id, which its evidence shows
    trace_suite: bool = False
    #: the path of the endpoint; by default the profile's. Other requests that the profile sends there follow it
    path: str = Field(default_factory=_default_path)
    #: the organization that the token belongs to; sent with each request
    organization_id: str | None = None
    #: the bearer token; without one no Authorization field is sent
    token: Token | None = None
    #: whether the server's certificate must be valid
    verify_tls: bool = True
    #: a file with the certificates of the authorities to trust, in place of the system's
    ca_file: str | None = None
    #: of a load: "new" opens a connection per stream, "reuse" keeps connections alive
    connections: Literal["new", "reuse"] = "new"
    #: the form of a rejection with 409; the suite checks the server against a declared form
    conflict: Literal["any", "http-409", "event"] = "any"
    #: where a stream resumed without Last-Event-ID starts; checked if declared. By default as the profile says
    resume_start: Literal["any", "replay", "tail"] = Field(default_factory=_default_resume_start)
    #: whether the server sends the events after Last-Event-ID; true makes that a MUST. By default as the profile says
    last_event_id: bool | None = Field(default_factory=_default_last_event_id)
    #: for how long a key works after the end of its run, for example "24h"; the suite waits for it, 60 s at most
    key_retention: Seconds | None = None
    #: the actions that cause the situations to test
    actions: Actions = Field(default_factory=Actions)
    #: how a run is cancelled; by default as the profile says
    cancel: CancelSettings | None = None
    #: a user of a different organization, to test that keys are isolated
    second_principal: SecondPrincipal | None = None
    #: an entry of previousOutputs, with "{text}" where the output of an earlier step belongs
    previous_output: JsonObject = Field(default_factory=_previous_output)
    #: fields merged into every request body
    body: JsonObject = Field(default_factory=dict)
    #: a second endpoint with the same frames
    other_route: OtherRoute | None = None

    @property
    def api(self) -> Profile:
        """The target's profile, with what these settings declare. Raises SettingsError."""
        profile = library.load(self.profile)
        if self.cancel is None:
            return profile
        return library.with_cancellation(profile, self.cancel.part, "target.cancel")

    @model_validator(mode="before")
    @classmethod
    def _first_replica(cls, values: Any) -> Any:
        """Without a base_url, it is the first replica's."""
        if not isinstance(values, Mapping) or values.get("base_url") is not None:
            return values
        replicas = values.get("replicas")
        return {**values, "base_url": replicas[0]} if isinstance(replicas, list) and replicas else values

    @field_validator("base_url")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        return None if value is None else base_url(value)

    @model_validator(mode="after")
    def _may_be_restarted(self) -> Self:
        if self.restart_command is not None and not self.own:
            raise ValueError(
                "restart_command restarts the server, and own = true is missing: set it if the server is yours alone"
            )
        return self

    @field_validator("replicas")
    @classmethod
    def _are_replicas(cls, values: list[str]) -> list[str]:
        distinct = {base_url(value).rstrip("/") for value in values}
        if values and len(distinct) < max(2, len(values)):
            raise ValueError("at least two replicas are needed, each with a separate address")
        return values

    @field_validator("path")
    @classmethod
    def _is_path(cls, value: str) -> str:
        if not re.fullmatch(r"/[\x21-\x7e]*", value):
            raise ValueError(f"{masked_address(value)} does not start with a slash, or contains blanks")
        return value


class BudgetSettings(StrictModel):
    """Time limits, in seconds."""

    #: from the request to the first event
    first_event: Seconds = 10.0
    #: from the terminal event to the end of the stream
    terminal_close: Seconds = 5.0
    #: the longest silence in a stream
    heartbeat: Seconds = 15.0
    #: a whole stream
    run: Seconds = 120.0
    #: from the answer to a request that cancels a run to the end of its streams
    cancel: Seconds = 5.0
    #: from the start of target.restart_command until the server accepts runs again
    restart: Seconds = 60.0


Share = Annotated[float, BeforeValidator(parse_share), Field(gt=0, le=1, allow_inf_nan=False)]


class GateSettings(StrictModel):
    """How results are compared with a baseline."""

    #: differences in latency below this share of the baseline do not fail the gate; of both limits, the larger applies
    smallest_effect: Share = USUAL_EFFECTS.relative
    #: nor do differences of a median below this many milliseconds, or of a higher percentile below twice as many
    smallest_effect_ms: float = Field(USUAL_EFFECTS.ms, ge=0, allow_inf_nan=False)
    #: the same for inter-token latency, which a user waits for with every token
    smallest_effect_inter_token_ms: float = Field(USUAL_EFFECTS.inter_token_ms, ge=0, allow_inf_nan=False)
    #: the same for error_rate and goodput, as a share: 0.005 is half a percentage point
    smallest_effect_share: Share = USUAL_EFFECTS.share
    #: whether the gate passes if some comparisons are inconclusive; it never passes if all are
    inconclusive: Literal["pass", "fail"] = "pass"
    #: how often a test is repeated while a comparison is inconclusive
    rerun_inconclusive: int = Field(0, ge=0)
    #: the number of files that a baseline folder keeps
    keep: int = Field(KEEP, ge=1)

    @property
    def terms(self) -> ComparisonTerms:
        """The gate's view of these settings."""
        effects = Effects(
            self.smallest_effect,
            self.smallest_effect_ms,
            self.smallest_effect_share,
            self.smallest_effect_inter_token_ms,
        )
        return ComparisonTerms(effects, self.rerun_inconclusive + 1, self.inconclusive == "fail")


_SHORTEST_SUITE_S = 90.0  # half a minute of it to judge
_EXCHANGES_IN_A_ROW = 8  # the longest chain of requests that wait for each other, with some to spare


class LimitSettings(StrictModel):
    """What the harness itself takes at most, whatever the server sends."""

    #: the largest response that is read, in MiB; what a larger one would have shown is inconclusive
    response: int = Field(MAX_RESPONSE_BYTES // MIB, ge=1, le=1024)
    #: what the responses in one process may take together, in MiB; each may take 256 KiB, however many there are
    memory: int = Field(DEFAULT_TOTAL_BYTES // MIB, ge=1)
    #: the size of the suite's results file, in MB; evidence beyond it is left out, and the report says so
    results: int = Field(200, ge=1)
    #: how long the suite may take; by default 60 s and 8 times the longest exchange that the budgets allow
    suite: Seconds | None = None
    #: how many requests the suite sends at most, for an API that costs money; what they do not cover is
    #: inconclusive
    budget_requests: int | None = Field(None, ge=1)

    @property
    def load_budget(self) -> MemoryBudget:
        """A new budget for the responses in a process of a load."""
        return MemoryBudget(self.memory * MIB, self.response * MIB)

    @property
    def suite_budget(self) -> MemoryBudget:
        """A new budget for the responses in the suite."""
        return MemoryBudget(self.memory * MIB, self.response * MIB, KEPT_EVENTS)

    def suite_s(self, budgets: BudgetSettings) -> float:
        """How long the suite may take, in seconds, with a target that puts no request off."""
        longest_s = budgets.first_event + budgets.run + budgets.terminal_close  # of one exchange
        return self.suite if self.suite is not None else _SHORTEST_SUITE_S + _EXCHANGES_IN_A_ROW * longest_s


class Settings(NumbersAreNotBooleans, BaseSettings):
    """All settings of a test."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    target: TargetSettings = Field(default_factory=TargetSettings)
    budgets: BudgetSettings = Field(default_factory=BudgetSettings)
    load: LoadSettings = Field(default_factory=LoadSettings)
    journeys: JourneySettings = Field(default_factory=JourneySettings)
    objectives: dict[str, float] = Field(default_factory=lambda: {"error_rate": 0.001, "violations": 0.0})

    gate: GateSettings = Field(default_factory=GateSettings)
    export: ExportSettings = Field(default_factory=ExportSettings)
    scrape: ScrapeSettings = Field(default_factory=ScrapeSettings)
    report: ReportSettings = Field(default_factory=ReportSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)

    @field_validator("objectives", mode="before")
    @classmethod
    def _parse_objectives(cls, value: Any) -> Any:
        return limits_of(value) if isinstance(value, Mapping) else value

    @property
    def expectations(self) -> Expectations:
        """The parts of the settings that the rules use."""
        return expectations_from(self.model_dump(include={"target", "budgets"}))

    def document(self) -> dict[str, Any]:
        """The settings as JSON values with secrets masked, for results and reports."""
        document: dict[str, Any] = Redactor(self.secrets()).own_value(
            self.model_dump(mode="json", exclude_none=True)
        )
        return document

    def secrets(self) -> tuple[str, ...]:
        """The tokens, which evidence must not contain, and what is secret in a query."""
        second = self.target.second_principal
        tokens = [self.target.token, second.token if second else None]
        tokens += [value for name, value in self.target.headers.items() if _SECRET_HEADER.search(name)]
        secrets = (secret.get_secret_value() for secret in tokens if secret is not None)
        paths = (self.target.path, *(part.path for part in (self.target.other_route,) if part))
        parameters = (value for path in paths for value in secret_parameters(path).values())
        known = (*(secret.removeprefix("Bearer ") for secret in secrets), *parameters)
        return tuple(secret for secret in known if secret)

    def private_text(self) -> str:
        """The settings, including secrets, as the text of a settings file."""
        return tomlkit.dumps(_with_secrets(self.model_dump(exclude_none=True)))

    def write_private(self, path: Path) -> None:
        """Write the settings, including secrets, to a file that only its owner can read."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, 0o600)  # for a file that existed
            file.truncate()
            file.write(self.private_text())


def expectations_from(settings: Mapping[str, Any]) -> Expectations:
    """The expectations in a settings document, as a manifest contains it. Raises KeyError for other documents."""
    target, budgets = settings["target"], settings["budgets"]
    return Expectations(
        budgets=Budgets(
            first_event_s=budgets["first_event"],
            terminal_close_s=budgets["terminal_close"],
            heartbeat_s=budgets["heartbeat"],
            run_s=budgets["run"],
            cancel_s=budgets.get("cancel", Budgets().cancel_s),
        ),
        conflict=target["conflict"],
        resume_start=target["resume_start"],
        last_event_id=target.get("last_event_id"),
        key_retention_s=target.get("key_retention"),
    )


def _with_secrets(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Mapping):
        return {key: _with_secrets(item) for key, item in value.items()}
    return value
