"""A profile: how one API starts a run, what its events mean, and what it promises. Written as a TOML file.

A capability is present when its part is. What the API does not promise is not tested.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from harness.profiles.expressions import Expression
from harness.profiles.templates import UUID, placeholders


class Capability(StrEnum):
    """What an API may promise, as a part of a sentence: "this API promises no …"."""

    IDEMPOTENCY_KEY = "idempotency key"
    KEY_CONFLICT = "rejection of a reused key"
    RESUME = "resumption of a cut stream"
    RESUME_AFTER_ID = "resumption after an event that the client names"
    EVENT_IDS = "event ids"
    ORDERED_IDS = "order of event ids"
    RUN_ID = "run id"
    CANCEL = "cancellation"
    OUTCOME_REQUEST = "request for a run's outcome"
    ERROR_EVENT = "error event"
    USAGE = "token counts"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


_Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_Names = Annotated[tuple[_Name, ...], Field(min_length=1)]
_Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
_Path = Annotated[str, StringConstraints(pattern="^/")]
_Status = Annotated[int, Field(ge=400, le=499)]


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str | int) else value


class _Message(_Part):
    """What a request may have in addition to its path. The texts may have placeholders."""

    method: _Method = "POST"
    #: Header fields in addition to those of every request (Authorization, Content-Type, Accept).
    headers: dict[str, str] = {}
    #: The body as JSON.
    json_body: Any = Field(default=None, alias="json")
    #: The body as fields of a form.
    form: dict[str, str] | None = None
    #: How the form is written.
    form_as: Literal["urlencoded", "multipart"] = "urlencoded"

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        if self.json_body is not None and self.form is not None:
            raise ValueError("a request has json or form, not both")
        list(self.placeholders())
        return self

    def placeholders(self) -> Iterator[str]:
        """The names of all placeholders. Raises ValueError for a wrong one."""
        for part in (getattr(self, "path", None), self.headers, self.json_body, self.form):
            yield from placeholders(part)


class Request(_Message):
    """A request as the API documents it."""

    #: Path with query, from the base URL.
    path: _Path


class Create(Request):
    """A request before each run, for example the one that opens a session."""

    #: What later requests need of the answer, by name: an expression over `body`, `header` and `status`.
    keep: dict[_Name, Expression] = {}


class EventRule(_Part):
    """Which events have one meaning: those of a type, those for which an expression holds, or both."""

    #: The event's type, or several; `*` stands for any characters.
    types: tuple[_Name, ...] = Field(default=(), alias="is")
    #: Must hold too. Expressions see `data`, `event` and `id`.
    where: Expression | None = None
    #: Where visible text stands: a piece of a token, the whole text of a snapshot or an outcome.
    text: Expression | None = None
    #: Where the message of an error stands.
    message: Expression | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        """``"error"`` and ``["error", "failed"]`` stand for ``{ is = … }``."""
        if isinstance(value, str | list):
            return {"is": _as_tuple(value)}
        if isinstance(value, dict) and "is" in value:
            return {**value, "is": _as_tuple(value["is"])}
        return value

    @model_validator(mode="after")
    def _has_condition(self) -> Self:
        if not self.types and self.where is None:
            raise ValueError("a rule needs is, where, or both")
        return self


class UsageRule(_Part):
    """Where an event tells how many tokens the run took."""

    where: Expression
    output_tokens: Expression


OUTCOMES = ("done", "error", "cancelled")
"""How a run can end."""
SNAPSHOT = "snapshot"
CONTENTS = ("token", SNAPSHOT, "reasoning", "tool", "progress")
"""What an event can bring: a piece of the visible text, the whole text so far, or other signs of work."""

END_OUTCOME, END_CLOSE = "outcome", "close"


class Events(_Part):
    """What the events mean. Within outcomes and within contents, the first rule of the file that matches counts."""

    #: Where an event's type stands.
    type: Expression = Expression("event")
    run_id: Expression | None = None
    token: EventRule
    snapshot: EventRule | None = None
    reasoning: EventRule | None = None
    tool: EventRule | None = None
    progress: EventRule | None = None
    done: EventRule | None = None
    error: EventRule | None = None
    cancelled: EventRule | None = None
    usage: UsageRule | None = None
    #: Events about the connection, not the run. They are compared with nothing.
    note: EventRule | None = None
    #: Events that only keep the connection open. Comments always do.
    keepalive: EventRule | None = None
    #: Types of the first event.
    first: tuple[_Name, ...] = ()
    #: Further types that the API documents. With others a stream has an event that the profile does not know.
    other: tuple[_Name, ...] = ()
    #: Types that open and close something: opening type, closing type, and the expression that names what.
    pairs: tuple[tuple[_Name, _Name, Expression | Literal[""]], ...] = ()
    #: Data of the events: JSON objects, or any JSON value.
    data: Literal["object", "any"] = "object"
    #: What ends the stream: "outcome" (the event that tells it), "close" (the connection alone), the data of a last
    #: event such as "[DONE]", or a rule.
    end: EventRule | _Name = END_OUTCOME
    #: Data of an event that may follow the outcome.
    trailer: _Name | None = None
    #: After an error event the stream may stop without its end.
    error_may_end: bool = False

    _order: tuple[str, ...] = ()

    @model_validator(mode="wrap")
    @classmethod
    def _keep_order(cls, value: Any, handler: Any) -> Any:
        events = handler(value)
        if isinstance(value, dict):
            events._order = tuple(value)  # noqa: SLF001 - the class sets it itself: pydantic loses the file's order
        return events

    @model_validator(mode="after")
    def _tells_outcome(self) -> Self:
        if self.end == END_OUTCOME and self.done is None:
            raise ValueError('end = "outcome" needs a rule for done')
        return self

    def rules(self, names: tuple[str, ...]) -> list[tuple[str, EventRule]]:
        """The rules of these names that the profile has, in the order of the file."""
        present = [(name, rule) for name in names if (rule := getattr(self, name)) is not None]
        order = {name: place for place, name in enumerate(self._order)}
        return sorted(present, key=lambda pair: order.get(pair[0], len(order)))


class Ids(_Part):
    """Where an event's id stands, and what its order is."""

    at: Expression
    #: ms-seq: two numbers, of which the first is the time in milliseconds. counter: one number, each greater by one.
    #: opaque: no order.
    order: Literal["ms-seq", "counter", "opaque"] = "opaque"


