"""The preflight: one valid request before a test, to find out whether the target can be tested at all."""

from __future__ import annotations

import asyncio

from harness.config.settings import Settings
from harness.config.target import Target
from harness.contract.exchange import Ending, Exchange
from harness.errors import HarnessError
from harness.transport.asyncio_client import AsyncClient


class PreflightError(HarnessError):
    """The target cannot be tested; the message says why and what to do."""


async def preflight(target: Target) -> Exchange:
    """Send one valid request.

    Any response will do, except a rejected token: then nothing after it would be tested. Raises PreflightError.
    """
    client = AsyncClient(target.endpoint, target.expectations.budgets)
    response = await client.exchange(target.run("success"), "preflight")
    url = f"{target.settings.base_url}".rstrip("/") + target.settings.path
    if response.ending is Ending.REFUSED or (
        response.ending is Ending.TIMED_OUT and response.timing.sent_ns is None
    ):
        raise PreflightError(f"the target {url} cannot be reached: {response.ending_detail}")
    if response.status == 401 and not target.principal.token:
        raise PreflightError(
            f"the target {url} requires a token, and none is configured: set HARNESS_TARGET__TOKEN, target.token in "
            "the settings file, or --token-file"
        )
    if response.status in {401, 403}:
        raise PreflightError(
            f"the target {url} rejected the token for organization {target.principal.organization_id!r} with status "
            f"{response.status}: check HARNESS_TARGET__TOKEN (or target.token, --token-file) and "
            "target.organization_id"
        )
    return response


def ensure_testable(settings: Settings) -> None:
    """Run the preflight synchronously. Raises PreflightError or SettingsError."""
    asyncio.run(preflight(Target(settings)))
