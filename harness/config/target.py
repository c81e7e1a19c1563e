"""Builds the requests for the configured target. Suite and load share it."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.config.settings import CONFIG_FILE, Action, Settings, TargetSettings
from harness.contract.rules.rule import Need
from harness.errors import SettingsError
from harness.input_file import CERTIFICATES_BYTES, ensure_readable
from harness.profiles import library
from harness.profiles.workflow_actions.request import new_key
from harness.protocol.request import HttpRequest
from harness.transport.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class Principal:
    """A bearer token and its organization."""

    token: str = field(repr=False)
    organization_id: str


class Target:
    """Builds requests for scenarios and journeys. Raises SettingsError if the settings lack a target or an action.

    memory: what the responses to these requests may hold in this process. profile: the target's API.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings: TargetSettings = settings.target
        self.expectations = settings.expectations
        self.secrets = settings.secrets()
        self.memory = settings.limits.suite_budget
        self.profile = library.load(self.settings.profile)
        if self.settings.base_url is None:
            raise SettingsError(
                "no target is set: use --target URL (in pytest --harness-target URL) or the setting target.base_url"
            )
        if self.settings.actions.success is None:
            raise SettingsError(
                f"no action is configured: set [target.actions.success] in {CONFIG_FILE} to a workflowAction that ends "
                "with done; harness init --target URL writes that file (for the embedded server, harness serve "
                "--config-out)"
            )
        if self.settings.ca_file is not None:
            ensure_readable(Path(self.settings.ca_file), "target.ca_file", CERTIFICATES_BYTES)
        try:
            self.endpoint = Endpoint.from_url(
                self.settings.base_url, verify=self.settings.verify_tls, ca_file=self.settings.ca_file
            )
        except OSError as problem:
            raise SettingsError(
                f"cannot read target.ca_file {self.settings.ca_file}: {problem.strerror or problem}"
            ) from None
        except ValueError as problem:
            raise SettingsError(str(problem)) from None
        token = self.settings.token.get_secret_value() if self.settings.token else ""
        self.principal = Principal(token, self._organization_id())

    def _organization_id(self) -> str:
        """The organization in requests. Raises SettingsError if it is not configured."""
        configured = self.settings.organization_id or self.settings.body.get("organizationId")
        if not isinstance(configured, str):
            raise SettingsError(
                "no organization is configured: use --organization ORG (in pytest --harness-organization ORG) or the "
                "setting target.organization_id; it is the organization of the token"
            )
        return configured

    @property
    def second_principal(self) -> Principal | None:
        """The principal of the second organization; None if not configured."""
        second = self.settings.second_principal
        return Principal(second.token.get_secret_value(), second.organization_id) if second else None

    def offers(self, need: Need) -> bool:
        """Whether the target has what a rule needs. The success action may stand in for an echo action."""
        settings, actions = self.settings, self.settings.actions
        return {
            Need.LONG_ACTION: actions.long,
            Need.FAILING_ACTION: actions.failure,
            Need.CANCELLED_ACTION: actions.cancelled,
            Need.SILENT_ACTION: actions.silent,
            Need.QUIET_ACTION: actions.quiet,
            Need.ECHO_ACTION: actions.echo or actions.success,
            Need.SECOND_PRINCIPAL: settings.second_principal,
            Need.SECOND_ROUTE: settings.other_route,
        }[need] is not None

    def action(self, name: str) -> Action | None:
        """The configured workflowAction of this name; None if not configured."""
        action: Action | None = getattr(self.settings.actions, name)
        return action

    def body(
        self, action: Action, *, run_id: str | None = None, organization_id: str | None = None
    ) -> dict[str, Any]:
        """A request body for `action`, with a new session id."""
        body: dict[str, Any] = {
            "organizationId": organization_id or self.principal.organization_id,
            "sessionId": str(uuid.uuid4()),
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
        """The documented request, with `key` as its Idempotency-Key if it is not None."""
        sender = principal or self.principal
        headers: tuple[tuple[str, str], ...] = (
            ("Content-Type", "application/json"),
            ("Accept", "text/event-stream"),
            ("Accept-Encoding", "identity"),  # a compressor may hold events back
        )
        if sender.token:
            headers = (("Authorization", f"Bearer {sender.token}"), *headers)
        if key is not None:
            headers = (*headers, ("Idempotency-Key", key))
        return HttpRequest.post_json(path or self.settings.path, headers, body)

    def run(self, action_name: str, *, key: str | None = None, run_id: str | None = None) -> HttpRequest:
        """A request for a new run of the configured action. key: None makes a new one.

        Raises LookupError if the action is not configured.
        """
        action = self.action(action_name)
        if action is None:
            raise LookupError(f"[target.actions.{action_name}] is not configured")
        return self.post(self.body(action, run_id=run_id), key=key or new_key())


def with_different_body(request: HttpRequest) -> HttpRequest:
    """The request with a different body, which is as valid: its session id is new."""
    body = json.loads(request.body)
    body["sessionId"] = str(uuid.uuid4())
    return request.with_json(body)
