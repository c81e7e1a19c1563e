"""A profile: how one API starts a run, what its events mean, and what it promises. Written as a TOML file.

A capability is present when its part is. What the API does not promise is not tested.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, StringConstraints, model_validator

from harness.booleans import is_whole_number
from harness.profiles.capability import Capability
from harness.profiles.event_reader import EventReader
from harness.profiles.event_rules import END_CLOSE, MOST_NAMES, Events, Ids, Name, Names, Part, as_tuple
from harness.profiles.expressions import Expression
from harness.profiles.request_parts import FieldName, HeaderFields, JsonBody, RequestPath
from harness.profiles.run_event import FrameReader
from harness.profiles.templates import UUID, placeholders
from harness.profiles.workflow_actions.reader import WorkflowActionsReader

_Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
_Status = Annotated[int, Field(ge=400, le=499)]
_MOST_STEPS = 10


class _Message(Part):
    """What a request may have in addition to its path. The texts may have placeholders."""

    method: _Method = "POST"
    #: Header fields in addition to those of every request (Authorization, Content-Type, Accept).
    headers: HeaderFields = Field(default={})
    #: The body as JSON.
    json_body: JsonBody = Field(default=None, alias="json")
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
    path: RequestPath


class Step(Request):
    """A request before a run."""

    #: What later requests need of the answer, by name: an expression over `body`, `header` and `status`.
    keep: dict[Name, Expression] = Field(default={}, max_length=MOST_NAMES)


class Create(Step):
    """A request before each run, for example the one that opens a session."""

    #: Further requests after it, in this order, before the run. They have what the earlier ones keep.
    then: tuple[Step, ...] = Field(default=(), max_length=_MOST_STEPS)


class Resume(_Message):
    """The request that continues a cut stream."""

    #: after: with the event after ${last_id}. snapshot: with the state so far, then what follows. start: with the
    #: first event.
    starts: Literal["after", "snapshot", "start"] = Field(alias="from")
    #: Without a path it is the run's own request with the same key, and with these header fields.
    path: RequestPath | None = None
    #: The id with which `from = "after"` starts with the first event; empty: the request without ${last_id} does.
    #: Absent if a run cannot be read again from its first event.
    beginning: str | None = None

    @model_validator(mode="after")
    def _has_its_own_path(self) -> Self:
        if self.path is None and (self.json_body is not None or self.form is not None):
            raise ValueError("a body needs a path: without one the run's own request is repeated")
        if self.beginning is not None and (self.path is None or self.starts != "after"):
            raise ValueError('beginning needs a path and from = "after"')
        return self

    @property
    def reads_whole(self) -> bool:
        """Whether a request can ask for a run from its first event."""
        return self.starts == "start" or self.beginning is not None


class Cancel(Part):
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
    done: Name
    error: Name | None = None
    cancelled: Name | None = None

    def value(self, body: bytes) -> Any:
        """What the answer with this body says; None if it says nothing."""
        try:
            return self.field.find({"body": json.loads(body)})
        except (ValueError, RecursionError):
            return None

    def read(self, value: Any) -> str | None:
        """How a run ended, by the value of the answer: done, error or cancelled; None if it is another one."""
        known = {self.done: "done", self.error: "error", self.cancelled: "cancelled"}
        return known.get(value) if isinstance(value, str) else None


class Idempotency(Part):
    """The key that makes a retry the same run."""

    header: FieldName
    #: What the same key with a different body gets: rejected with this status, or undocumented.
    conflict: _Status | Literal["undocumented"] = "undocumented"


class Rejects(Part):
    """The status of requests that the API must not accept."""

    malformed: tuple[_Status, ...] = Field(default=(), max_length=MOST_NAMES)
    missing: tuple[_Status, ...] = Field(default=(), max_length=MOST_NAMES)
    unauthenticated: tuple[_Status, ...] = Field(default=(), max_length=MOST_NAMES)
    #: Of a body with a different Content-Type.
    media_type: tuple[_Status, ...] = Field(default=(415, 400), max_length=MOST_NAMES)
    #: Names that the body must have.
    required: Names = ()

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        """One status stands for a list of one."""
        if not isinstance(value, dict):
            return value
        return {name: as_tuple(member) for name, member in value.items()}


class GenAi(Part):
    """What the API and its requests are called in OpenTelemetry's GenAI conventions; of use for traces alone."""

    operation: Literal["invoke_agent", "chat", "generate_content", "text_completion"] = "invoke_agent"
    #: By default the profile's name.
    provider: Name | None = None


_MOST_LISTED = 10
#: Placeholders that the harness fills.
_GIVEN = frozenset({"prompt", UUID})
RUN_ID, LAST_ID = "run_id", "last_id"
_OF_RUN = frozenset({RUN_ID, LAST_ID})


WORKFLOW_ACTIONS = "workflow-actions"
"""The profile whose events are read by the types of its documentation, which are stricter than rules in TOML."""