class Resume(_Message):
    """The request that continues a cut stream."""

    #: after: with the event after ${last_id}. snapshot: with the state so far, then what follows. start: with the
    #: first event.
    starts: Literal["after", "snapshot", "start"] = Field(alias="from")
    #: Without a path it is the run's own request with the same key, and with these header fields.
    path: _Path | None = None

    @model_validator(mode="after")
    def _has_its_own_path(self) -> Self:
        if self.path is None and (self.json_body is not None or self.form is not None):
            raise ValueError("a body needs a path: without one the run's own request is repeated")
        return self


class Cancel(_Part):
    """How a run is cancelled: by a request, or by a reader that disconnects."""

    request: Request | None = None
    disconnect: bool = False

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        """The part itself may have the fields of the request."""
        if isinstance(value, dict) and "path" in value:
            fields = {name: member for name, member in value.items() if name != "disconnect"}
            return {"request": fields, "disconnect": value.get("disconnect", False)}
        return value

    @model_validator(mode="after")
    def _has_a_way(self) -> Self:
        if (self.request is None) is not self.disconnect:
            raise ValueError("cancel needs a request or disconnect = true, and not both")
        return self


class OutcomeRequest(Request):
    """The request that asks how a run ended, if the stream does not say."""

    method: _Method = "GET"
    #: Where the answer tells it: an expression over `body`.
    field: Expression
    done: _Name
    error: _Name | None = None
    cancelled: _Name | None = None


