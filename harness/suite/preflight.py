"""The preflight: one valid request before a test, to find out whether the target can be tested at all.

Suite, load, check and capacity all start with it. It stops only for what is certainly not the endpoint: no server, a
different protocol, a different path, a web page, a rejected token. A faulty endpoint is left to the test.
"""

from __future__ import annotations

import asyncio
import json
import ssl

from harness.config.settings import Settings
from harness.config.target import CreationError, Target
from harness.contract.evidence.redaction import Redactor
from harness.contract.exchange import Ending, Exchange
from harness.contract.rules.rule import quoted
from harness.errors import HarnessError, LocalResourceError
from harness.profiles.library import DEFAULT
from harness.suite.new_run import new_run
from harness.suite.throttle import MAX_WAIT_S, retry_after_s
from harness.transport.asyncio_client import AsyncClient
from harness.transport.endpoint import Endpoint

_RETRIES_WHEN_THROTTLED = 3
_PROBE_S = 3.0
_NO_ENDPOINT = frozenset({404, 405, 410})
_REDIRECTS = range(300, 400)
_HTML = frozenset({"text/html", "application/xhtml+xml"})
_QUOTED_CHARS = 100


class PreflightError(HarnessError):
    """The target cannot be tested; the message says why and what to do."""


async def preflight(
    target: Target, replica: str | None = None, client: AsyncClient | None = None
) -> Exchange:
    """Send one valid request. Raises PreflightError if the target is not the endpoint or rejects the token.

    replica: the base URL of the one to ask, if the target has several. A 429 or 503 is retried after the time in
    Retry-After, for 30 s in all. client: what sends it; by default a new one.
    """
    redact = Redactor(target.secrets)
    base_url = f"{replica or target.settings.base_url}".rstrip("/")
    url = redact.sentence(base_url + target.settings.path)
    no_run: CreationError | None = None
    try:
        response = await _first_response(target, replica, client)
    except LocalResourceError as fault:
        raise PreflightError(f"the target {url} cannot be reached: {fault}") from None
    except CreationError as caught:
        no_run, response = caught, caught.answer
    url = redact.sentence(base_url + response.request.target)  # with the variables of its path
    endpoint = target.endpoint if replica is None else target.replicas[replica]
    problem = await other_protocol(endpoint, response)
    if problem is None and not (no_run is not None and response.status == 200):  # JSON, as it must be
        problem = wrong_target(target, redact.exchange(response))
    if problem is not None:
        raise PreflightError(f"the target {url} {redact.sentence(problem)}")
    if no_run is not None:
        raise PreflightError(
            f"the target {base_url} is not what its profile says: {redact.sentence(str(no_run))}"
        )
    return response


async def _first_response(target: Target, replica: str | None, client: AsyncClient | None) -> Exchange:
    client = client or AsyncClient(
        target.endpoint, target.expectations.budgets, target.memory, target.profile, target.replicas
    )
    response = await _run(client, target, replica)
    waited_s = 0.0
    for _ in range(_RETRIES_WHEN_THROTTLED):
        wait_s = retry_after_s(response)
        if not response.is_throttled or waited_s + wait_s > MAX_WAIT_S:
            break
        waited_s += wait_s
        await asyncio.sleep(wait_s)
        response = await _run(client, target, replica)
    return response


async def _run(client: AsyncClient, target: Target, replica: str | None) -> Exchange:
    return await client.exchange(await new_run(client, target, "success", replica), "preflight")


def wrong_target(target: Target, response: Exchange) -> str | None:
    """Why the response to a valid request is not from the endpoint, as a predicate with advice; None if it may be."""
    if response.ending is Ending.REFUSED or (
        response.ending is Ending.TIMED_OUT and response.timing.sent_ns is None
    ):
        return _no_connection(response)
    if response.head is None:
        return _not_http(response)
    return _wrong_status(target, response) or _wrong_media_type(response)


def _no_connection(response: Exchange) -> str:
    detail = response.own_delay or response.ending_detail
    if detail.startswith("TLS: certificate"):
        return (
            f"cannot be reached: {detail}; set target.ca_file to the certificate of its CA, or, for your own test "
            "server, target.verify_tls = false"
        )
    return f"cannot be reached: {detail}"


def _not_http(response: Exchange) -> str | None:
    """For a connection without a response. A server that closes it may be a faulty endpoint."""
    if response.ending is Ending.MALFORMED:
        return f"does not speak HTTP/1.1 on this port: {response.ending_detail}; check host and port"
    if response.ending_detail.startswith("TLS error"):  # an alert after the handshake
        return f"cannot be reached: {response.ending_detail}"
    return None


