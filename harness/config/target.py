"""Builds the requests for the configured target. Suite and load share it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.config.settings import CONFIG_FILE, Action, Settings, TargetSettings
from harness.contract.exchange import Exchange
from harness.contract.rules.rule import Need
from harness.errors import SettingsError
from harness.input_file import CERTIFICATES_BYTES, ensure_readable
from harness.profiles import library
from harness.profiles.capability import Capability
from harness.profiles.named_id import requested_run_id
from harness.profiles.profile import LAST_ID, RUN_ID, Request, Step
from harness.profiles.prompts import PROMPT, PROMPTS, with_text
from harness.profiles.repeated import RepeatedRequest
from harness.profiles.requests import build, can_be_sent, without_placeholder
from harness.profiles.templates import fill, new_uuid, placeholders
from harness.profiles.workflow_actions.request import new_key
from harness.protocol.request import HttpRequest
from harness.transport.endpoint import Endpoint

BEFORE_A_RUN = "the request before a run"
"""What the label of such an Exchange says."""
_ACTION, _ORGANIZATION = "action", "organization"
_OTHER_PROMPT = "(another request)"
_CREATED_BYTES = 1024 * 1024  # of the answer to the request before a run
_STREAM, _ANY = "text/event-stream", "*/*"


class CreationError(Exception):
    """The request before a run was not answered with what the run needs."""

    def __init__(self, answer: Exchange, why: str) -> None:
        super().__init__(f"no run could be started: {answer.request.target} {why}: {answer.describe()}")
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Principal:
    """A bearer token and its organization; empty if the API has none."""

    token: str = field(repr=False)
    organization_id: str


class Target:
    """Builds requests for scenarios and journeys. Raises SettingsError if the settings lack what the API needs.

    memory: what the responses to these requests may hold in this process. profile: the target's API. journeys: the
    settings of single journeys. replicas: the endpoints of the server's replicas by their base URLs.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings: TargetSettings = settings.target
        self.journeys = settings.journeys
        self.expectations = settings.expectations
        self.secrets = settings.secrets()
        self.memory = settings.limits.suite_budget
        if self.settings.base_url is None:
            raise SettingsError(
                "no target is set: use --target URL (in pytest --harness-target URL) or the setting target.base_url"
            )
        self.profile = self.settings.api
        self.path = self.settings.path
        self._takes_action = self.profile.name == library.DEFAULT
        if self.action("success") is None:
            raise SettingsError(
                f"no action is configured: set [target.actions.success] in {CONFIG_FILE} to a workflowAction that ends "
                "with done; harness init --target URL writes that file (for the embedded server, harness serve "
                "--config-out)"
            )
        self.endpoint = self._endpoint(self.settings.base_url)
        self.replicas = {url: self._endpoint(url) for url in self.settings.replicas}
        token = self.settings.token.get_secret_value() if self.settings.token else ""
        self.principal = Principal(token, self._organization_id())
        self._variables = self._all_variables()
        self._varies = any(placeholders(dict(self.profile.variables)))  # then each run has other values
        self._repeated: dict[str, RepeatedRequest] = {}  # by action
        self._ensure_buildable()
        if settings.load.journeys.workflow and self.promises(Capability.PREVIOUS_OUTPUTS):
            self._ensure_steps()

    def _endpoint(self, base_url: str) -> Endpoint:
        if self.settings.ca_file is not None:
            ensure_readable(Path(self.settings.ca_file), "target.ca_file", CERTIFICATES_BYTES)
        try:
            return Endpoint.from_url(base_url, verify=self.settings.verify_tls, ca_file=self.settings.ca_file)
        except OSError as problem:
            raise SettingsError(
                f"cannot read target.ca_file {self.settings.ca_file}: {problem.strerror or problem}"
            ) from None
        except ValueError as problem:
            raise SettingsError(str(problem)) from None

    def _organization_id(self) -> str:
        """The organization in requests. Raises SettingsError if the API needs one that is not configured."""
        configured = self.settings.organization_id or self.settings.body.get("organizationId")
        if not self._takes_action:
            return configured if isinstance(configured, str) else ""
        if not isinstance(configured, str):
            raise SettingsError(
                "no organization is configured: use --organization ORG (in pytest --harness-organization ORG) or the "
                "setting target.organization_id; it is the organization of the token"
            )
        return configured

    def _all_variables(self) -> dict[str, Any]:
        """The values of what the profile needs. Raises SettingsError for one that is missing, or not of the profile."""
        needs = self.profile.needs
        known = {*needs, *self.profile.variables}
        for name in self.settings.variables:
            if name not in known:
                which = ", ".join(sorted(known)) or "none"
                raise SettingsError(
                    f"target.variables has {name!r}, which the profile {self.profile.name} does not use; its "
                    f"variables: {which}"
                )
        values: dict[str, Any] = dict(self.settings.variables)
        if self.principal.organization_id:
            values.setdefault(_ORGANIZATION, self.principal.organization_id)
        in_actions = _variables_of(self.action("success"))
        given = {*values, *in_actions, *({_ACTION} if self._takes_action else ())}
        for name, what in needs.items():
            if name not in given:
                flag = "--model NAME" if name == "model" else f"--var {name}=VALUE"
                raise SettingsError(
                    f"the profile {self.profile.name} needs the variable {name} ({what}): use {flag} "
                    f"(in pytest --harness-var {name}=VALUE), or set target.variables.{name} in {CONFIG_FILE}"
                )
        return values

    def _ensure_buildable(self) -> None:
        """Raises SettingsError if the values do not fit into the requests."""
        self._ensure_prompts()
        values = self.values("success")
        kept = [name for step in self.profile.before_run for name in step.keep]
        try:
            self._filled({**values, **dict.fromkeys(kept, "kept")}, key=None)
        except ValueError as problem:
            raise SettingsError(f"target.variables or target.headers: {problem}") from None

    def _ensure_prompts(self) -> None:
        """Raises SettingsError if an action has no prompt for an API that takes one."""
        if PROMPT not in self.profile.run.placeholders():
            return
        for name in type(self.settings.actions).model_fields:
            if self.action(name) is not None and PROMPT not in self.values(name):
                raise SettingsError(
                    f"target.actions.{name} has no prompt, which the profile {self.profile.name} needs: write the "
                    f'prompt as a text ({name} = "…"), or leave the action out'
                )

    def _ensure_steps(self) -> None:
        """Raises SettingsError if a step of the journey `workflow` has no action."""
        for name in self.journeys.workflow.steps:
            if self.action(name) is None:
                raise SettingsError(
                    f"journeys.workflow.steps has {name!r}, and [target.actions.{name}] is not configured; configure "
                    "it, or leave the step out"
                )

    @property
    def second_principal(self) -> Principal | None:
        """The principal of the second organization; None if not configured."""
        second = self.settings.second_principal
        return Principal(second.token.get_secret_value(), second.organization_id) if second else None

    def promises(self, capability: Capability) -> bool:
        """Whether the API promises this."""
        return capability in self.profile.capabilities

    def offers(self, need: Need) -> bool:
        """Whether the target has what a rule needs. The success action may stand in for an echo action."""
        settings = self.settings
        return {
            Need.LONG_ACTION: self.action("long"),
            Need.FAILING_ACTION: self.action("failure"),
            Need.CANCELLED_ACTION: self.action("cancelled"),
            Need.SILENT_ACTION: self.action("silent"),
            Need.QUIET_ACTION: self.action("quiet"),
            Need.ECHO_ACTION: self.action("echo") or (self._takes_action and self.action("success")) or None,
            Need.RECALL_ACTION: self.action("recall"),
            Need.SECOND_PRINCIPAL: settings.second_principal,
            Need.SECOND_ROUTE: settings.other_route,
            Need.REPLICAS: settings.replicas or None,
            Need.RESTART: settings.restart_command,
        }[need] is not None

    def action(self, name: str) -> Action | None:
        """What causes a situation: a workflowAction, a prompt, or values of variables. None if there is none.

        For an API that takes a prompt there are prompts that need no setting.
        """
        action: Action | None = getattr(self.settings.actions, name)
        if action is not None or self._takes_action:
            return action
        if PROMPT in self.profile.run.placeholders():
            return PROMPTS.get(name)
        return {} if name == "success" else None

    def values(self, action_name: str, text: str | None = None) -> dict[str, Any]:
        """The values of a new run's placeholders. text: what an echo action is to return.

        Raises LookupError if the action is not configured.
        """
        action = self.action(action_name)
        if action is None:
            raise LookupError(f"[target.actions.{action_name}] is not configured")
        if text is not None:
            action = with_text(action, text)
        fresh = {name: fill(value, {}) for name, value in self.profile.variables.items()}
        own = {_ACTION: action} if self._takes_action else _variables_of(action)
        return {**fresh, **self._variables, **own}

    def creation(self, step: Step, values: Mapping[str, Any]) -> HttpRequest:
        """The request of a step before the run with these values, which have what earlier steps keep."""
        return build(step, self._path_of(step), values, self._headers(self.principal))

    def _path_of(self, part: Request) -> str:
        """The path of another request than the run's: the setting, if the profile sends both to one endpoint."""
        return self.path if part.path == self.profile.run.path else part.path

    def kept(self, step: Step, answer: Exchange) -> dict[str, Any]:
        """What later requests need of the answer to a step's `creation`. Raises CreationError if it is not there."""
        head = answer.head
        if head is None or not 200 <= head.status < 300:
            raise CreationError(answer, "was not accepted")
        body = _small_json(answer.body)
        document = {"status": head.status, "body": body, "header": {n.lower(): v for n, v in head.headers}}
        found = {name: at.find(document) for name, at in step.keep.items()}
        for name, value in found.items():
            if value is None:
                raise CreationError(answer, f"did not tell {name}")
            if not can_be_sent(value):
                raise CreationError(answer, f"reported a {name} that no request can have")
        return found

    def run(self, action_name: str, *, key: str | None = None, run_id: str | None = None) -> HttpRequest:
        """A request for a new run of an action, of an API that needs no request before. key: None makes a new one.

        Raises LookupError if the action is not configured.
        """
        if self._varies:
            return self.run_with(self.values(action_name), key=key, run_id=run_id)
        repeated = self._repeated.get(action_name)
        if repeated is None:
            values = self.values(action_name)
            repeated = RepeatedRequest(lambda key, new_id: self._filled(values, key=key, new_id=new_id))
            self._repeated[action_name] = repeated
        request = repeated.copy(key or new_key())
        return request if run_id is None else self.with_run_id(request, run_id)

    def run_with(
        self, values: Mapping[str, Any], *, key: str | None = None, run_id: str | None = None
    ) -> HttpRequest:
        """A request for a new run with these `values`, which have what `kept` found."""
        request = self._filled(values, key=key or new_key())
        return request if run_id is None else self.with_run_id(request, run_id)

    def step(
        self, action_name: str, session_id: str, outputs: Sequence[str], *, text: str | None = None
    ) -> HttpRequest:
        """A request for a step of a session, with the outputs of the earlier steps and a new key.

        text: what an echo action is to return. Raises LookupError if the action is not configured, or if the API's
        requests have no outputs of earlier steps.
        """
        if not self.promises(Capability.PREVIOUS_OUTPUTS):
            raise LookupError(f"{self.profile.name} promises no {Capability.PREVIOUS_OUTPUTS}")
        request = self.run_with(self.values(action_name, text))
        entries = [with_text(self.settings.previous_output, output) for output in outputs]
        previous = {"previousOutputs": entries} if entries else {}
        return request.with_json({**request.json(), "sessionId": session_id, **previous})

    def _filled(
        self, values: Mapping[str, Any], *, key: str | None, new_id: Callable[[], str] = new_uuid
    ) -> HttpRequest:
        run, headers = self.profile.run, self._headers(self.principal)
        request = build(run, self.path, values, headers, self.settings.body, new_id)
        idempotency = self.profile.idempotency
        return request if idempotency is None else request.with_header(idempotency.header, key)

    def _headers(self, sender: Principal, accept: str = _STREAM) -> tuple[tuple[str, str], ...]:
        """The header fields of every request. `Content-Type` comes from the body."""
        own = {
            "Accept": accept,
            "Accept-Encoding": "identity",  # a compressor may hold events back
            **({"Authorization": f"Bearer {sender.token}"} if sender.token else {}),
        }
        further = {name: value.get_secret_value() for name, value in self.settings.headers.items()}
        return tuple({**own, **further}.items())

    def resumption(
        self, run: HttpRequest, run_id: str | None = None, last_id: str | None = None
    ) -> HttpRequest:
        """The request that continues the stream of `run`, after its event `last_id`; None: that asks for all it can.

        run_id: as its events tell it; by default the one in `run`. Raises LookupError if it is not known and needed, or
        if the API has no such request without an id.
        """
        resume, part = self.profile.resume, self.profile.resume_request
        if resume is None or part is None:
            fields = {} if resume is None or last_id is None else fill(resume.headers, {LAST_ID: last_id})
            for name, value in fields.items():
                run = run.with_header(name, value)
            return run
        if last_id is None and resume.starts == "after":
            if resume.beginning is None:
                raise LookupError("this API resumes a stream only after an event that the client names")
            last_id = resume.beginning
        if not last_id:
            part = without_placeholder(part, LAST_ID)
        elif not can_be_sent(last_id):
            raise LookupError("no request can have the id of the event")
        return self._about_run(part, run, run_id, last_id, accept=_STREAM)

    def again(self, run: HttpRequest, run_id: str | None = None) -> HttpRequest:
        """The request that reads the run of `run` again, or joins it: with the same key, else by a separate request.

        Raises LookupError as `resumption` does.
        """
        return run if self.profile.idempotency is not None else self.resumption(run, run_id)

    def knows_run(self, run: HttpRequest, run_id: str | None = None, *, to_resume: bool = False) -> bool:
        """Whether the run of `run` can be read again: by its key, or because the id is known that this takes.

        to_resume: whether its stream can be continued after an event, which may be a different request.
        """
        part = self.profile.resume_request
        if part is None or (self.profile.idempotency is not None and not to_resume):
            return True
        return RUN_ID not in part.placeholders() or self._run_id(run, run_id) is not None

    def cancel(self, run: HttpRequest, run_id: str | None = None) -> HttpRequest:
        """The request that cancels the run of `run`. run_id: as its events tell it; by default the one in `run`.

        Raises LookupError if the API has no such request, or needs an id and there is none.
        """
        cancel = self.profile.cancel
        if cancel is None or cancel.request is None:
            raise LookupError(f"the profile {self.profile.name} has no request that cancels a run")
        return self._about_run(cancel.request, run, run_id)

    def outcome(self, run: HttpRequest, run_id: str | None = None) -> HttpRequest:
        """The request that asks how the run of `run` ended. Arguments and errors as in `cancel`."""
        if self.profile.outcome is None:
            raise LookupError(f"the profile {self.profile.name} has no request for a run's outcome")
        return self._about_run(self.profile.outcome, run, run_id)

    def _about_run(
        self,
        part: Request,
        run: HttpRequest,
        run_id: str | None,
        last_id: str | None = None,
        accept: str = _ANY,
    ) -> HttpRequest:
        """A request about a run that was started before. Raises LookupError if it needs an id and there is none."""
        run_id = self._run_id(run, run_id)
        used = set(part.placeholders())
        if RUN_ID in used and run_id is None:
            raise LookupError("no id of the run is known that a request can have")
        values = {**run.values, RUN_ID: run_id, LAST_ID: last_id}
        return build(part, self._path_of(part), values, self._headers(self.principal, accept))

    def _run_id(self, run: HttpRequest, reported: str | None) -> str | None:
        """The id that events reported, if a request can have it; else the one that the client chose."""
        return reported if reported and can_be_sent(reported) else requested_run_id(self.profile, run)

    def conflicting(self, request: HttpRequest) -> HttpRequest:
        """A valid request with the same key and header fields, and a different body."""
        if self._takes_action:
            return request.with_json({**request.json(), "sessionId": new_uuid()})
        prompt = f"{request.values.get(PROMPT, '')} {_OTHER_PROMPT}"
        other = self._filled({**request.values, PROMPT: prompt}, key=None)
        return replace(request, body=other.body, values=other.values).with_header(
            "Content-Type", other.header("content-type")
        )

    def without(self, request: HttpRequest, name: str) -> HttpRequest:
        """The request without one field of its body, and with a new key."""
        run = self.profile.run
        if run.form is None:
            body = {field: value for field, value in request.json().items() if field != name}
            return self.with_key(request.with_json(body), new_key())
        form = {field: value for field, value in run.form.items() if field != name}
        part = run.model_copy(update={"form": form})
        return self.with_key(build(part, self.path, request.values, self._headers(self.principal)), new_key())

    def with_key(self, request: HttpRequest, key: str | None) -> HttpRequest:
        """The request with a different idempotency key; None: without one."""
        idempotency = self.profile.idempotency
        return request if idempotency is None else request.with_header(idempotency.header, key)

    def with_run_id(self, request: HttpRequest, run_id: str) -> HttpRequest:
        """The request with the run's id that the client chooses. Raises LookupError if the API has no such id."""
        name = self.profile.events.client_run_id
        if name is None:
            raise LookupError("this API promises no run id that the client chooses")
        return request.with_json({**request.json(), name: run_id})

    def key_of(self, request: HttpRequest) -> str | None:
        """The request's idempotency key; None if it has none."""
        idempotency = self.profile.idempotency
        return None if idempotency is None else request.header(idempotency.header)

    def body(
        self, action: Action, *, run_id: str | None = None, organization_id: str | None = None
    ) -> dict[str, Any]:
        """A request body for a workflowAction, with a new session id."""
        body: dict[str, Any] = {
            "organizationId": organization_id or self.principal.organization_id,
            "sessionId": new_uuid(),
            "workflowAction": action,
            **self.settings.body,
        }
        return body if run_id is None else {**body, "runId": run_id}

    def post(
        self,
        body: Any,
        *,
        key: str | None = None,
        principal: Principal | None = None,
        path: str | None = None,
    ) -> HttpRequest:
        """The documented request with this body, and `key` as its idempotency key if it is not None."""
        headers = (("Content-Type", "application/json"), *self._headers(principal or self.principal))
        return self.with_key(HttpRequest.post_json(path or self.path, headers, body), key)


def _variables_of(action: Action | None) -> Mapping[str, Any]:
    """The values in an action of an API that has no workflowAction: a text is its prompt."""
    return {PROMPT: action} if isinstance(action, str) else action or {}


def _small_json(body: bytes) -> Any:
    """The JSON value in a body; None if there is none, or one that no answer needs."""
    if len(body) > _CREATED_BYTES:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