class Profile(Part):
    """One API."""

    name: Annotated[str, StringConstraints(pattern="^[a-z0-9]+(-[a-z0-9]+)*$", max_length=40)]
    #: One line: the API and its version.
    title: Annotated[str, StringConstraints(max_length=200)] = ""
    #: Variables that a user sets, by name, with what they are.
    needs: dict[Name, str] = Field(default={}, max_length=MOST_NAMES)
    #: Variables with a new value for each run.
    variables: dict[Name, str] = Field(default={}, alias="vars", max_length=MOST_NAMES)
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
    genai: GenAi = GenAi()
    #: What else the API promises, of what no other part shows.
    promises: frozenset[
        Literal[Capability.ORGANIZATION, Capability.SOURCE, Capability.TIME_ZONE, Capability.PREVIOUS_OUTPUTS]
    ] = frozenset()

    @model_validator(mode="after")
    def _knows_its_placeholders(self) -> Self:
        start = _GIVEN | self.needs.keys() | self.variables.keys()
        steps, later = [], start
        for number, step in enumerate(self.before_run):
            steps.append(("create.then" if number else "create", step, later))
            later = later | step.keep.keys()
        of_run = later | _OF_RUN
        requests: list[tuple[str, _Message | None, frozenset[str] | set[str]]] = [
            *steps,
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
                    + ", ".join(f"${{{name}}}" for name in sorted(known)[:_MOST_LISTED])
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

    _source: str = PrivateAttr("")

    @property
    def source(self) -> str:
        """The text of its file, to read it again without the file; empty if it was not read from one."""
        return self._source

    def of_source(self, text: str) -> Self:
        """Itself, after it has noted the text of its file."""
        self._source = text
        return self

    @cached_property
    def reader(self) -> FrameReader:
        """Reads the frames of its streams."""
        if self.name == WORKFLOW_ACTIONS:
            return WorkflowActionsReader()
        return EventReader(self.events, self.ids)

    @cached_property
    def capabilities(self) -> frozenset[Capability]:
        """What the API promises."""
        events, ids, key, resume = self.events, self.ids, self.idempotency, self.resume
        has_run_id, makes_run_id = events.run_id is not None, not self._client_must_choose_run_id
        present = {
            Capability.OUTCOME: events.done is not None,
            Capability.END: events.end != END_CLOSE,
            Capability.ERROR_EVENT: events.error is not None,
            Capability.CANCELLED_EVENT: events.cancelled is not None,
            Capability.WHOLE_TEXT: events.tells_whole_text,
            Capability.EVENT_NAMES: events.type == Expression("data.type"),
            Capability.USAGE: events.usage is not None,
            Capability.FIRST_EVENT: bool(events.first),
            Capability.PAIRS: bool(events.pairs),
            Capability.EVENT_IDS: ids is not None,
            Capability.ORDERED_IDS: ids is not None and ids.order != "opaque",
            Capability.CLOCK_IDS: ids is not None and ids.order == "ms-seq",
            Capability.RUN_ID: has_run_id,
            Capability.REPEATED_RUN_ID: has_run_id and self.name != WORKFLOW_ACTIONS,
            Capability.SERVER_RUN_ID: has_run_id and makes_run_id,
            Capability.CLIENT_RUN_ID: has_run_id and events.client_run_id is not None,
            Capability.AUTHENTICATION: bool(self.rejects.unauthenticated),
            Capability.MALFORMED_REJECTED: bool(self.rejects.malformed) and self.run.json_body is not None,
            Capability.REQUIRED_FIELDS: bool(self.rejects.required),
            Capability.BODY: self.run.json_body is not None or self.run.form is not None,
            Capability.JSON_BODY: isinstance(self.run.json_body, dict),
            Capability.IDEMPOTENCY_KEY: key is not None,
            Capability.KEY_CONFLICT: self.conflict_status is not None,
            Capability.RESUME: (resume is not None or key is not None) and not self._ends_with_its_reader,
            Capability.SAME_EVENTS: key is not None or (resume is not None and resume.starts != "snapshot"),
            Capability.REREAD: key is not None or (resume is not None and resume.reads_whole),
            Capability.RESUME_AFTER_ID: resume is not None and resume.starts == "after",
            Capability.CANCEL: self.cancel is not None,
            Capability.OUTCOME_REQUEST: self.outcome is not None,
        }
        return frozenset(name for name, is_present in present.items() if is_present) | self.promises

    @property
    def requests(self) -> tuple[Request, ...]:
        """Every request that has a path. Resumption without one repeats the run's."""
        cancel = self.cancel.request if self.cancel is not None else None
        parts = (*self.before_run, self.run, self.resume_request, cancel, self.outcome)
        return tuple(part for part in parts if part is not None)

    @property
    def before_run(self) -> tuple[Step, ...]:
        """The requests before each run, in their order."""
        return () if self.create is None else (self.create, *self.create.then)

    @cached_property
    def resume_request(self) -> Request | None:
        """The request that resumes a cut stream; None if it is the run's own."""
        if self.resume is None or self.resume.path is None:
            return None
        members = self.resume.model_dump(by_alias=True, include=set(Request.model_fields))
        return Request.model_validate(members)

    @property
    def resumes_by_own_request(self) -> bool:
        """Whether a cut stream is continued by a separate request, not by the run's request with its key."""
        return self.resume is not None and self.resume.path is not None

    @property
    def conflict_status(self) -> int | None:
        """The documented status of a used key with a different body; None if there is none."""
        conflict = self.idempotency.conflict if self.idempotency is not None else None
        return conflict if is_whole_number(conflict) else None

    @property
    def _ends_with_its_reader(self) -> bool:
        """Whether a run is cancelled when its only reader leaves, so that a cut stream cannot be resumed."""
        return self.cancel is not None and self.cancel.disconnect

    @property
    def _client_must_choose_run_id(self) -> bool:
        """Whether each request has the run's id."""
        chosen, body = self.events.client_run_id, self.run.json_body
        return chosen is not None and isinstance(body, dict) and chosen in body