def _wrong_status(target: Target, response: Exchange) -> str | None:
    status = response.status or 0
    if status == 401 and not target.principal.token:
        return (
            "requires a token, and none is configured: set HARNESS_TARGET__TOKEN, target.token in the settings file, "
            "or --token-file"
        )
    if status in {401, 403}:
        organization = target.principal.organization_id
        return (
            f"rejected the token{f' for organization {organization!r}' if organization else ''} with status {status}: "
            "check HARNESS_TARGET__TOKEN (or target.token, --token-file)"
            + (" and target.organization_id" if organization else "")
        )
    if status in _NO_ENDPOINT:
        what = f"{response.request.method} got status {status}{_page(response)}{_server_message(target, response)}"
        return f"is not an endpoint: {what}; check target.path (--path){_or_variables(target)}"
    if status in _REDIRECTS:
        location = (response.head.value("location") if response.head else None) or "no Location"
        return (
            f"redirects (status {status}) to {quoted(location, _QUOTED_CHARS)}: set the target to the final address, "
            "because the harness follows no redirect"
        )
    if response.is_throttled:
        wait = (response.head.value("retry-after") if response.head else None) or ""
        asks = f" (Retry-After: {wait[:_QUOTED_CHARS]})" if wait else ""
        return (
            f"answered status {status} to several requests{asks}: wait until its rate limit or overload is over, or "
            "raise the limit for the test"
        )
    if (
        400 <= status < 500 and target.profile.name != DEFAULT
    ):  # of workflow-actions, the suite says more about it
        message = _server_message(target, response)
        return f"rejected the first request with status {status}{message}: check target.profile{_or_variables(target)}"
    return None


def _or_variables(target: Target) -> str:
    names = ", ".join(f"target.variables.{name}" for name in target.profile.needs)
    return f" and {names}" if names and target.profile.name != DEFAULT else ""


def _server_message(target: Target, response: Exchange) -> str:
    """What a JSON body says about a rejection, in brackets; empty for the API whose rejections the suite judges."""
    if target.profile.name == DEFAULT:
        return ""
    try:
        text = json.dumps(json.loads(response.body), ensure_ascii=False)
    except (ValueError, RecursionError):
        return ""
    return f" ({quoted(text, _QUOTED_CHARS)})"


def _wrong_media_type(response: Exchange) -> str | None:
    """For a 200 without any event. With events, the type is a fault of the endpoint, which the suite reports."""
    media_type = _media_type(response)
    if response.status != 200 or response.summary.events or media_type in {"", "text/event-stream"}:
        return None
    if response.ending is not Ending.COMPLETE or not response.body.strip():
        return None
    what = "a web page" if media_type in _HTML else "no event stream"
    return (
        f"answered with {what} (status 200, {quoted(media_type, _QUOTED_CHARS)}): check the target's host, port and "
        "path (--target, --path)"
    )


def _page(response: Exchange) -> str:
    return " and a web page" if _media_type(response) in _HTML else ""


def _media_type(response: Exchange) -> str:
    value = (response.head.value("content-type") if response.head else None) or ""
    return value.partition(";")[0].strip().lower()


async def other_protocol(endpoint: Endpoint, response: Exchange) -> str | None:
    """Whether the port speaks TLS where http was configured, or plain HTTP where https was.

    Such a server may close the connection, wait, or answer in the other protocol (often with status 400).
    """
    if response.head is not None and response.status != 400:
        return None
    if endpoint.tls is None and await _speaks_tls(endpoint):
        return "speaks TLS on this port: use https:// in the target"
    if endpoint.tls is not None and response.head is None and await _speaks_plain_http(endpoint):
        return "speaks plain HTTP on this port, not TLS: use http:// in the target, or the port for https"
    return None


async def _speaks_tls(endpoint: Endpoint) -> bool:
    """Whether a TLS handshake works; the certificate does not matter."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(_PROBE_S):
            _, writer = await asyncio.open_connection(endpoint.host, endpoint.port, ssl=context)
    except (OSError, TimeoutError):
        return False
    writer.transport.abort()
    return True


async def _speaks_plain_http(endpoint: Endpoint) -> bool:
    """Whether a request without TLS gets an HTTP response that does not ask for TLS (status 400)."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(_PROBE_S):
            reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
            writer.write(
                f"HEAD / HTTP/1.1\r\nHost: {endpoint.authority}\r\nConnection: close\r\n\r\n".encode()
            )
            head = await reader.readexactly(12)
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False
    finally:
        if writer is not None:
            writer.transport.abort()
    return head.startswith(b"HTTP/") and not head.endswith(b" 400")


def ensure_testable(settings: Settings) -> None:
    """Run the preflight synchronously. Raises PreflightError or SettingsError."""
    asyncio.run(preflight(Target(settings)))