class Idempotency(_Part):
    """The key that makes a retry the same run."""

    header: _Name
    #: What the same key with a different body gets: rejected with this status, or undocumented.
    conflict: _Status | Literal["undocumented"] = "undocumented"


class Rejects(_Part):
    """The status of requests that the API must not accept."""

    malformed: tuple[_Status, ...] = ()
    missing: tuple[_Status, ...] = ()
    unauthenticated: tuple[_Status, ...] = ()
    #: Names that the body must have.
    required: tuple[_Name, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        """One status stands for a list of one."""
        if not isinstance(value, dict):
            return value
        return {name: _as_tuple(member) for name, member in value.items()}


#: Placeholders that the harness fills.
_GIVEN = frozenset({"prompt", UUID})
_OF_RUN = frozenset({"run_id", "last_id"})


class Profile(_Part):
    """One API."""

    name: Annotated[str, StringConstraints(pattern="^[a-z0-9]+(-[a-z0-9]+)*$", max_length=40)]
    #: One line: the API and its version.
    title: str = ""
    #: Variables that a user sets, by name, with what they are.
    needs: dict[_Name, str] = {}
    #: Variables with a new value for each run.
    variables: dict[_Name, str] = Field(default={}, alias="vars")
    #: The API is used without a token.
    no_auth: bool = False
    create: Create | None = None
    run: Request
    events: Events
    ids: Ids | None = None
    resume: Resume | None = None
    cancel: Cancel | None = None
    outcome: OutcomeRequest | None = None
    idempotency: Idempotency | None = None
    rejects: Rejects = Rejects()

    @model_validator(mode="after")
    def _knows_its_placeholders(self) -> Self:
        start = _GIVEN | self.needs.keys() | self.variables.keys()
        later = start | (self.create.keep.keys() if self.create else frozenset())
        of_run = later | _OF_RUN
        requests: list[tuple[str, _Message | None, frozenset[str] | set[str]]] = [
            ("create", self.create, start),
            ("run", self.run, later),
            ("resume", self.resume, of_run),
            ("cancel", self.cancel.request if self.cancel else None, of_run),
            ("outcome", self.outcome, of_run),
        ]
        for part, request, known in requests:
            used = set(request.placeholders()) if request else set()
            if unknown := sorted(used - known):
                raise ValueError(
                    f"[{part}] uses ${{{unknown[0]}}}, which is nowhere defined; it may use "
                    + ", ".join(f"${{{name}}}" for name in sorted(known))
                )
            if "run_id" in used and self.events.run_id is None:
                raise ValueError(f"[{part}] uses ${{run_id}}, but events.run_id does not say where it stands")
            if "last_id" in used and self.ids is None:
                raise ValueError(f"[{part}] uses ${{last_id}}, but there is no part [ids]")
        if self.resume is not None and self.resume.path is None and self.idempotency is None:
            raise ValueError(
                "[resume] needs a path: without a part [idempotency] the run's request starts a new run"
            )
        return self

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the API promises."""
        present = {
            Capability.IDEMPOTENCY_KEY: self.idempotency is not None,
            Capability.KEY_CONFLICT: self.idempotency is not None
            and self.idempotency.conflict != "undocumented",
            Capability.RESUME: self.resume is not None or self.idempotency is not None,
            Capability.RESUME_AFTER_ID: self.resume is not None and self.resume.starts == "after",
            Capability.EVENT_IDS: self.ids is not None,
            Capability.ORDERED_IDS: self.ids is not None and self.ids.order != "opaque",
            Capability.RUN_ID: self.events.run_id is not None,
            Capability.CANCEL: self.cancel is not None,
            Capability.OUTCOME_REQUEST: self.outcome is not None,
            Capability.ERROR_EVENT: self.events.error is not None,
            Capability.USAGE: self.events.usage is not None,
        }
        return frozenset(name for name, is_present in present.items() if is_present)
