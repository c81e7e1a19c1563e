"""Is there a target to test at all? Asked once, before a test begins, with one valid request."""

from __future__ import annotations

import asyncio

from harness.config.settings import Settings
from harness.config.target import Target
from harness.contract.exchange import Ending, Exchange
from harness.errors import HarnessError
from harness.transport.asyncio_client import AsyncClient


class PreflightError(HarnessError):
    """The target cannot be tested; the text is one sentence that says why and what to do."""


async def preflight(target: Target) -> Exchange:
    """Send one valid request.

    Whatever an answering server says is for the suite to judge, but for a refused token: then nothing
    that follows would be tested. Raises PreflightError.
    """
    client = AsyncClient(target.endpoint, target.expectations.budgets)
    answer = await client.exchange(target.run("success"), "preflight")
    url = f"{target.settings.base_url}".rstrip("/") + target.settings.path
    if answer.ending is Ending.REFUSED or (
        answer.ending is Ending.TIMED_OUT and answer.timing.sent_ns is None
    ):
        raise PreflightError(f"the target {url} cannot be reached: {answer.ending_detail}")
    if answer.status == 401 and not target.principal.token:
        raise PreflightError(
            f"the target {url} asks for a token and none is configured: set HARNESS_TARGET__TOKEN, target.token in "
            "the settings file, or --token-file"
        )
    if answer.status in {401, 403}:
        raise PreflightError(
            f"the target {url} refused the token for organization {target.principal.organization_id!r} with status "
            f"{answer.status}: check HARNESS_TARGET__TOKEN (or target.token, --token-file) and "
            "target.organization_id"
        )
    return answer


def ensure_testable(settings: Settings) -> None:
    """The preflight for callers that are not asynchronous. Raises PreflightError, or SettingsError."""
    asyncio.run(preflight(Target(settings)))
