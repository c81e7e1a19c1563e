"""Faults that violate the auth requirements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from harness.contract.rules import auth
from harness.reference.api import (
    Rejection,
    Submission,
)
from harness.reference.faults.base import Fault
from harness.reference.runs import RunKey


class AnonymousAccepted(Fault, name="anonymous-accepted", breaks=auth.missing):
    """Accepts a request without Authorization as the first principal's."""

    def authenticate(self, http: web.BaseRequest) -> str:
        if "Authorization" not in http.headers:
            return next(iter(self.settings.principals.values()))
        return super().authenticate(http)


class AnyTokenAccepted(Fault, name="any-token-accepted", breaks=auth.bad):
    """Requires a token but never checks it."""

    def organization_of(self, token: str) -> str | None:
        return super().organization_of(token) or next(iter(self.settings.principals.values()))


class NoChallenge(Fault, name="no-challenge", breaks=auth.challenge):
    """Sends 401 without WWW-Authenticate."""

    def reject(self, http: web.BaseRequest, rejection: Rejection) -> web.StreamResponse:
        answer = super().reject(http, rejection)
        answer.headers.popall("WWW-Authenticate", None)
        return answer


class KeyToldWithoutToken(Fault, name="key-told-without-token", breaks=auth.before_key):
    """Looks up the key before it checks the token, and answers differently if the key is known."""

    def authenticate(self, http: web.BaseRequest) -> str:
        try:
            return super().authenticate(http)
        except Rejection as rejection:
            key = http.headers.get("Idempotency-Key", "")
            organizations = self.settings.principals.values()
            if any(self.registry.find((organization, "key", key)) for organization in organizations):
                detail = "Sign in to resume the run of this Idempotency-Key."
                raise Rejection(401, "sign_in_to_resume", detail, rejection.headers) from None
            raise


class ForeignOrganizationAccepted(Fault, name="foreign-organization-accepted", breaks=auth.org_mismatch):
    """Never compares organizationId with the principal's organization."""

    def authorize(self, submission: Submission) -> None:
        """Every organization is welcome."""


class ConflictBeforeOrganization(Fault, name="conflict-before-organization", breaks=auth.org_before_conflict):
    """Checks the organization only if the key is new."""

    def authorize(self, submission: Submission) -> None:
        if self.find(submission, submission.http.headers.get("Idempotency-Key")) is None:
            super().authorize(submission)


class _GlobalIdentity(Fault):
    def identity(self, submission: Submission, key: str | None) -> RunKey | None:
        own = super().identity(submission, key)
        return None if own is None else ("", *own[1:])


class GlobalKeys(_GlobalIdentity, name="global-keys", breaks=auth.key_scope):
    """Keeps the keys of all organizations in one namespace."""


class GlobalRuns(_GlobalIdentity, name="global-runs", breaks=auth.key_scope):
    """Keeps the keys of all organizations in one namespace, and shows each organization the other's run."""

    def fingerprint(self, body: Mapping[str, Any]) -> bytes:
        return super().fingerprint({name: body[name] for name in body if name != "organizationId"})


class QueryToken(Fault, name="query-token", breaks=auth.query_token):
    """Accepts the token in the query string, which ends up in logs."""

    def bearer_token(self, http: web.BaseRequest) -> str | None:
        return super().bearer_token(http) or http.query.get("access_token") or http.query.get("token")
